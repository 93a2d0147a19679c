"""Prepares a fit: chooses the rows, the windows, and the features that depend on training data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from segadmin.contracts.backbone import no_progress
from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.errors import DataError
from segadmin.events.items import FACET, facet
from segadmin.labels.corrections import CorrectionLabels
from segadmin.labels.equal_texts import separate_equal_texts
from segadmin.labels.label_sets import KnownLabels, after, read_labels
from segadmin.labels.parts import Part, SplitBy, SplitOptions
from segadmin.labels.split import check_parts, split_rows, trainable_rows, with_replay
from segadmin.models.manifest import ModelManifest, SegmentRows, TrainingData
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.text.features import commonest, item_facets, used_extras
from segadmin.text.item_words import WORDS, item_words, single_words
from segadmin.text.recipe import Recipe, Window
from segadmin.text.recipes import window_parts
from segadmin.training.unlabelled import UnlabelledRows, unlabelled_rows

#: Maximum number of categories, brands, values of a facet and words of items whose shares are features.
_CATEGORIES, _BRANDS, _FACETS, _WORDS = 24, 8, 16, 64
#: Number of events that are read to find used extras.
_EXTRAS_READ = 200_000


@dataclass(frozen=True)
class AuxiliaryRows:
    """The rows of an auxiliary label set for training."""

    segments: tuple[str, ...]
    rows: pl.DataFrame  #: ``user_key``, ``as_of``, ``observed_from``, ``target``


@dataclass(frozen=True)
class LabelledRows:
    """The labelled rows of a fit, and how they are read."""

    label_set: str
    segments: tuple[str, ...]
    split: pl.DataFrame  #: see :func:`segadmin.labels.split.split_rows`; with ``observed_from``
    recipe: Recipe  #: with the features that were chosen from training data
    windows: tuple[Window, ...]  #: windows of the labelled users
    auxiliary: Mapping[str, AuxiliaryRows]
    data: TrainingData
    unlabelled: UnlabelledRows | None = None

    @classmethod
    def of(
        cls,
        settings: Settings,
        recipe: Recipe,
        label_set: str | None,
        *,
        how: SplitOptions,
        auxiliary: Iterable[str] = (),
        unlabelled: bool = False,
        parent: ModelManifest | None = None,
        progress: Callable[[float, str], None] = no_progress,
    ) -> LabelledRows:
        """Read a label set, split its rows, and choose features.

        Args:
            settings: where the store is.
            recipe: the recipe without the features chosen from training data.
            label_set: name of the label set; default: the only one.
            how: options of the split.
            auxiliary: names of auxiliary label sets.
            unlabelled: whether users without labels are read too.
            parent: manifest of the parent version of a warm start.
            progress: called with the fraction done and a short note.

        Raises:
            DataError: a model cannot be trained on the labels, or they cannot be split so.
        """
        progress(0.2, "reading the labels")
        labels = read_labels(settings, label_set, recipe.window_days)
        name, segments = labels.label_set.name, tuple(labels.label_set.segments)
        split = split_rows(labels.rows, segments, how.by, how.seed, labels.label_set.definition, held_out=how.held_out)
        split = split.join(labels.rows.select("user_key", "as_of", "observed_from"), on=["user_key", "as_of"])
        if parent is not None:
            split = split_for_parent(parent, split, name, how)
        progress(0.6, "choosing the features")
        corrections = CorrectionLabels.read(settings, name, segments)
        present = recipe.model_copy(update={"window_days": labels.window_days}).window(after(labels.latest))
        split = corrections.add_to(split, present, segments)
        lake = Lake.of(settings)
        words = item_words(load_plugins(settings), lake, recipe)
        recipe = recipe.model_copy(update=chosen_features(lake, labels, split, words))
        tasks = {other: auxiliary_rows(settings, other, split, recipe.window_days, how) for other in auxiliary}
        others = unlabelled_rows(lake, recipe, split, how) if unlabelled else None
        rows = [task.rows for task in tasks.values()] + ([others.rows] if others else [])
        rows.append(split.filter(pl.col("part") == Part.CORRECTED))
        windows = training_windows(labels, rows)
        return cls(name, segments, split, recipe, windows, tasks, training_data(labels, split), others)


def auxiliary_rows(
    settings: Settings, name: str, split: pl.DataFrame, window_days: float, how: SplitOptions
) -> AuxiliaryRows:
    """Return the rows of the label set ``name`` that may be trained on with ``split``, in windows of the same length.

    Raises:
        DataError: no label was known before the first test row.
    """
    labels = read_labels(settings, name, window_days)
    segments = tuple(labels.label_set.segments)
    rows = trainable_rows(labels.rows, split, how.by, how.seed, how.held_out)
    if rows.is_empty():
        raise DataError(
            f"No row of the labels {name!r} was known before the first test row. Leave out --auxiliary-labels {name}"
        )
    target = pl.col("segment").cast(pl.Enum(segments)).to_physical().cast(pl.Int64)
    observed = pl.col("as_of") - pl.duration(seconds=window_days * 86_400)
    own = split.select("user_key", "as_of", own="observed_from")
    return AuxiliaryRows(
        segments,
        rows.join(own, on=["user_key", "as_of"], how="left")
        .select("user_key", "as_of", pl.coalesce("own", observed).alias("observed_from"), target.alias("target"))
        .sort("as_of", "user_key"),
    )


def training_windows(labels: KnownLabels, others: Iterable[pl.DataFrame]) -> tuple[Window, ...]:
    """Return the windows of the labels, followed by those that only ``others``, auxiliary or unlabelled rows, have."""
    windows = labels.windows
    for rows in others:
        pairs = rows.select("observed_from", "as_of").unique().sort("as_of", "observed_from").iter_rows()
        own = (Window(observed_from=start, as_of=end) for start, end in pairs)
        windows += tuple(window for window in own if window not in windows)
    return windows


def split_for_parent(parent: ModelManifest, split: pl.DataFrame, label_set: str, how: SplitOptions) -> pl.DataFrame:
    """Return ``split`` for a warm start from ``parent``: only a fraction of its training rows is trained on again.

    All rows are new to a version that was trained on the users of another store.

    Raises:
        DataError: nothing is new, or the parent was trained on data later than the first test cut-off.
    """
    if parent.is_from_elsewhere:
        return split
    first_test: datetime = split.filter(pl.col("part") == Part.TEST).select(pl.col("as_of").min()).item()
    if parent.pretrained is not None:
        until, activity = parent.pretrained.until, "pretrained on texts"
        fix = f"Pretrain again: segadmin enqueue pretrain --until {first_test:%Y-%m-%d}"
    else:
        cutoffs = [*parent.data.cutoffs_of(Part.TEST)[:1], *parent.data.trained_cutoffs]
        if not cutoffs:
            raise DataError("That version does not say what it was trained on, so nothing can continue from it.")
        until = max(cutoffs)
        activity, fix = "trained on labels", "Start from an older version, or label later weeks"
    if how.by == SplitBy.TIME and parent.split == SplitBy.TIME and until > first_test:
        raise DataError(
            f"That version was {activity} until {until:%Y-%m-%d}; these labels are tested from {first_test:%Y-%m-%d} "
            f"on, so it may have been trained on the answers. {fix}"
        )
    if parent.label_set != label_set or how.replay >= 1:
        return split
    return with_replay(split, parent.data.trained_cutoffs, how.replay, how.seed)


def training_data(labels: KnownLabels, split: pl.DataFrame) -> TrainingData:
    """Return the description of the training data."""
    return TrainingData(
        **split_facts(split, labels.label_set.segments),
        labeler=labels.label_set.labeler,
        definition=labels.label_set.definition,
        latest_event=labels.latest,
    )


def separated_split(
    split: pl.DataFrame, texts: pl.DataFrame, data: TrainingData, segments: Sequence[str], by: SplitBy
) -> tuple[pl.DataFrame, TrainingData]:
    """Return ``split`` with equal texts in one part, and ``data`` of that split.

    Args:
        split: as :func:`prepare` decided it, before there were texts.
        texts: as :func:`segadmin.labels.equal_texts.separate_equal_texts` takes them.
        data: the description of ``split``.
        segments: in the order of the targets.
        by: what separates test rows from training rows.

    Raises:
        DataError: so few rows have texts of their own that a part has too few.
    """
    split, equal_texts = separate_equal_texts(split, texts, by)
    check_parts(split, segments, by)
    return split, data.model_copy(update={**split_facts(split, segments), "equal_texts": equal_texts})


def split_facts(split: pl.DataFrame, segments: Sequence[str]) -> dict[str, Any]:
    """Return the fields of ``TrainingData`` that follow from the split."""
    trained = split.filter(pl.col("part").is_in([Part.TRAIN.value, Part.CORRECTED.value]))
    training_rows = trained.select("user_key", "as_of", "target", *(["weight"] if "weight" in split.columns else []))
    csv = training_rows.sort("user_key", "as_of").write_csv(include_header=False)
    segment = pl.col("target").replace_strict(dict(enumerate(segments)), return_dtype=pl.String)
    counts = split.group_by("part", segment.alias("segment")).len().sort("part", "segment")
    cutoffs = split.group_by("part").agg(pl.col("as_of").unique().sort()).sort("part")
    return {
        "rows": split.height,
        "users": split["user_key"].n_unique(),
        "parts": {part: split.filter(pl.col("part") == part).height for part in cutoffs["part"]},
        "unseen": split.filter((pl.col("part") == Part.TEST) & pl.col("unseen")).height,
        "segments": tuple(SegmentRows(part=part, segment=name, rows=rows) for part, name, rows in counts.iter_rows()),
        "cutoffs": {part: tuple(moments) for part, moments in cutoffs.iter_rows()},
        "training_keys_sha256": hashlib.sha256(csv.encode()).hexdigest(),
    }


def chosen_features(
    lake: Lake, labels: KnownLabels, split: pl.DataFrame, words: pl.DataFrame | None = None
) -> dict[str, Any]:
    """Return the fields of the recipe that are chosen from training data, such as the most common categories.

    Args:
        lake: with the events and the items.
        labels: the label set.
        split: its rows.
        words: of items, as :func:`segadmin.text.item_words.item_words` returns them.
    """
    training_rows = split.filter(pl.col("part") == Part.TRAIN).join(labels.rows, on=["user_key", "as_of"])
    users = training_rows.select("user_key").unique().lazy()
    start, end = training_rows["observed_from"].min(), training_rows["as_of"].max()
    inside = lake.scan("events").filter(pl.col("at") >= start, pl.col("at") < end)
    training_events, items = inside.join(users, on="user_key", how="semi"), lake.scan("items")
    parts, brands = window_parts(labels.window_days), commonest(training_events, items, "brand", _BRANDS)
    return {
        "window_days": labels.window_days,
        "parts": parts,
        "categories": commonest(training_events, items, "category", _CATEGORIES),
        "brands": brands,
        "recent_brands": brands if parts else (),  # half of a short window is not informative
        "facets": {
            name: commonest(training_events, items.select("item", facet(name)), FACET + name, _FACETS)
            for name in item_facets(items)
        },
        "uses": used_extras(training_events.select("extras").head(_EXTRAS_READ).collect()),
        "words": () if words is None else commonest(training_events, single_words(words).lazy(), WORDS, _WORDS),
    }


def check_backbones(settings: Settings, plugins: Plugins, backbones: Mapping[str, dict[str, Any]]) -> None:
    """Check that every backbone can be used on this machine, before any work.

    Raises:
        PluginNotFound: there is no such backbone.
        BackboneUnavailable: its weights or libraries are missing; with the fix.
    """
    for name, options in backbones.items():
        plugins.make("backbone", name, options).check(settings)
