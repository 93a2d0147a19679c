"""Runs ``segadmin doctor`` on behalf of a server, as a process of its own: its checks load the libraries of models."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from segadmin.errors import SegadminError
from segadmin.settings import Settings
from segadmin_api.schemas.data import Finding

#: Seconds that the checks may take.
_LONGEST = 120


def diagnose(settings: Settings) -> list[Finding]:
    """Return what the checks found on this machine.

    Raises:
        SegadminError: they did not end in time, or not at all.
    """
    command = [sys.executable, "-P", "-m", "segadmin_api.cli", "--home", str(settings.root), "doctor", "--json"]
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, check=False, capture_output=True, env=environment, timeout=_LONGEST, text=True)
        facts = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise SegadminError(f"The checks did not end within {_LONGEST} s. Run on the server: segadmin doctor") from None
    except ValueError:
        raise SegadminError("The checks could not run. Run on the server: segadmin doctor") from None
    return [Finding(**{**each, "fix": each["mend"]}) for each in facts]
