"""The ``prepare`` stage of ``retrain``: everything is looked at before anything is done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import polars as pl

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import ConfigurationError, DataError
from segadmin.events.items import FACET, facet
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.labels.label_sets import KnownLabels, after, read_labels
from segadmin.labels.split import learnable, replayed, split_rows
from segadmin.models.artifact import Saved, read_manifest
from segadmin.models.versions import find_version
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.text.features import commonest, item_facets, used_extras
from segadmin.text.recipe import Recipe, Window
from segadmin.training.tracking import check_trackers
from segadmin.workflows.prepared import Beside, Prepared, Start, held_out_of
from segadmin.workflows.pretrain import Pretrain
from segadmin.workflows.retrain import DEFAULT_BACKBONE, Retrain
from segadmin.workflows.textualize import Textualize
from segadmin.workflows.tune import Tune

Json = dict[str, Any]
#: The commonest categories, brands and values of a facet, whose shares are features.
_CATEGORIES, _BRANDS, _FACETS = 24, 8, 16
#: Equal parts of the window whose spends are features: none shorter than so many days, in which many users do not come
#: by at all; at most, and at least, so many: fewer say no more than the last half and quarter, which are features too.
_DAYS_OF_PART, _FEWEST_PARTS, _MOST_PARTS = 14.0, 4, 8
#: Events that show which extras are used now and then.
_EXTRAS_READ = 200_000


def prepare(attempt: Attempt) -> StageResult:
    """Check the options, the weights and the data; decide the windows, the split and the features."""
    settings, plugins = attempt.settings, load_plugins(attempt.settings)
    asked = (Tune if attempt.job_kind == "tune" else Retrain).model_validate(attempt.options)
    recipe = new_recipe(settings, plugins, asked)
    versions = Lake.of(settings).current_versions()
    backbone, options = resolve_backbone(plugins, asked.backbone or DEFAULT_BACKBONE, asked.backbone_options)
    baselines = tuple(name for name in asked.baselines if (name, {}) != (backbone, options))
    attempt.progress(0.0, "checking the backbone")
    check_backbones(settings, plugins, {**{name: {} for name in baselines}, backbone: options})
    trackers = asked.tracker_settings()
    check_trackers(settings, plugins, trackers)
    attempt.progress(0.2, "reading the labels")
    known = read_labels(settings, asked.labels, asked.window_days)
    definition = known.label_set.definition
    start, parent = _start(settings, asked)
    seed, held_out = asked.seed, asked.held_out
    if parent is not None and "pretrained" not in parent:  # the same users are held out
        seed, held_out = parent.get("seed", seed), held_out_of(parent)
    rows = split_rows(known.rows, known.label_set.segments, asked.split, seed, definition, held_out=held_out)
    rows = rows.join(known.rows.select("user_key", "as_of", "observed_from"), on=["user_key", "as_of"])
    if parent is not None:
        rows = _go_on(parent, rows, asked, seed)
    attempt.progress(0.6, "choosing the features")
    recipe = recipe.model_copy(update=_chosen_features(Lake.of(settings), known, rows))
    apart = partial(learnable, split=rows, by=asked.split, seed=seed, held_out=held_out)
    beside = {name: _beside(settings, name, recipe, rows, apart) for name in asked.auxiliary_labels}
    prepared = Prepared(
        recipe=recipe,
        label_set=known.label_set.name,
        segments=tuple(known.label_set.segments),
        training=_windows(known, recipe, rows, beside.values()),
        scoring=recipe.window(after(known.latest)),
        backbone=backbone,
        backbone_options=options,
        baselines=baselines,
        trackers=trackers,
        seed=seed,
        held_out=held_out,
        margin=asked.margin,
        precision=asked.min_precision,
        augment=asked.augment,
        drop_events=asked.drop_events,
        split=asked.split,
        rows=attempt.write(rows, "split"),
        also={
            name: Beside(segments=other.segments, rows=attempt.write(other.rows, f"also-{name}"))
            for name, other in beside.items()
        },
        start=start,
        lake=versions,
        data=fingerprint(known, rows),
    )
    if attempt.job_kind == "tune":
        from segadmin.training.study import study_of

        study_of(settings, attempt.job_id)  # by one step, before several trials would make its tables at once
    return StageResult(prepared.model_dump(mode="json"))


@dataclass(frozen=True)
class _Beside:
    segments: tuple[str, ...]
    rows: pl.DataFrame


def _beside(
    settings: Settings, name: str, recipe: Recipe, split: pl.DataFrame, apart: Callable[[pl.DataFrame], pl.DataFrame]
) -> _Beside:
    """Return the rows of the label set ``name`` that may be learnt beside, read as far back as ``split``."""
    known = read_labels(settings, name, recipe.window_days)
    segments = tuple(known.label_set.segments)
    rows = apart(known.rows)
    if rows.is_empty():
        raise DataError(
            f"No row of the labels {name!r} was known before the first test row. Leave out --auxiliary-labels {name}"
        )
    target = pl.col("segment").cast(pl.Enum(segments)).to_physical().cast(pl.Int64)
    observed = pl.col("as_of") - pl.duration(seconds=recipe.window_days * 86_400)
    there = split.select("user_key", "as_of", own="observed_from")
    return _Beside(
        segments,
        rows.join(there, on=["user_key", "as_of"], how="left")
        .select("user_key", "as_of", pl.coalesce("own", observed).alias("observed_from"), target.alias("target"))
        .sort("as_of", "user_key"),
    )


def _windows(known: KnownLabels, recipe: Recipe, split: pl.DataFrame, beside: Iterable[_Beside]) -> tuple[Window, ...]:
    """Return where labelled users are read: the windows of the labels, and those that only others beside have."""
    windows = known.windows
    for other in beside:
        later = other.rows.select("as_of").unique().join(split, on="as_of", how="anti").sort("as_of")["as_of"]
        windows += tuple(window for window in map(recipe.window, later) if window not in windows)
    return windows


def _start(settings: Settings, asked: Retrain) -> tuple[Start | None, Json | None]:
    """Return the version to go on from, and its manifest."""
    if asked.start_from is None:
        return None, None
    with transaction(settings) as session:
        version = find_version(session, asked.start_from, asked.labels)
    manifest = read_manifest(settings, Saved(version.folder, version.sha256))
    assert version.id is not None
    return Start(version=version.id, folder=version.folder, sha256=version.sha256), manifest


def _go_on(parent: Json, split: pl.DataFrame, asked: Retrain, seed: int) -> pl.DataFrame:
    """Return the split with what ``parent`` has learnt already set aside, but for what is replayed.

    Raises:
        DataError: nothing is new, or pretraining read what the test rows are to be guessed from.
    """
    tested = split.filter(pl.col("part") == "test")
    first_test: datetime = tested.select(pl.col("as_of").min()).item()
    if "pretrained" in parent:
        until, why = datetime.fromisoformat(parent["pretrained"]["until"]), "pretrained on texts"
        mend = f"Pretrain again: segadmin enqueue pretrain --until {first_test:%Y-%m-%d}"
    else:
        cutoffs = parent["data"]["cutoffs"]
        until = datetime.fromisoformat(max([*cutoffs.get("test", ())[:1], *cutoffs.get("train", ())]))
        why, mend = "taught what happened", "Start from an older version, or label later weeks"
    if asked.split == "time" and parent.get("split", "time") == "time" and until > first_test:
        raise DataError(
            f"That version was {why} until {until:%Y-%m-%d}; these labels are tested from {first_test:%Y-%m-%d} on: "
            f"it may have read the answers. {mend}"
        )
    if parent.get("label_set") != asked.labels or asked.replay >= 1:
        return split
    learnt = [datetime.fromisoformat(moment) for moment in parent["data"]["cutoffs"].get("train", ())]
    return replayed(split, learnt, asked.replay, seed)


def check_backbones(settings: Settings, plugins: Plugins, wanted: Mapping[str, Json]) -> None:
    """Check that every backbone can be used here, before any work.

    Raises:
        PluginNotFound: there is no such backbone.
        BackboneUnavailable: its weights or libraries cannot be had, with what mends it.
    """
    for name, options in wanted.items():
        plugins.make("backbone", name, options).check(settings)


def fingerprint(known: KnownLabels, rows: pl.DataFrame) -> Json:
    """Return what there was to learn from: enough to tell whether it is the same another time."""
    learnt = rows.filter(pl.col("part") == "train").select("user_key", "as_of", "target").sort("user_key", "as_of")
    digest = hashlib.sha256(learnt.write_csv(include_header=False).encode()).hexdigest()
    order = pl.col("target").replace_strict(dict(enumerate(known.label_set.segments)), return_dtype=pl.String)
    counts = rows.group_by("part", order.alias("segment")).len().sort("part", "segment")
    cutoffs = rows.group_by("part").agg(pl.col("as_of").unique().sort()).sort("part")
    return {
        "rows": rows.height,
        "users": rows["user_key"].n_unique(),
        "parts": {part: rows.filter(pl.col("part") == part).height for part in cutoffs["part"]},
        "unseen": rows.filter((pl.col("part") == "test") & pl.col("unseen")).height,
        "segments": [{"part": part, "segment": segment, "rows": n} for part, segment, n in counts.iter_rows()],
        "cutoffs": {part: [moment.isoformat() for moment in moments] for part, moments in cutoffs.iter_rows()},
        "labeler": known.label_set.labeler,
        "definition": known.label_set.definition,
        "latest_event": known.latest.isoformat(),
        "training_keys_sha256": digest,
    }


def new_recipe(settings: Settings, plugins: Plugins, asked: Retrain | Pretrain | Textualize) -> Recipe:
    """Return the recipe that the options of a job ask for.

    Raises:
        PluginNotFound: there is no such textualizer.
        ConfigurationError: it has no such option, or cannot use the value.
    """
    found = plugins.find("textualizer", asked.textualizer)
    textualizer = plugins.make("textualizer", asked.textualizer, asked.textualizer_options)
    language = asked.language or settings.language
    return Recipe(
        textualizer=asked.textualizer,
        textualizer_version=textualizer.version,
        textualizer_options=asked.textualizer_options,
        distribution=found.distribution,
        templates=asked.templates.get(language, {}),
        language=language,
        window_days=asked.window_days,
        max_phrases=asked.max_phrases,
        parts=_parts(asked.window_days),
    )


def _parts(window_days: float) -> int:
    parts = min(_MOST_PARTS, int(window_days / _DAYS_OF_PART))
    return parts if parts >= _FEWEST_PARTS else 0


def check_recipe(plugins: Plugins, recipe: Recipe, whose: str) -> None:
    """Check that the installed textualizer writes what ``recipe`` was made with.

    Raises:
        PluginNotFound: it is not installed.
        ConfigurationError: it is another version.
    """
    found = plugins.find("textualizer", recipe.textualizer)
    installed = found.load().version
    if installed != recipe.textualizer_version:
        raise ConfigurationError(
            f"{whose} reads text of {recipe.textualizer!r} version {recipe.textualizer_version} "
            f"({recipe.distribution}), but version {installed} ({found.distribution}) is installed. "
            "Install that one, or train again: segadmin enqueue retrain"
        )


def _chosen_features(lake: Lake, known: KnownLabels, rows: pl.DataFrame) -> Json:
    """Return, for the recipe, the windows' length and what the users learnt from have most to do with in them."""
    learnt = rows.filter(pl.col("part") == "train").join(known.rows, on=["user_key", "as_of"])
    users = learnt.select("user_key").unique().lazy()
    start, end = learnt["observed_from"].min(), learnt["as_of"].max()
    inside = lake.scan("events").filter(pl.col("at") >= start, pl.col("at") < end)
    theirs, items = inside.join(users, on="user_key", how="semi"), lake.scan("items")
    parts, brands = _parts(known.window_days), commonest(theirs, items, "brand", _BRANDS)
    return {
        "window_days": known.window_days,
        "parts": parts,
        "categories": commonest(theirs, items, "category", _CATEGORIES),
        "brands": brands,
        "recent_brands": brands if parts else (),  # half of a short window tells little
        "facets": {
            name: commonest(theirs, items.select("item", facet(name)), FACET + name, _FACETS)
            for name in item_facets(items)
        },
        "uses": used_extras(theirs.select("extras").head(_EXTRAS_READ).collect()),
    }
