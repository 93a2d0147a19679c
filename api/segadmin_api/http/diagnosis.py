"""Runs checks on behalf of a server, each as a process of its own: they load the libraries of models, and may fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastapi import HTTPException

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import BackboneUnavailable, ConfigurationError, DataError
from segadmin.settings import Settings
from segadmin.urls import mask_secrets
from segadmin_api.plugin_details import CHECKED, check_kind
from segadmin_api.schemas.data import BackboneCheck, Finding, PluginCheck

#: Seconds that checks may take.
_LONGEST = 120
#: Each check loads the libraries of models: several at once would take the memory and the threads of the server.
_running = threading.Lock()


def diagnose(settings: Settings, backbone: str | None = None) -> list[Finding]:
    """Return what ``segadmin doctor`` finds on this machine, also of a backbone.

    Raises:
        HTTPException: 503, other checks have not ended yet.
        DataError: it did not end in time, or not at all.
    """
    done = _run(settings, "doctor", "--json", *([] if backbone is None else [f"--backbone={backbone}"]))
    try:
        facts = json.loads(done.stdout)
    except ValueError:
        raise DataError("The checks could not run. Run on the server: segadmin doctor") from None
    return [Finding(**{**each, "fix": each["mend"]}) for each in facts]


def check_plugin(settings: Settings, kind: str, name: str, options: Mapping[str, str]) -> PluginCheck:
    """Return whether a plugin with some options keeps its contract, as ``segadmin plugins check`` tells it.

    Raises:
        PluginNotFound: there is none.
        ConfigurationError: its kind has no contract tests.
        HTTPException: 503, other checks have not ended yet.
        DataError: they did not end in time.
    """
    check_kind(kind)
    load_plugins(settings).find(kind, name)
    if kind not in CHECKED:
        raise ConfigurationError(
            f"There are no contract tests for a {kind}. There are for: {', '.join(sorted(CHECKED))}."
        )
    done = _run(settings, "plugins", "check", f"--kind={kind}", *_options("--option", options), "--", name)
    report = (done.stdout if done.returncode == 0 else done.stderr).strip()
    return PluginCheck(passed=done.returncode == 0, report=mask_secrets(report))


def run_backbone_check(settings: Settings, model: str, options: Mapping[str, str]) -> BackboneCheck:
    """Return what ``segadmin backbones check`` finds on this machine.

    Raises:
        HTTPException: 422 if it cannot be used, 503 if other checks have not ended yet.
        DataError: it did not end in time.
    """
    done = _run(settings, "backbones", "check", "--json", *_options("--backbone-option", options), "--", model)
    if done.returncode:
        unavailable = BackboneUnavailable(mask_secrets(done.stderr.strip().removeprefix("Error: ")))
        raise HTTPException(422, str(unavailable)) from unavailable
    return BackboneCheck.model_validate_json(done.stdout)


def _options(flag: str, options: Mapping[str, str]) -> list[str]:
    return [f"{flag}={name}={value}" for name, value in options.items()]


def _run(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "segadmin_api.cli", "--home", str(settings.root), *words]
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    try:
        with _turn():
            return subprocess.run(
                command, check=False, capture_output=True, env=environment, timeout=_LONGEST, text=True
            )
    except subprocess.TimeoutExpired:
        command_line = " ".join(("segadmin", *words))
        raise DataError(f"The checks did not end within {_LONGEST} s. Run on the server: {command_line}") from None


@contextmanager
def _turn() -> Iterator[None]:
    if not _running.acquire(blocking=False):
        raise HTTPException(503, "Other checks are running on this server. Wait until they have ended, and try again.")
    try:
        yield
    finally:
        _running.release()
