"""``segadmin models``: model versions and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.contracts.option_text import option_text
from segadmin.counts import counted
from segadmin.evaluation.metrics import HEADLINES, LOWER_IS_BETTER
from segadmin.models.manifest import ModelManifest, PretrainingData, manifest_of
from segadmin.models.versions import VersionLine, evaluations_of, find_version, list_lines
from segadmin.settings import get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Evaluation, ModelVersion
from segadmin_api.cli.output import JsonOption, group, save_page, show_json, table, write_page
from segadmin_api.formatting import VERSIONS, version_row

if TYPE_CHECKING:
    from segadmin.models.registry import Promotion

#: Where a card is written.
_CARD = "model-card.html"
app = group("Model versions and how good they are.")
Labels = Annotated[str | None, typer.Option(help="Label set; needed only where several have a champion.")]


@app.command("list")
def list_(
    labels: Annotated[str | None, typer.Option(help="Only models of this label set.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List model versions, newest first, with their figures on the test rows."""
    versions = list_lines(get_settings(), labels)
    if as_json:
        show_json([_facts(line) for line in versions])
        return
    table(
        "",
        VERSIONS,
        map(version_row, versions),
        empty="No models yet. Train one: segadmin enqueue retrain --wait, or try: segadmin demo",
    )


@app.command()
def show(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or `champion`.")],
    labels: Labels = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model version: its figures beside the baselines', what it was made from, and where it is."""
    settings = get_settings()
    with transaction(settings) as session:
        found = find_version(session, version, labels)
        rows = evaluations_of(session, found)
    line = VersionLine(found, rows)
    if as_json:
        show_json(_facts(line) | {"manifest": found.manifest, "path": str(settings.store_path / found.folder)})
        return
    what = (found.label_set or "no labels", found.state, f"{line.name} on {found.textualizer}")
    typer.echo(f"model version {found.id} · {' · '.join(what)}")
    typer.echo(f"  {settings.store_path / found.folder}  (sha256 {found.sha256[:16]}…)")
    if rows:
        typer.echo(f"  {_beside(rows)}")
    for split in dict.fromkeys(row.split for row in rows):
        _show_split(split, [row for row in rows if row.split == split])
    if line.tested is not None:
        _show_segments(found, line.tested)
    _show_origin(manifest_of(found), line.tested)


Reason = Annotated[str, typer.Option(help="Why; it is kept in the audit log.")]


@app.command()
def compare(
    one: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or `champion`.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The version to compare with, likewise.")] = "champion",
    labels: Labels = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions on the test rows that both were tested on, with a 95 % interval over users."""
    from segadmin.evaluation.bootstrap import LEAST_USERS
    from segadmin.models.registry import compare_versions

    pair = compare_versions(get_settings(), one, other, labels)
    if as_json:
        show_json(asdict(pair))
        return
    rows = [(one, f"{pair.one:.4f}"), (other, f"{pair.other:.4f}"), ("lead", str(pair.lead))]
    table(f"AUROC on {counted(pair.rows, 'row')}", ["version", "AUROC"], rows)
    if pair.erased:
        typer.echo(f"Erased with their users since the versions were tested: up to {counted(pair.erased, 'test row')}.")
    if pair.lead.low is None or pair.lead.high is None:
        typer.echo(f"Neither is shown to be better: that takes {LEAST_USERS} users, and the rows are of {pair.users}.")
    elif pair.lead.low > 0 or pair.lead.high < 0:
        typer.echo(f"{one if pair.lead.value > 0 else other} is better: the interval does not hold 0.")
    else:
        typer.echo("Neither is shown to be better: the interval holds 0.")


@app.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number.")],
    reason: Reason = "",
    as_json: JsonOption = False,
) -> None:
    """Make a version champion whatever the gate said, and its newest snapshot current."""
    from segadmin.models import registry

    _tell(registry.promote_version(get_settings(), version, reason), as_json=as_json)


@app.command()
def rollback(
    labels: Labels = None,
    reason: Reason = "",
    as_json: JsonOption = False,
) -> None:
    """Make the champion before this one champion again, and its newest snapshot current."""
    from segadmin.models import registry

    _tell(registry.roll_back_champion(get_settings(), labels, reason), as_json=as_json)


def _tell(changed: Promotion, *, as_json: bool) -> None:
    if as_json:
        show_json(asdict(changed))
        return
    was = f", before it was {changed.before}" if changed.before else ""
    typer.echo(f"Version {changed.champion} is champion of {changed.label_set!r}{was}.")
    if changed.snapshot is None:
        typer.echo(f"It has scored nobody yet. Next: segadmin enqueue score --labels {quote(changed.label_set)} --wait")
    else:
        typer.echo(f"Snapshot {changed.snapshot}, its newest, is current.")


@app.command()
def card(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or `champion`.")],
    out: Annotated[Path | None, typer.Option(help="The page to write.", show_default=_CARD)] = None,
    labels: Labels = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the card as JSON; a page is written only with --out.")
    ] = False,
) -> None:
    """Write the model card: what it was made from, how good it is and how sure that is, and where its limits are."""
    from segadmin.models.card import card_of
    from segadmin_api.dashboard.model_card import page

    content = card_of(get_settings(), version, labels)
    if not as_json:
        write_page(out or Path(_CARD), page(content))
        return
    if out is not None:
        save_page(out, page(content))
    show_json(content.model_dump(mode="json"))


@app.command()
def export(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or `champion`.")],
    out: Annotated[Path, typer.Option(help="The folder to write; it must not exist yet.")],
    labels: Labels = None,
    as_json: JsonOption = False,
) -> None:
    """Write a version with all of its weights into a folder of its own, also one that is stored as an adapter."""
    from segadmin.models.export import export_version

    settings = get_settings()
    with transaction(settings) as session:
        found = find_version(session, version, labels)
    size = export_version(settings, found, out)
    if as_json:
        show_json({"version": found.id, "folder": str(out.expanduser().absolute()), "bytes": size})
        return
    typer.echo(f"Version {found.id}: {size / 2**20:,.1f} MiB in {out}")


def _show_split(split: str, rows: Sequence[Evaluation]) -> None:
    best = {name: _best(name, rows) for name in HEADLINES}
    marked = len(rows) > 1
    table(
        f"{split} (* best)" if marked else split,
        ["model", ">rows", *(f">{title}" for title in HEADLINES.values())],
        [
            (
                row.name,
                f"{row.rows:,}",
                *(_number(row.metrics.get(name), best[name], mark=marked) for name in HEADLINES),
            )
            for row in rows
        ],
    )


def _beside(rows: Sequence[Evaluation]) -> str:
    """Say which rows are baselines, and what the columns are."""
    baselines = dict.fromkeys(row.name for row in rows if row.model_version_id is None)
    named = f"Baselines: {', '.join(baselines)}. " if baselines else ""
    return f"{named}F1, precision and recall are macro averages."


def _show_segments(version: ModelVersion, row: Evaluation) -> None:
    """Show the test figures of each segment, and what it was taken for."""
    each = row.metrics["segments"]
    numbered = [f"{n} {segment}" for n, segment in enumerate(version.segments, 1)]
    table(
        "segments, on test",
        ["truly", ">precision", ">recall", ">AUROC", ">users"],
        [
            (
                name,
                *(_number(each[segment][metric]) for metric in ("precision", "recall", "auroc")),
                f"{each[segment]['support']:,}",
            )
            for name, segment in zip(numbered, version.segments, strict=True)
        ],
    )
    table(
        "taken for",
        ["truly", *(f">{n}" for n in range(1, len(numbered) + 1))],
        [(name, *(f"{count:,}" for count in counts)) for name, counts in zip(numbered, row.confusion, strict=True)],
    )


def _show_origin(manifest: ModelManifest, test: Evaluation | None) -> None:
    if manifest.pretrained is not None:
        _show_pretraining(manifest, manifest.pretrained)
        return
    tested = test.metrics if test is not None else {}
    recipe, data, calibration = manifest.recipe, manifest.data, manifest.calibration
    lines = {
        "began as": f"version {manifest.started_from}" if manifest.started_from else "",
        "learnt beside": ", ".join(manifest.learnt_beside),
        "backbone": f"{manifest.backbone} {_pairs(manifest.backbone_options)}({manifest.backbone_distribution})",
        "textualizer": f"{recipe.textualizer} version {recipe.textualizer_version} "
        f"{_pairs(recipe.textualizer_options)}({recipe.distribution})",
        "text": f"{recipe.language}, {recipe.window_days:g} days, at most {recipe.max_phrases} phrases"
        + _capped(manifest.text),
        "features": f"{len(manifest.features)}, of them {len(recipe.categories)} category shares"
        + (
            f"; {manifest.features_clipped:,} outliers in training brought to 0.1 % and 99.9 % of all values"
            if manifest.features_clipped
            else ""
        ),
        "data": f"{data.rows:,} rows of {data.users:,} users, events to {data.latest_event:%Y-%m-%d}",
        "split": f"by {manifest.split.value}, seed {manifest.seed}: "
        + ", ".join(f"{part} {rows:,}" for part, rows in data.parts.items()),
        "training rows": f"sha256 {data.training_keys_sha256[:16]}…",
        "calibration": f"temperature {calibration.temperature:.3f}, found on {calibration.rows:,} validation "
        f"rows; ECE there {_number(calibration.ece_before)} before, {_number(calibration.ece_after)} after; "
        f"on test {_number(tested.get('ece_before'))} before, {_number(tested.get('ece'))} after",
        "cut off": _pairs(manifest.report.get("truncation") or {}),
        "versions": ", ".join(f"{name} {number}" for name, number in manifest.versions.items()),
    }
    for name, value in lines.items():
        if value:
            typer.echo(f"  {name}: {value}")


def _show_pretraining(manifest: ModelManifest, data: PretrainingData) -> None:
    """Show what a pretrained version has read, and what that did."""
    report = manifest.report
    lines = {
        "backbone": f"{manifest.backbone} {_pairs(manifest.backbone_options)}({manifest.backbone_distribution})",
        "read": f"{data.texts:,} texts in {counted(len(data.windows), 'window')} until {data.until:%Y-%m-%d}",
        "loss on held-out users": f"{report['held_out_loss_before']} before, {report['held_out_loss']} after "
        f"(perplexity {report['perplexity']}), {report['objective']}",
        "words added": f"{report['words_added']}: {', '.join(report['new_words'])}" if report["words_added"] else "",
        "next": "segadmin enqueue retrain --from with its number",
    }
    for name, value in lines.items():
        if value:
            typer.echo(f"  {name}: {value}")


def _capped(reports: Sequence[dict[str, int]]) -> str:
    """Return how much of the texts was left out before any backbone saw them."""
    counts = ("users", "users_capped", "phrases_dropped")
    users, capped, dropped = (sum(one[name] for one in reports) for name in counts)
    left_out = counted(dropped, "phrase")
    return f"; {capped:,} of {counted(users, 'text')} had more, {left_out} left out" if reports else ""


def _facts(line: VersionLine) -> dict[str, Any]:
    kept = {"id", "label_set", "state", "backbone", "textualizer", "segments", "folder", "sha256", "job_id"}
    facts = line.version.model_dump(mode="json", include=kept | {"created_at", "promoted_at"})
    wanted = {"name", "split", "rows", "metrics", "confusion", "model_version_id"}
    return facts | {
        "name": line.name,
        "evaluations": [row.model_dump(mode="json", include=wanted) for row in line.evaluations],
    }


def _best(name: str, rows: Sequence[Evaluation]) -> float | None:
    known = [row.metrics[name] for row in rows if row.metrics.get(name) is not None]
    if not known:
        return None
    return float(min(known) if name in LOWER_IS_BETTER else max(known))


def _number(value: float | None, best: float | None = None, *, mark: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" + (("*" if value == best else " ") if mark else "")


def _pairs(facts: dict[str, Any]) -> str:
    return "".join(f"{name}={option_text(value)} " for name, value in facts.items())
