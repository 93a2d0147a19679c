"""``segadmin doctor``: what is missing or misconfigured, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from segadmin.errors import InvalidSettings, SegadminError
from segadmin.settings import Settings, get_settings
from segadmin.urls import mask_secrets
from segadmin_api.cli import checks
from segadmin_api.cli.checks import Check, Finding, Level
from segadmin_api.cli.output import JsonOption, show_json

app = typer.Typer(add_completion=False)
_MARKS = {Level.OK: ("✓", "green"), Level.WARN: ("!", "yellow"), Level.FAIL: ("✗", "red")}
_DEFAULT_BACKBONE = "minilm"


@app.command()
def doctor(
    backbone: Annotated[str | None, typer.Option("--backbone", "-b", help="Whose weights to check.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this installation, and say what mends it; exit code 1 if anything fails."""
    findings = []
    for finding in look(backbone):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        show_json([asdict(finding) for finding in findings])
    if any(finding.level == Level.FAIL for finding in findings):
        raise typer.Exit(1)


def look(backbone: str | None) -> Iterator[Finding]:
    """Run every check, one after the other; one that raises does not end the others."""
    try:
        settings = get_settings()
    except InvalidSettings as error:  # all other checks need them
        yield from (Finding(Level.FAIL, "settings", problem) for problem in error.problems)
        yield from checks.variables(Settings.model_construct())
        return
    every: dict[str, Check] = {
        "packages": checks.packages,
        "variables": checks.variables,
        "settings": checks.values,
        "database": checks.sql,
        "store": checks.store,
        "rights": checks.rights,
        "inbox": checks.inbox,
        "erasure": checks.erasure,
        "broker": checks.broker,
        "beat": checks.beat,
        "plugins": checks.plugins,
        "backbone": partial(checks.weights, backbone=backbone or _DEFAULT_BACKBONE, asked=backbone is not None),
        "GPU": checks.gpu,
    }
    for name, check in every.items():
        try:
            yield from check(settings)
        except SegadminError as error:
            yield Finding(Level.FAIL, name, mask_secrets(str(error)))


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.level]
    mend = f" → {finding.mend}" if finding.mend else ""
    typer.echo(f"{typer.style(mark, fg=colour)} {finding.what}: {finding.detail}{mend}")
