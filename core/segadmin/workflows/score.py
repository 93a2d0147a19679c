"""The ``score`` stage: every user of a bucket range gets a segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.contracts.plugins import load_plugins
from segadmin.evaluation.abstention import events_of, placed
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.jobs.plugin_guard import calling
from segadmin.models.artifact import LoadedModel, load_artifact
from segadmin.snapshots.read import assignments
from segadmin.storage.database import transaction
from segadmin.storage.records import ModelVersion
from segadmin.storage.schema import ASSIGNMENTS
from segadmin.text.features import feature_names
from segadmin.workflows.prepared import Prepared

Progress = Callable[[float, str], None]
#: Users whose probabilities are found before they are put away: bounds memory, whatever the backbone holds.
_BATCH = 8192
#: As in the lake, less the snapshot's number, which publish gives.
SCORES = {name: kind for name, kind in ASSIGNMENTS.items() if name != "snapshot_id"}


def score(attempt: Attempt) -> Outcome:
    """Carry forward the users whose text did not change, and let the model read the others."""
    prepared = Prepared.model_validate(attempt.input("prepare"))
    version_id = prepared.model_version_id or attempt.input("gate")["model_version_id"]
    users = _texts(attempt)
    carried = _carried(attempt, prepared, users, version_id)
    fresh = users.join(carried, on="user_key", how="anti")
    model = _load(attempt, version_id) if fresh.height else None
    rescored = list(_predicted(attempt, prepared, fresh, version_id, model)) if model else []
    remark = model.classifier.remark if model else ""
    scores = pl.concat([carried, *rescored]).sort("bucket", "user_key")
    return Outcome(
        {
            "buckets": [attempt.buckets.start, attempt.buckets.stop - 1],
            "scores": attempt.write(scores, "scores"),
            "rescored": fresh.height,
            "carried": carried.height,
            **({"remark": remark} if remark else {}),
        }
    )


def assigned(probabilities: pl.Series, segments: Sequence[str], there: pl.Series | None = None) -> list[pl.Series]:
    """Return the likeliest segment of every row of ``probabilities`` (List[Float32]), and its probability.

    Who is not ``there`` (not enough is known of them) is in no segment.
    """
    likeliest = probabilities.list.arg_max()
    names = pl.Series(segments, dtype=pl.String).gather(likeliest)
    if there is not None:
        names = names.set(~there, None)
    return [names.alias("segment"), probabilities.list.max().alias("probability")]


def _texts(attempt: Attempt) -> pl.DataFrame:
    """Return the texts of this step's buckets, whichever ranges they were written in."""
    wanted = attempt.buckets
    written = [
        one["scoring"]
        for one in attempt.inputs["textualize"]
        if one["scoring"] and one["buckets"][0] < wanted.stop and one["buckets"][1] >= wanted.start
    ]
    frames = [attempt.read(one).filter(pl.col("bucket").is_in(list(wanted))) for one in written]
    return pl.concat(frames).sort("bucket", "user_key")


def _carried(attempt: Attempt, prepared: Prepared, users: pl.DataFrame, version_id: int) -> pl.DataFrame:
    """Return the previous snapshot's rows of the users whose text is what this very model read then."""
    if prepared.previous_snapshot_id is None:
        return pl.DataFrame(schema=SCORES)
    before = assignments(attempt.settings, prepared.previous_snapshot_id, buckets=attempt.buckets)
    return (
        before.filter(pl.col("model_version_id") == version_id)
        .join(users.lazy().select("user_key", "phrase_hash"), on=["user_key", "phrase_hash"], how="semi")
        .select(list(SCORES))
        .collect()
    )


def _load(attempt: Attempt, version_id: int) -> LoadedModel:
    attempt.progress(0.0, "loading the model")
    plugins = load_plugins(attempt.settings)
    with transaction(attempt.settings) as session:
        version = session.get_one(ModelVersion, version_id)
    with calling(attempt, plugins.find("backbone", version.backbone), "load"):
        return load_artifact(attempt.settings, plugins, version)


def _predicted(
    attempt: Attempt, prepared: Prepared, users: pl.DataFrame, version_id: int, model: LoadedModel
) -> Iterator[pl.DataFrame]:
    backbone = load_plugins(attempt.settings).find("backbone", model.manifest["backbone"])
    for start in range(0, users.height, _BATCH):
        batch = users.slice(start, _BATCH)

        def progress(fraction: float, note: str = "", done: int = start, size: int = batch.height) -> None:
            attempt.progress((done + fraction * size) / users.height, f"{done} of {users.height} users scored")

        with calling(attempt, backbone, "predict"):
            scored = _scored(batch, model, prepared, version_id, progress)
        yield scored
    attempt.progress(1.0, f"{users.height} users scored")


def _scored(
    users: pl.DataFrame, model: LoadedModel, prepared: Prepared, version_id: int, progress: Progress
) -> pl.DataFrame:
    examples = Examples(users, model.segments, feature_names(prepared.recipe))
    found = model.predict(examples, progress)
    there = pl.Series(placed(found, events_of(examples), model.thresholds))
    probabilities = pl.Series("probabilities", found.astype("float32").tolist(), dtype=pl.List(pl.Float32))
    return users.select(
        "bucket",
        "user_key",
        *assigned(probabilities, model.segments, there),
        probabilities,
        pl.lit(version_id, pl.Int64).alias("model_version_id"),
        "phrase_hash",
        pl.col("as_of").alias("scored_as_of"),
    ).select(pl.col(name).cast(kind) for name, kind in SCORES.items())
