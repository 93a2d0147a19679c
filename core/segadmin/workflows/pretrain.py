"""The ``pretrain`` job: a language model reads all users' texts, labelled or not, before it is taught anything."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from sqlmodel import Session, select

from segadmin.contracts.backbone import Backbone, Examples, Fit, Pretraining
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.jobs.plugin_guard import calling
from segadmin.labels.label_sets import after, latest_event
from segadmin.labels.split import draw
from segadmin.models.artifact import save_artifact
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet, ModelState, ModelVersion, utcnow
from segadmin.text.recipe import Window
from segadmin.workflows.finetune import tell_who_was_learnt_from, versions
from segadmin.workflows.prepare_training import check_backbones, new_recipe
from segadmin.workflows.prepared import Prepared
from segadmin.workflows.requests import Pretrain

Json = dict[str, Any]
#: Share of the users whose texts only measure what was learnt.
_HELD_OUT = 0.05
#: A text of fewer phrases says that there is nothing to say.
_LEAST_PHRASES = 2
_LEAST_TEXTS = 20


def prepare(attempt: Attempt) -> Outcome:
    """Check the weights and decide the windows: whom to read, and until when."""
    settings, plugins = attempt.settings, load_plugins(attempt.settings)
    asked = Pretrain.model_validate(attempt.options)
    check_backbones(settings, plugins, {asked.backbone: asked.backbone_options})
    lake = Lake.of(settings)
    versions_read = lake.current_versions()
    start = _first_event(lake)
    until = _until(settings, lake, asked, start)
    recipe = new_recipe(settings, plugins, asked)
    windows = _windows(recipe.window(until), asked, start)
    users = lake.scan("users").select("user_key").sort("user_key").collect()
    moments = pl.DataFrame(
        {"observed_from": [one.observed_from for one in windows], "as_of": [one.as_of for one in windows]},
        schema={"observed_from": pl.Datetime("us", "UTC"), "as_of": pl.Datetime("us", "UTC")},
    )
    rows = users.join(moments, how="cross").with_columns(target=pl.lit(0, pl.Int64), part=pl.lit("train"))
    prepared = Prepared(
        recipe=recipe,
        label_set="",
        segments=(),
        training=windows,
        backbone=asked.backbone,
        backbone_options=asked.backbone_options,
        seed=asked.seed,
        rows=attempt.write(rows, "rows"),
        lake=versions_read,
        data={"until": until.isoformat(), "windows": [one.as_of.isoformat() for one in windows]},
    )
    return Outcome(prepared.model_dump(mode="json"))


def pretrain(attempt: Attempt) -> Outcome:
    """Let the backbone read, and keep what it has become as a model version to start from."""
    prepared = Prepared.model_validate(attempt.input("prepare"))
    asked = Pretrain.model_validate(attempt.options)
    settings, plugins = attempt.settings, load_plugins(attempt.settings)
    texts = _texts(attempt, prepared)
    held_out = draw(texts.frame["user_key"].to_numpy(), prepared.seed) < _HELD_OUT
    parts = [Examples(texts.frame.filter(pl.Series(one)), (), ()) for one in (~held_out, held_out)]
    backbone: Backbone = plugins.make("backbone", prepared.backbone, prepared.backbone_options)
    how = Pretraining(mask=asked.mask, whole_phrases=asked.whole_phrases, new_words=asked.new_words)
    run = Fit(settings, attempt.checkpoints, prepared.seed, attempt.progress, attempt.log)
    with calling(attempt, plugins.find("backbone", prepared.backbone), "pretrain"):
        found = backbone.pretrain(parts[0], parts[1], run, how)
    tell_who_was_learnt_from(attempt, parts[:1])
    manifest = {
        "pretrained": {**prepared.data, **how.__dict__, "texts": len(parts[0]), "held_out": len(parts[1])},
        "backbone": prepared.backbone,
        "backbone_options": prepared.backbone_options,
        "backbone_distribution": plugins.find("backbone", prepared.backbone).distribution,
        "recipe": prepared.recipe.model_dump(mode="json"),
        "seed": prepared.seed,
        "report": found.report,
        "versions": versions(),
        "job": attempt.job_id,
        "created": utcnow().isoformat(timespec="seconds"),
    }
    draft = attempt.folder / "artifact"
    shutil.rmtree(draft, ignore_errors=True)
    saved = save_artifact(settings, draft, found, manifest)

    def commit(session: Session) -> Json:
        version = ModelVersion(
            label_set="",
            state=ModelState.PRETRAINED,
            backbone=prepared.backbone,
            textualizer=prepared.recipe.textualizer,
            segments=[],
            folder=saved.folder,
            sha256=saved.sha256,
            manifest=manifest,
            job_id=attempt.job_id,
        )
        session.add(version)
        session.flush()
        return {"model_version_id": version.id}

    return Outcome({"report": found.report, "folder": saved.folder, "sha256": saved.sha256}, commit=commit)


def _until(settings: Settings, lake: Lake, asked: Pretrain, start: datetime) -> datetime:
    """Return when the texts end: at the latest where the labels' test rows begin, so that those stay unseen."""
    newest = after(latest_event(lake))
    if asked.until is not None:
        until = asked.until.astimezone(UTC) if asked.until.tzinfo else asked.until.replace(tzinfo=UTC)
        if until <= start:
            raise DataError(f"No event is older than --until {until:%Y-%m-%d}; the first is of {start:%F}.")
        return min(until, newest)
    with transaction(settings) as session:
        sets = session.exec(select(LabelSet)).all()
    tested = [datetime.fromisoformat(str(cut)) for one in sets for cut in one.definition.get("test_cuts") or ()]
    return min([newest, *tested])


def _first_event(lake: Lake) -> datetime:
    latest_event(lake)  # says so where there is none
    first: datetime = lake.scan("events").select(pl.col("at").min()).collect().item()
    return first


def _windows(last: Window, asked: Pretrain, start: datetime) -> tuple[Window, ...]:
    """Return the windows, the newest last, each half a window before the next, as far as there are events."""
    half = timedelta(days=asked.window_days / 2)
    ever = [
        Window(observed_from=last.observed_from - n * half, as_of=last.as_of - n * half) for n in range(asked.windows)
    ]
    return tuple(sorted((one for one in ever if one.as_of > start), key=lambda one: one.as_of))


def _texts(attempt: Attempt, prepared: Prepared) -> Examples:
    frames = [attempt.read(one["training"]) for one in attempt.inputs["textualize"] if one["training"]]
    frame = pl.concat(frames).filter(pl.col("phrases").list.len() >= _LEAST_PHRASES).sort("as_of", "user_key")
    if frame.height < _LEAST_TEXTS:
        raise DataError(
            f"Only {frame.height} users have anything to read until {prepared.data['until'][:10]}; {_LEAST_TEXTS} are "
            "needed. Import more events, or read further: --until, --windows"
        )
    return Examples(frame, (), ())
