"""The model card (Mitchell et al. 2019) as a page: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from segadmin.errors import DataError
from segadmin.evaluation.abstention import HISTORIES, placed
from segadmin.evaluation.bootstrap import Interval, auroc_draws
from segadmin.evaluation.comparison import probabilities_of
from segadmin.evaluation.metrics import expected_calibration_error
from segadmin.models.versions import evaluations_of, find_version
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.predictions import Predictions, predictions_of
from segadmin.storage.records import Evaluation, ModelVersion
from segadmin.workflows.prepared import held_out_of
from segadmin_api.dashboard.html import document, section, table

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

#: Fewer rows than this, and a figure says nothing.
_LEAST = 50
_BINS = 10


def page(settings: Settings, model: str, label_set: str | None = None, *, above: str = "") -> str:
    """Return the card of a version, or of the champion of ``label_set``; ``above`` is HTML over its title.

    Raises:
        ModelNotFound: there is no such version.
        DataError: it is of pretraining, or there is no champion.
    """
    with transaction(settings) as session:
        version = find_version(session, model, label_set)
        if "pretrained" in version.manifest:
            raise DataError(
                f"Version {version.id} has read texts and was never tested, so there is no card. Teach it: "
                f"segadmin enqueue retrain --from {version.id}"
            )
        rows = evaluations_of(session, version)
    parts = [f"<p>{escape(_summary(version))}</p>", section("Figures on test, beside the baselines", _figures(rows))]
    try:
        said = predictions_of(settings, version)
    except DataError as error:
        parts += [f"<p>{escape(str(error))}</p>", section("What it was made from", _facts(version))]
    else:
        parts += _of_test_rows(version, said)
    return document(f"model {version.id}", parts, above=above)


def _of_test_rows(version: ModelVersion, predictions: Predictions) -> list[str]:
    """Return the sections that are computed from the test rows."""
    said = predictions.rows
    found, targets = probabilities_of(said["probabilities"]), said["target"].to_numpy()
    return [
        _erased(predictions),
        section("By segment (AUROC, 95 % over users)", _by_segment(version, said)),
        section("By how much is known of the user", _by_history(version, said)),
        section("Who is not put anywhere", _left_out(version, said)),
        section("Calibration", _calibration(found, targets)),
        section("What it was made from", _facts(version)),
        section("Limits", _limits(version, said)),
    ]


def _erased(predictions: Predictions) -> str:
    """Say how many rows the figures above still count, and those below do not."""
    if not predictions.erased:
        return ""
    whole = predictions.rows.height + predictions.erased
    return (
        f"<p>{predictions.erased:,} of {whole:,} test rows were erased with their users since the figures above were "
        "computed. What follows is of the others.</p>"
    )


def _summary(version: ModelVersion) -> str:
    promoted = f", promoted on {version.promoted_at:%Y-%m-%d}" if version.promoted_at else ""
    return (
        f"Puts users in the segments {', '.join(version.segments)} of {version.label_set}: {version.backbone} on "
        f"{version.textualizer} text. It is {version.state.value}{promoted}."
    )


def _figures(rows: Sequence[Evaluation]) -> str:
    names = {"auroc": "AUROC", "macro_f1": "macro F1", "log_loss": "log-loss", "ece": "ECE"}
    told = []
    for row in rows:
        split = "" if row.split == "test" else f" ({row.split})"
        figures = ("–" if row.metrics.get(one) is None else f"{row.metrics[one]:.4f}" for one in names)
        told.append((f"{row.name}{split}", f"{row.rows:,}", *figures))
    return table(["model", ">rows", *(f">{name}" for name in names.values())], told)


def _interval(said: pl.DataFrame, columns: NDArray[np.float32]) -> str:
    if said.height < _LEAST:
        return f"too few ({said.height:,} rows)"
    draws = auroc_draws(columns, said["target"].to_numpy(), said["user_key"].to_numpy())
    if not np.isfinite(draws[0]):
        return "all in one segment"
    told = Interval.of(float(draws[0]), draws[1:])
    return f"{told.value:.4f} [{told.low:.4f}, {told.high:.4f}]"


def _by_segment(version: ModelVersion, said: pl.DataFrame) -> str:
    found = probabilities_of(said["probabilities"])
    told = []
    for n, segment in enumerate(version.segments):
        mine = (said["target"] == n).cast(int)
        one = said.with_columns(mine.alias("target"))
        scores = np.stack([1 - found[:, n], found[:, n]], axis=1)
        told.append((segment, f"{int(mine.sum()):,}", _interval(one, scores)))
    return table(["segment", ">rows", ">AUROC"], told)


def _by_history(version: ModelVersion, said: pl.DataFrame) -> str:
    told = []
    ends = [*HISTORIES, None]
    answers = version.manifest.get("policy", {}).get("answers") or ["model"] * len(ends)
    for low, high, answer in zip([-1, *HISTORIES], ends, answers, strict=True):
        here = said.filter(said["events"] > low, True if high is None else said["events"] <= high)
        if here.is_empty():
            continue
        name = f"over {low}" if high is None else str(high) if high == low + 1 else f"{low + 1} to {high}"
        found, targets = probabilities_of(here["probabilities"]), here["target"].to_numpy()
        right = float((found.argmax(axis=1) == targets).mean())
        told.append((f"{name} events", f"{here.height:,}", answer, f"{right:.1%}", _interval(here, found)))
    return table(["history", ">rows", "answer from", ">accuracy", ">AUROC"], told)


def _left_out(version: ModelVersion, said: pl.DataFrame) -> str:
    """Return how sure the model must be of each segment, and how many test users that leaves."""
    thresholds = version.manifest.get("thresholds") or []
    if not thresholds:
        return "<p>Everybody is put in the likeliest segment; with --min-precision, users below it stay unassigned.</p>"
    found, targets = probabilities_of(said["probabilities"]), said["target"].to_numpy()
    there, likeliest = placed(found, said["events"].to_numpy(), thresholds), found.argmax(axis=1)
    told = []
    for n, segment in enumerate(version.segments):
        mine = there & (likeliest == n)
        right = f"{(targets[mine] == n).mean():.1%}" if mine.any() else "–"
        share = f"{mine.sum() / max((likeliest == n).sum(), 1):.1%}"
        least = thresholds[n]
        told.append((segment, "never" if least is None else f"{least:.3f}", f"{mine.sum():,}", share, right))
    wanted = version.manifest["precision"]
    words = (
        f"<p>Asked: right in {wanted:.0%} of the cases. {there.mean():.1%} of the test rows are put in a segment.</p>"
    )
    return words + table(["segment", ">from", ">test rows", ">of those likeliest there", ">right"], told)


def _calibration(found: NDArray[np.float32], targets: NDArray[np.int64]) -> str:
    """Return how often the likeliest segment is right, by how sure the model is, as a picture."""
    sure, right = found.max(axis=1), found.argmax(axis=1) == targets
    place = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    size, bars = 300, []
    for n in range(_BINS):
        here = place == n
        if here.sum():
            tall = size * float(right[here].mean())
            bars.append(
                f'<rect x="{n * size / _BINS:.1f}" y="{size - tall:.1f}" width="{size / _BINS - 2:.1f}" '
                f'height="{tall:.1f}" fill="#8fb8de"><title>{here.sum():,} users about {(n + 0.5) / _BINS:.0%} sure, '
                f"{right[here].mean():.1%} of them rightly</title></rect>"
            )
    ece = expected_calibration_error(found, targets)
    return (
        f'<svg viewBox="-30 -5 340 335" style="max-width:22rem" role="img" aria-label="reliability">{"".join(bars)}'
        f'<path d="M0 {size}L{size} 0" stroke="#888" stroke-dasharray="4"/><path d="M0 0V{size}H{size}" '
        f'fill="none" stroke="#444"/><text x="0" y="318" font-size="12">0 % sure</text><text x="{size}" y="318" '
        f'font-size="12" text-anchor="end">100 % sure</text>'
        f'<text x="-4" y="10" font-size="12" text-anchor="end">1</text></svg>'
        f"<p>Bars on the dashed line mean what they say. Expected calibration error {ece:.4f}.</p>"
    )


def _facts(version: ModelVersion) -> str:
    manifest: dict[str, Any] = version.manifest
    data, recipe = manifest["data"], manifest["recipe"]
    facts = {
        "labels": f"{version.label_set}, by {data['labeler']}",
        "data": f"{data['rows']:,} rows of {data['users']:,} users, events to {data['latest_event'][:10]}",
        "split": f"by {manifest['split']}, {held_out_of(manifest):.0%} held out, seed {manifest['seed']}: "
        + ", ".join(f"{part} {rows:,}" for part, rows in data["parts"].items()),
        "training rows": f"sha256 {data['training_keys_sha256']}",
        "text": f"{recipe['textualizer']} version {recipe['textualizer_version']}, {recipe['language']}, "
        f"{recipe['window_days']:g} days",
        "features": str(len(manifest["features"])),
        "weights": f"sha256 {version.sha256}",
        "versions": ", ".join(f"{name} {number}" for name, number in manifest["versions"].items()),
    }
    return table([], list(facts.items()))


def _limits(version: ModelVersion, said: pl.DataFrame) -> str:
    data = version.manifest["data"]
    told = [
        f"It learnt from what was known on {data['latest_event'][:10]} at the latest; what has changed since it does "
        "not know.",
        f"Of {said.height:,} test rows, {said.filter('unseen').height:,} are of users it had not learnt from.",
    ]
    rare = [one["segment"] for one in data["segments"] if one["part"] == "train" and one["rows"] < 100]
    if rare:
        told.append(f"Fewer than 100 training rows are in {', '.join(rare)}: little is known of them.")
    silent = said.filter(said["events"] == 0).height
    told.append(
        f"{silent:,} test rows are of users without events; they get what is commonest, or none (--min-precision)."
    )
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in told) + "</ul>"
