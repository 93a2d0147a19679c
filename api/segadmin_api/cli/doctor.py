"""``segadmin doctor``: what is missing or misconfigured, and the command that fixes it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.errors import InvalidSettings, SegadminError
from segadmin.settings import Settings, get_settings
from segadmin.urls import mask_secrets
from segadmin.workflows.backbone_options import DEFAULT_BACKBONES
from segadmin_api.cli import checks
from segadmin_api.cli.checks import Check, Finding, Level
from segadmin_api.cli.output import JsonOption, echo_marked, show_json
from segadmin_api.cli.remote import answer

if TYPE_CHECKING:
    from segadmin_api.client import Client

app = typer.Typer(add_completion=False)
_MARKS = {Level.OK: ("✓", "green"), Level.WARN: ("!", "yellow"), Level.FAIL: ("✗", "red")}


@app.command()
def doctor(
    backbone: Annotated[
        str | None, typer.Option("--backbone", "-b", help="The backbone whose weights to check.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this installation, or that of --server, and show how to fix problems; exit code 1 if a check fails."""
    findings = []
    for finding in answer(lambda _: run_checks(backbone), lambda client: _checks_there(client, backbone)):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        show_json([_facts(finding) for finding in findings])
    if any(finding.level == Level.FAIL for finding in findings):
        raise typer.Exit(1)


def _checks_there(client: Client, backbone: str | None) -> list[Finding]:
    """Return what the checks of a server found on its machine."""
    findings = client.run_doctor(backbone=backbone).items
    return [Finding(Level(each.level), each.what, each.detail, each.fix) for each in findings]


def run_checks(backbone: str | None) -> Iterator[Finding]:
    """Run all checks in turn; an error in one does not stop the others."""
    try:
        settings = get_settings()
    except InvalidSettings as error:  # all other checks need valid settings
        yield from (Finding(Level.FAIL, "settings", mask_secrets(problem)) for problem in error.problems)
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
        "champion": checks.champions,
        "canary": checks.canary,
        "broker": checks.broker,
        "beat": checks.beat,
        "freshness": checks.freshness,
        "plugins": checks.plugins,
        "backbone": partial(
            checks.weights, backbone=backbone or DEFAULT_BACKBONES[settings.language], requested=backbone is not None
        ),
        "GPU": checks.gpu,
    }
    for name, check in every.items():
        try:
            yield from check(settings)
        except SegadminError as error:
            yield Finding(Level.FAIL, name, mask_secrets(str(error)))


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.level]
    fix = f" → {finding.fix}" if finding.fix else ""
    echo_marked(mark, colour, f"{finding.what}: {finding.detail}{fix}")


def _facts(finding: Finding) -> dict[str, str]:
    return {"level": finding.level, "what": finding.what, "detail": finding.detail, "mend": finding.fix}
