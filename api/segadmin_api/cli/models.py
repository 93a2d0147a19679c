"""``segadmin models``: model versions and their evaluations."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.errors import ServerUnavailable
from segadmin.models.versions import VersionLine, evaluations_of, find_version, list_lines
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import CanaryState
from segadmin_api.cli import canaries, model_files
from segadmin_api.cli.command_line import join_words
from segadmin_api.cli.model_details import print_details
from segadmin_api.cli.output import JsonOption, echo, group, nothing, save_page, show_json, table, write_page
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import all_versions, as_record, as_version
from segadmin_api.client.calls.models import ANY
from segadmin_api.formatting import (
    VERSIONS,
    version_row,
)

if TYPE_CHECKING:
    from segadmin.evaluation.comparison import Comparison
    from segadmin.models.registry import Promotion
    from segadmin.workflows.follow_promotion import Followed
    from segadmin_api.client import Client
    from segadmin_api.schemas import models

#: The default file of a model card.
_CARD = "model-card.html"
app = group("Model versions and their evaluations.")
Labels = Annotated[
    str | None, typer.Option("--labels", "--label-set", help="The label set; needed only if several have a champion.")
]


@app.command("list")
def list_(
    labels: Annotated[
        str | None, typer.Option("--labels", "--label-set", help="Only models of this label set.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List model versions, newest first, with their metrics on the test rows."""
    versions = answer(lambda settings: list_lines(settings, labels), lambda client: all_versions(client, labels))
    if as_json:
        show_json([_facts(line) | {"canary": line.canary} for line in versions])
        return
    table(
        "",
        VERSIONS,
        map(version_row, versions),
        empty=nothing(
            "No models yet. Train one: segadmin enqueue retrain --wait, or try: segadmin demo", labels=labels
        ),
    )


@app.command()
def show(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or `champion`.")],
    labels: Labels = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model version: its metrics and those of the baselines, how it was trained, and its folder."""
    settings = get_settings()
    line = answer(
        lambda settings: _find(settings, version, labels),
        lambda client: as_version(client.show_model(version, labels=labels)),
    )
    model_version = line.version
    folder = "on the server" if settings.server else str(settings.store_path / model_version.folder)
    if as_json:
        show_json(_facts(line) | {"manifest": model_version.manifest, "path": None if settings.server else folder})
        return
    properties = (
        model_version.label_set or "no labels",
        model_version.state,
        f"{line.name} on {model_version.textualizer}",
    )
    echo(f"model version {model_version.id} · {' · '.join(properties)}")
    echo(f"  {folder}  (sha256 {model_version.sha256[:16]}…)")
    print_details(line)


def _find(settings: Settings, version: str, labels: str | None) -> VersionLine:
    with transaction(settings) as session:
        row = find_version(session, version, labels)
        return VersionLine(row, evaluations_of(session, row))


Reason = Annotated[str, typer.Option(help="The reason, for the audit log.")]


@app.command()
def compare(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or `champion`.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The version to compare with.")] = "champion",
    labels: Labels = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions on their common test rows, with a 95 % bootstrap interval over users."""
    from segadmin.evaluation.bootstrap import LEAST_USERS
    from segadmin.models.registry import compare_versions

    comparison = answer(
        lambda settings: compare_versions(settings, version, other, labels),
        lambda client: _comparison(client.compare_models(version, other, labels=labels)),
    )
    if as_json:
        show_json(asdict(comparison))
        return
    rows = [(version, f"{comparison.one:.4f}"), (other, f"{comparison.other:.4f}"), ("lead", str(comparison.lead))]
    table(f"AUROC on {counted(comparison.rows, 'row')}", ["version", "AUROC"], rows)
    if comparison.erased:
        echo(f"Erased with their users since the versions were tested: up to {counted(comparison.erased, 'test row')}.")
    if comparison.lead.low is None or comparison.lead.high is None:
        echo(f"Neither is shown to be better: that takes {LEAST_USERS} users, and the rows are of {comparison.users}.")
    elif comparison.lead.low > 0 or comparison.lead.high < 0:
        echo(f"{version if comparison.lead.value > 0 else other} is better: the interval does not hold 0.")
    else:
        echo("Neither is shown to be better: the interval holds 0.")


def _comparison(item: models.Comparison) -> Comparison:
    """Return a comparison of a server."""
    from segadmin.evaluation.bootstrap import Interval
    from segadmin.evaluation.comparison import Comparison

    lead = Interval(item.lead, item.low, item.high)
    return as_record(Comparison, item, one=item.one_auroc, other=item.other_auroc, lead=lead)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number.")],
    reason: Reason = "",
    as_json: JsonOption = False,
) -> None:
    """Make a version champion regardless of the gate, and its newest snapshot current.

    The version of a canary becomes champion before its time is over; any other version ends the canary.
    """
    from segadmin.models import registry

    _follow(
        answer(
            lambda settings: _complete(settings, registry.promote_version(settings, version, reason)),
            lambda client: _followed(client.promote_model(version, champion=ANY, reason=reason)),
        ),
        as_json=as_json,
    )


