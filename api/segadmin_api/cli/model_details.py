"""What ``segadmin models show`` prints of a model version: its metrics, and how it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segadmin.contracts.option_text import option_text
from segadmin.counts import counted
from segadmin.evaluation.metrics import HEADLINES, LOWER_IS_BETTER
from segadmin.models.manifest import ModelManifest, PretrainingData, manifest_of
from segadmin.models.versions import VersionLine
from segadmin.storage.records import Evaluation, ModelVersion
from segadmin_api.cli import model_files
from segadmin_api.cli.output import echo, table
from segadmin_api.formatting import (
    MEMBERSHIP_ADVICE,
    cascade_line,
    corrections_line,
    equal_texts_line,
    membership_line,
)


def print_details(line: VersionLine) -> None:
    """Print the metrics of a version and of the baselines, and how it was trained."""
    if line.evaluations:
        echo(f"  {_explain_rows(line.evaluations)}")
    for split in dict.fromkeys(row.split for row in line.evaluations):
        _show_split(split, [row for row in line.evaluations if row.split == split])
    if line.tested is not None:
        _show_segments(line.version, line.tested)
    _show_origin(manifest_of(line.version), line.tested)


def _show_split(split: str, rows: Sequence[Evaluation]) -> None:
    best = {name: _best(name, rows) for name in HEADLINES}
    has_marks = len(rows) > 1
    table(
        f"{split}, {counted(rows[0].rows, 'row')}{' (* best)' if has_marks else ''}",
        ["model", *(f">{title}" for title in HEADLINES.values())],
        [
            (
                row.name,
                *(_number(row.metrics.get(name), best[name], mark=has_marks) for name in HEADLINES),
            )
            for row in rows
        ],
    )


def _explain_rows(rows: Sequence[Evaluation]) -> str:
    """Return a sentence about which rows are baselines, and what the columns are."""
    baselines = dict.fromkeys(row.name for row in rows if row.model_version_id is None)
    prefix = f"Baselines: {', '.join(baselines)}. " if baselines else ""
    return f"{prefix}F1, precision and recall are macro averages."


def _show_segments(version: ModelVersion, row: Evaluation) -> None:
    """Show the test metrics of each segment, and the confusion matrix."""
    metrics = row.metrics["segments"]
    numbered = [f"{n} {segment}" for n, segment in enumerate(version.segments, 1)]
    table(
        "segments, on test",
        ["true", ">precision", ">recall", ">AUROC", ">users"],
        [
            (
                name,
                *(_number(metrics[segment][metric]) for metric in ("precision", "recall", "auroc")),
                f"{metrics[segment]['support']:,}",
            )
            for name, segment in zip(numbered, version.segments, strict=True)
        ],
    )
    table(
        "confusion matrix: predicted segment by true segment",
        ["true", *(f">{n}" for n in range(1, len(numbered) + 1))],
        [(name, *(f"{count:,}" for count in counts)) for name, counts in zip(numbered, row.confusion, strict=True)],
    )


def _show_origin(manifest: ModelManifest, test: Evaluation | None) -> None:
    from segadmin.models.card import cascade_of

    if manifest.pretrained is not None:
        _show_pretraining(manifest, manifest.pretrained)
        return
    test_metrics = test.metrics if test is not None else {}
    recipe, data, calibration = manifest.recipe, manifest.data, manifest.calibration
    lines = {
        "imported": model_files.describe_origin(manifest.imported) if manifest.imported else "",
        "started from": f"version {manifest.started_from}" if manifest.started_from else "",
        "auxiliary label sets": ", ".join(manifest.learnt_beside),
        "backbone": f"{manifest.backbone} {_pairs(manifest.backbone_options)}({manifest.backbone_distribution})",
        "textualizer": f"{recipe.textualizer} version {recipe.textualizer_version} "
        f"{_pairs(recipe.textualizer_options)}({recipe.distribution})",
        "modality": f"{recipe.modality.name} version {recipe.modality.version} "
        f"{_pairs(recipe.modality.options)}of the vectors {recipe.modality.vector} ({recipe.modality.distribution})"
        if recipe.modality
        else "",
        "text": f"{recipe.language}, {recipe.window_days:g} days, at most {recipe.max_phrases} phrases"
        + _capped(manifest.text),
        "features": f"{len(manifest.features)}, of them {len(recipe.categories)} category shares"
        + (
            f"; {manifest.features_clipped:,} training outliers clipped to the 0.1 % and 99.9 % quantiles"
            if manifest.features_clipped
            else ""
        ),
        "data": f"{counted(data.rows, 'row')} of {counted(data.users, 'user')}, events to {data.latest_event:%Y-%m-%d}",
        "split": f"by {manifest.split.value}, seed {manifest.seed}: "
        + ", ".join(f"{split} {rows:,}" for split, rows in data.parts.items()),
        "corrections": corrections_line(data.parts),
        "equal texts": equal_texts_line(data.equal_texts),
        "training rows": f"sha256 {data.training_keys_sha256[:16]}…",
        "calibration": f"temperature {calibration.temperature:.3f}, fitted on {calibration.rows:,} validation "
        f"rows; ECE on them {_number(calibration.ece_before)} before, {_number(calibration.ece_after)} after; "
        f"on test {_number(test_metrics.get('ece_before'))} before, {_number(test_metrics.get('ece'))} after",
        "hysteresis": _margins(manifest),
        "cascade": cascade_line(cascade_of(manifest)),
        "membership attack": membership_line(manifest.membership),
        "warning": MEMBERSHIP_ADVICE if manifest.membership and manifest.membership.is_high else "",
        "prompt": _pairs(manifest.report.get("prompt") or {}),
        "truncated": _pairs(manifest.report.get("truncation") or {}),
        "versions": ", ".join(f"{name} {number}" for name, number in manifest.versions.items()),
    }
    for name, value in lines.items():
        if value:
            echo(f"  {name}: {value}")


def _margins(manifest: ModelManifest) -> str:
    """Return the margins by segment that were chosen for hysteresis; empty for versions of older releases."""
    if manifest.hysteresis is None:
        return ""
    margins = zip(manifest.segments, manifest.hysteresis.margins, strict=True)
    by_segment = ", ".join(f"{segment} {margin:.2f}" for segment, margin in margins)
    return f"margins {by_segment}, chosen on {manifest.hysteresis.rows:,} validation rows"


def _show_pretraining(manifest: ModelManifest, data: PretrainingData) -> None:
    """Show the data of a pretrained version, and the effect of pretraining."""
    report = manifest.report
    lines = {
        "imported": model_files.describe_origin(manifest.imported) if manifest.imported else "",
        "backbone": f"{manifest.backbone} {_pairs(manifest.backbone_options)}({manifest.backbone_distribution})",
        "trained on": f"{data.texts:,} texts in {counted(len(data.windows), 'window')} until {data.until:%Y-%m-%d}",
        "loss on held-out users": f"{report['held_out_loss_before']} before, {report['held_out_loss']} after "
        f"(perplexity {report['perplexity']}), {report['objective']}",
        "words added": f"{report['words_added']}: {', '.join(report['new_words'])}" if report["words_added"] else "",
        "next": "segadmin enqueue retrain --from VERSION",
    }
    for name, value in lines.items():
        if value:
            echo(f"  {name}: {value}")


def _capped(reports: Sequence[dict[str, int]]) -> str:
    """Return how much text was left out before a backbone read it."""
    counts = ("users", "users_capped", "phrases_dropped")
    users, capped, dropped = (sum(report[name] for report in reports) for name in counts)
    left_out = counted(dropped, "phrase")
    return f"; {capped:,} of {counted(users, 'text')} had more, {left_out} left out" if reports else ""


def _best(name: str, rows: Sequence[Evaluation]) -> float | None:
    values = [row.metrics[name] for row in rows if row.metrics.get(name) is not None]
    if not values:
        return None
    return float(min(values) if name in LOWER_IS_BETTER else max(values))


def _number(value: float | None, best: float | None = None, *, mark: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" + (("*" if value == best else " ") if mark else "")


def _pairs(facts: dict[str, Any]) -> str:
    return "".join(f"{name}={option_text(value)} " for name, value in facts.items())
