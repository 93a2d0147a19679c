"""``python -m segadmin_api.cli``: the ``segadmin`` command."""

from segadmin_api.cli import main

main()