@app.command()
def rollback(
    labels: Labels = None,
    reason: Reason = "",
    champion: Annotated[
        int | None,
        typer.Option(
            "--from", min=1, metavar="VERSION", help="Only if this version is champion: to repeat a rollback safely."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the previous champion the champion again, and its newest snapshot current, in one transaction.

    Who changes segment by that is written to the feed at once, and delivered.
    """
    from segadmin.models import registry

    expected = registry.ANY if champion is None else champion
    _follow(
        answer(
            lambda settings: _complete(
                settings, registry.roll_back_champion(settings, labels, reason, expected=expected)
            ),
            lambda client: _followed(_roll_back_there(client, champion, labels, reason)),
        ),
        as_json=as_json,
    )


def _roll_back_there(client: Client, champion: int | None, labels: str | None, reason: str) -> models.Promotion:
    """Roll back on a server from ``champion``, or the present one; a repetition would go back one version further.

    Raises:
        ServerUnavailable: it did not answer; the message has the command that is safe to repeat.
    """
    if champion is None:
        champion = client.show_model("champion", labels=labels).id
    try:
        return client.roll_back_model(champion=champion, labels=labels, reason=reason)
    except ServerUnavailable as error:
        words = ["segadmin", "models", "rollback", "--from", str(champion)]
        words += ["--labels", labels] if labels is not None else []
        words += ["--reason", reason] if reason else []
        raise ServerUnavailable(
            f"{error} Whether version {champion} was rolled back is not known. Repeat it safely: {join_words(words)}"
        ) from None


def _complete(settings: Settings, promotion: Promotion) -> tuple[Promotion, Followed]:
    """Keep corrections, write and deliver the records of the feed, and call plugins' hooks."""
    from segadmin.workflows.follow_promotion import complete
    from segadmin_worker.client import dispatcher

    return promotion, complete(settings, promotion, dispatcher(settings))


def _followed(item: models.Promotion) -> tuple[Promotion, Followed]:
    """Return what a server has done."""
    from segadmin.models.registry import Promotion
    from segadmin.workflows.follow_promotion import Followed

    followed = as_record(Followed, item, deliveries=tuple(item.deliveries), corrected=item.corrected_snapshot)
    return as_record(Promotion, item), followed


def _follow(done: tuple[Promotion, Followed], *, as_json: bool) -> None:
    """Report what was done."""
    promotion, followed = done
    if as_json:
        facts = asdict(promotion) | {"as_of": promotion.as_of and promotion.as_of.isoformat()}
        feed = {"records": followed.records, "deliveries": followed.deliveries, "trouble": followed.trouble}
        show_json({**facts, "corrected_snapshot": followed.corrected, **feed})
    else:
        _report_promotion(promotion, followed)
    if followed.trouble and followed.records is not None:
        echo(f"Error: {followed.trouble} The promotion stays.", err=True)
        raise typer.Exit(1)


def _report_promotion(promotion: Promotion, followed: Followed) -> None:
    previous = f"; before, it was version {promotion.before}" if promotion.before else ""
    echo(f"Version {promotion.champion} is champion of {promotion.label_set!r}{previous}.")
    if promotion.canary is not None:
        echo(f"The canary that was running is {promotion.canary}.")
    command = f"segadmin enqueue {{}} --labels {quote(promotion.label_set)} --wait"
    if promotion.snapshot is None:
        is_canary = promotion.canary == CanaryState.PROMOTED
        scored = "It has scored only the users of its canary." if is_canary else "It has not scored all users yet."
        echo(f"{scored} Next: {command.format('score')}")
        return
    echo(
        f"Snapshot {promotion.snapshot}, its newest, is current, as of {promotion.as_of:%Y-%m-%d %H:%M}. Bring it "
        f"up to date: {command.format('refresh')}"
    )
    if followed.corrected is not None:
        echo(
            f"Snapshot {followed.corrected}, which is that one with the users whom people corrected since, replaces it."
        )
    echo(_followed_line(followed))


def _followed_line(followed: Followed) -> str:
    if followed.records is None:
        return f"The feed's records are not written yet: the next publication writes them ({followed.trouble})."
    jobs = ", ".join(map(str, followed.deliveries))
    delivery = f"; job {jobs} delivers them" if jobs else ""
    return f"The feed has {counted(followed.records, 'record')} of who changes segment by that{delivery}."


@app.command()
def card(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or `champion`.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file to write.", show_default=_CARD)] = None,
    labels: Labels = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the card as JSON; a page is written only with --out.")
    ] = False,
) -> None:
    """Write the model card: origin, metrics with confidence intervals, and limitations of a version."""
    from segadmin.models.card import card_of
    from segadmin_api.dashboard.model_card import page

    content = answer(
        lambda settings: card_of(settings, version, labels),
        lambda client: client.show_model_card(version, labels=labels),
    )
    if not as_json:
        write_page(out or Path(_CARD), page(content))
        return
    if out is not None:
        save_page(out, page(content))
    show_json(content.model_dump(mode="json"))


app.add_typer(canaries.app, name="canary")
app.command()(model_files.export)
app.command("import")(model_files.import_)


def _facts(line: VersionLine) -> dict[str, Any]:
    fields = {"id", "label_set", "state", "backbone", "textualizer", "segments", "folder", "sha256", "job_id"}
    facts = line.version.model_dump(mode="json", include=fields | {"created_at", "promoted_at"})
    evaluation_fields = {"name", "split", "rows", "metrics", "confusion", "model_version_id"}
    return facts | {
        "name": line.name,
        "evaluations": [row.model_dump(mode="json", include=evaluation_fields) for row in line.evaluations],
    }
