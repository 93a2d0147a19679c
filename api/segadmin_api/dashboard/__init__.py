"""Pages for people: what :mod:`segadmin_api.http.pages` answers, and commands write with ``--out``."""
