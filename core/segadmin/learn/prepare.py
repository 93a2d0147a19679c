"""The ``prepare`` stage of ``retrain``: everything is looked at before anything is done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import polars as pl

from segadmin.errors import ConfigurationError
from segadmin.events.lake import Lake
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.jobs.request import Retrain, Textualize
from segadmin.learn.labels import KnownLabels, after, read_labels
from segadmin.learn.prepared import Prepared
from segadmin.learn.resolve import resolve_backbone
from segadmin.learn.split import split_rows
from segadmin.learn.tracking import check_trackers
from segadmin.plugins import Plugins, load_plugins
from segadmin.settings import Settings
from segadmin.text.features import commonest, used_extras
from segadmin.text.recipe import Recipe

Json = dict[str, Any]
#: The commonest categories and brands, whose shares are features.
_CATEGORIES, _BRANDS = 24, 8
#: Events that show which extras are used now and then.
_EXTRAS_READ = 200_000


def prepare(attempt: Attempt) -> Outcome:
    """Check the options, the weights and the data; decide the windows, the split and the features."""
    settings, plugins = attempt.settings, load_plugins(attempt.settings)
    asked = Retrain.model_validate(attempt.options)
    recipe = new_recipe(settings, plugins, asked)
    versions = Lake.of(settings).current_versions()
    backbone, options = resolve_backbone(plugins, asked.backbone, asked.backbone_options)
    baselines = tuple(name for name in asked.baselines if (name, {}) != (backbone, options))
    attempt.progress(0.0, "checking the backbone")
    check_backbones(settings, plugins, {**{name: {} for name in baselines}, backbone: options})
    trackers = asked.tracker_settings()
    check_trackers(settings, plugins, trackers)
    attempt.progress(0.2, "reading the labels")
    known = read_labels(settings, asked.labels, asked.window_days)
    definition = known.label_set.definition
    rows = split_rows(known.rows, known.label_set.segments, asked.split, asked.seed, definition)
    attempt.progress(0.6, "choosing the features")
    chosen = _chosen_features(Lake.of(settings), known, rows)
    recipe = recipe.model_copy(update={"window_days": known.window_days, **chosen})
    prepared = Prepared(
        recipe=recipe,
        label_set=known.label_set.name,
        segments=tuple(known.label_set.segments),
        training=known.windows,
        scoring=recipe.window(after(known.latest)),
        backbone=backbone,
        backbone_options=options,
        baselines=baselines,
        trackers=trackers,
        seed=asked.seed,
        margin=asked.margin,
        augment=asked.augment,
        drop_events=asked.drop_events,
        split=asked.split,
        rows=attempt.write(rows, "split"),
        lake=versions,
        data=fingerprint(known, rows),
    )
    return Outcome(prepared.model_dump(mode="json"))


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


def new_recipe(settings: Settings, plugins: Plugins, asked: Retrain | Textualize) -> Recipe:
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
    )


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


def _chosen_features(lake: Lake, known: KnownLabels, rows: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return, for the recipe, what the users learnt from have most to do with in their windows."""
    learnt = rows.filter(pl.col("part") == "train").join(known.rows, on=["user_key", "as_of"])
    users = learnt.select("user_key").unique().lazy()
    start, end = learnt["observed_from"].min(), learnt["as_of"].max()
    inside = lake.scan("events").filter(pl.col("at") >= start, pl.col("at") < end)
    theirs, items = inside.join(users, on="user_key", how="semi"), lake.scan("items")
    return {
        "categories": commonest(theirs, items, "category", _CATEGORIES),
        "brands": commonest(theirs, items, "brand", _BRANDS),
        "uses": used_extras(theirs.select("extras").head(_EXTRAS_READ).collect()),
    }
