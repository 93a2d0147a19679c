"""What decides about segments instead of the model: corrections by people, and hysteresis.

The probabilities of a row stay the model's; ``probability`` is that of the row's segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from segadmin.events.merged_users import MergedUsers
from segadmin.labels.corrections import in_force, of_root_users, segments_by_user
from segadmin.settings import Settings
from segadmin.snapshots.policy import Cause, Override
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake


@dataclass(frozen=True)
class Overrides:
    """The overrides that hold for a snapshot."""

    segments: tuple[str, ...]  #: of the model, in the order of the probabilities
    corrections: pl.DataFrame  #: ``user_key``, ``segment``
    margins: tuple[float, ...] | None = None  #: by segment, of hysteresis; ``None``: it is not used
    #: The segments of each model version that scored users, in its order; margins are of the first one.
    orders: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        settings: Settings,
        label_set: str,
        orders: Mapping[int, Sequence[str]],
        margins: tuple[float, ...] | None = None,
    ) -> Overrides:
        """Return the overrides that hold now. Corrections to segments that the model does not have are left out.

        Args:
            settings: location of the store.
            label_set: whose corrections.
            orders: see :func:`segadmin.snapshots.segment_order.orders_of`.
            margins: of hysteresis, of the first model version.
        """
        segments = next(iter(orders.values()))
        with reading(settings) as session:
            corrections = segments_by_user(in_force(session, label_set))
        corrections = of_root_users(corrections, MergedUsers.of(Lake.of(settings)))
        known = corrections.filter(pl.col("segment").is_in(list(segments)))
        return cls(tuple(segments), known.select("user_key", "segment"), margins, orders)

    def of_scored(self, scored: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of users who were scored, with overrides.

        Args:
            scored: rows by the model, with ``cause``.
            before: their rows in the snapshot before; other users' are ignored.
        """
        rows = _with_columns(scored)
        if self.margins is not None:
            rows = self._held_back(rows, before)
        rows = self._corrected(rows)
        was = before.select("user_key", was_corrected=_is(Override.CORRECTION))
        rows = rows.join(was, on="user_key", how="left", maintain_order="left")
        is_corrected, was_corrected = _is(Override.CORRECTION), pl.col("was_corrected").fill_null(value=False)
        cause = (
            pl.when((pl.col("cause") == Cause.NEW.value) | (is_corrected == was_corrected))
            .then("cause")
            .when(is_corrected)
            .then(pl.lit(Cause.CORRECTION.value))
            .otherwise(pl.lit(Cause.CORRECTION_ENDED.value))
        )
        return rows.with_columns(cause=cause).drop("was_corrected")

    def concerned(self, before: pl.DataFrame) -> pl.Series:
        """Return the keys of those users of a snapshot whose segment the model does not, or not any more, decide."""
        is_listed = pl.col("user_key").is_in(self.corrections["user_key"].implode())
        return before.filter(is_listed | pl.col("overridden_by").is_not_null())["user_key"]

    def of_carried(self, before: pl.LazyFrame, *, release: bool = True) -> pl.DataFrame:
        """Return the rows of users who were not scored and whose overrides began or ended since.

        Args:
            before: the rows of those who are :meth:`concerned`, in the snapshot before.
            release: return those whom hysteresis held back to the segment by the model, if it is not used now.
        """
        rows = before.collect()
        now = self._corrected(rows)
        if release and self.margins is None:
            now = self._set(now, pl.when(~_is(Override.HYSTERESIS)).then("segment").otherwise("model_segment"))
            now = now.with_columns(overridden_by=pl.when(~_is(Override.HYSTERESIS)).then("overridden_by"))
            now = now.with_columns(model_segment=pl.when(pl.col("overridden_by").is_not_null()).then("model_segment"))
        was = rows.select("user_key", was_in="segment", was_by="overridden_by")
        changed = now.join(was, on="user_key", maintain_order="left").filter(
            pl.col("segment").ne_missing(pl.col("was_in")) | pl.col("overridden_by").ne_missing(pl.col("was_by"))
        )
        cause = (
            pl.when(_is(Override.CORRECTION))
            .then(pl.lit(Cause.CORRECTION.value))
            .when(_is(Override.CORRECTION, "was_by"))
            .then(pl.lit(Cause.CORRECTION_ENDED.value))
            .otherwise(pl.lit(Cause.HYSTERESIS_ENDED.value))
        )
        return changed.with_columns(cause=cause).drop("was_in", "was_by")

    def _corrected(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows`` with the segments of corrections, and those of ended ones by the model."""
        corrected_to = self.corrections.select("user_key", corrected_to="segment")
        rows = rows.join(corrected_to, on="user_key", how="left", maintain_order="left")
        is_corrected, was_corrected = pl.col("corrected_to").is_not_null(), _is(Override.CORRECTION)
        segment = pl.when(is_corrected).then("corrected_to").when(was_corrected).then("model_segment")
        override = pl.when(is_corrected).then(pl.lit(Override.CORRECTION.value)).when(~was_corrected)
        rows = rows.with_columns(model_segment=by_model())
        rows = self._set(rows, segment.otherwise("segment")).with_columns(overridden_by=override.then("overridden_by"))
        model_segment = pl.when(pl.col("overridden_by").is_not_null()).then("model_segment")
        return rows.with_columns(model_segment=model_segment).drop("corrected_to")

    def _held_back(self, scored: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
        """Return ``scored`` with the segments of before, where the new one does not lead by its margin."""
        assert self.margins is not None
        # Who was corrected has no segment by the model that could be kept.
        was_in = pl.when(~_is(Override.CORRECTION)).then("segment")
        old = before.select("user_key", was_in=was_in, was_by_model="model_version_id")
        rows = scored.join(old, on="user_key", how="left", maintain_order="left")
        margin = pl.col("segment").replace_strict(dict(zip(self.segments, self.margins, strict=True)), default=None)
        lead = self._probability(pl.col("segment")) - self._probability(pl.col("was_in"))
        of_margins = pl.col("model_version_id").is_in([*self.orders][:1]) if self.orders else pl.lit(value=True)
        is_held = (
            of_margins  # those of a canary's challenger are others
            & (pl.col("was_by_model") == pl.col("model_version_id"))
            & (pl.col("segment") != pl.col("was_in"))
            & (lead < margin.cast(pl.Float64))
        ).fill_null(value=False)
        rows = rows.with_columns(
            model_segment=pl.when(is_held).then("segment"),
            overridden_by=pl.when(is_held).then(pl.lit(Override.HYSTERESIS.value)),
        )
        return self._set(rows, pl.when(is_held).then("was_in").otherwise("segment")).drop("was_in", "was_by_model")

    def _set(self, rows: pl.DataFrame, segment: pl.Expr) -> pl.DataFrame:
        """Return ``rows`` in ``segment``, with the probability of it."""
        set_rows = rows.with_columns(segment=segment)
        own = self._probability(pl.col("segment")).cast(pl.Float32)
        highest = pl.col("probabilities").list.max()  # also of users who are in no segment
        return set_rows.with_columns(probability=pl.coalesce(own, highest))

    def _probability(self, segment: pl.Expr) -> pl.Expr:
        """Return the probability of a segment, null where it is null."""
        place = _place(segment, self.segments)
        for version, order in self.orders.items():
            if tuple(order) != self.segments:
                place = pl.when(pl.col("model_version_id") == version).then(_place(segment, order)).otherwise(place)
        return pl.col("probabilities").list.get(place, null_on_oob=True)


def _place(segment: pl.Expr, order: Sequence[str]) -> pl.Expr:
    places = {name: place for place, name in enumerate(order)}
    return segment.replace_strict(places, default=None, return_dtype=pl.Int64)


def by_model() -> pl.Expr:
    """Return the segment of a row by the model alone."""
    return pl.when(pl.col("overridden_by").is_null()).then("segment").otherwise("model_segment")


def without_hysteresis() -> pl.Expr:
    """Return the segment that a row would have without hysteresis."""
    return pl.when(_is(Override.HYSTERESIS)).then("model_segment").otherwise("segment")


def _is(override: Override, column: str = "overridden_by") -> pl.Expr:
    return (pl.col(column) == override.value).fill_null(value=False)


def _with_columns(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.lit(None, pl.String).alias(name) for name in ("overridden_by", "model_segment"))
