"""Reads corrections: segments that people set, which override the model and are labels of the next training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

from sqlmodel import Session, col, or_, select

from segadmin.events.merged_users import MergedUsers
from segadmin.labels.parts import Part
from segadmin.settings import Settings
from segadmin.storage.database import now, reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import Correction
from segadmin.text.recipe import Window

if TYPE_CHECKING:
    import polars as pl


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CorrectionLabels:
    """The corrections of a label set as training rows."""

    rows: pl.DataFrame  #: ``user_key``, ``segment`` and ``weight`` (1 or more) of those in force
    users: Sequence[int]  #: who was ever corrected: an earlier version may have been trained on them

    @classmethod
    def read(cls, settings: Settings, label_set: str, segments: Sequence[str]) -> Self:
        """Read the corrections of a label set now. Those to a segment that it does not have are left out."""
        import polars as pl

        with reading(settings) as session:
            rows = segments_by_user(in_force(session, label_set))
            users = trained_users(session, label_set)
        merged = MergedUsers.of(Lake.of(settings))
        rows = of_root_users(rows, merged).filter(pl.col("weight") > 0)
        known = rows.filter(pl.col("segment").is_in(list(segments)))
        if known.height < rows.height:
            facts = {"action": "train", "label_set": label_set, "corrections": rows.height - known.height}
            log.warning("corrections to segments that the labels do not have are left out", extra=facts)
        return cls(known, [merged.root(key) for key in users])

    def add_to(self, split: pl.DataFrame, window: Window, segments: Sequence[str]) -> pl.DataFrame:
        """Return ``split`` with a training row for each correction, as users are in ``window``.

        Users who were ever corrected are in no validation and test row: people looked at them, and corrected the model.

        Args:
            split: as :func:`segadmin.labels.split.split_rows` returns it, and ``observed_from``.
            window: the present one.
            segments: in the order of the targets.

        Returns:
            ``split`` with the part ``corrected``, and ``weight`` if there are such rows: how often each counts.
        """
        import polars as pl

        is_held_out = pl.col("part").is_in([Part.VALIDATION.value, Part.TEST.value])
        split = split.filter(~(is_held_out & pl.col("user_key").is_in(list(self.users))))
        if self.rows.is_empty():
            return split
        target = pl.col("segment").cast(pl.Enum(list(segments))).to_physical().cast(pl.Int64)
        as_of, observed_from = (
            pl.lit(moment).cast(split.schema["as_of"]) for moment in (window.as_of, window.observed_from)
        )
        rows = self.rows.select(
            "user_key",
            as_of=as_of,
            target=target,
            part=pl.lit(Part.CORRECTED.value),
            unseen=pl.lit(value=False),
            observed_from=observed_from,
            weight=pl.col("weight"),
        )
        others = split.join(rows, on=["user_key", "as_of"], how="anti").with_columns(weight=pl.lit(1, pl.Int64))
        return pl.concat([others, rows.select(others.columns)]).sort("as_of", "user_key")


def in_force(session: Session, label_set: str, keys: Sequence[int] | None = None) -> Sequence[Correction]:
    """Return the corrections of a label set that hold now, of all users or those with ``keys``, one a user."""
    moment = now(session)
    query = select(Correction).where(
        Correction.label_set == label_set,
        col(Correction.withdrawn_at).is_(None),
        or_(col(Correction.expires_at).is_(None), col(Correction.expires_at) > moment),
    )
    if keys is not None:
        query = query.where(col(Correction.user_key).in_(keys))
    return session.exec(query.order_by(col(Correction.id))).all()


def effective(session: Session, label_set: str, keys: Sequence[int]) -> dict[int, Correction]:
    """Return the correction that holds now for each of some users, also one of a user who was merged with them."""
    merged = MergedUsers.among(session, keys)
    people = {key: merged.group(key) for key in keys}
    holding = in_force(session, label_set, list({other for group in people.values() for other in group}))
    by_user: dict[int, Correction] = {}
    for key, group in people.items():
        own_first = sorted((each for each in holding if each.user_key in group), key=_is_not_of(merged.root(key)))
        if own_first:
            by_user[key] = own_first[0]
    return by_user


def _is_not_of(root: int) -> Callable[[Correction], bool]:
    return lambda correction: correction.user_key != root


def holds(correction: Correction, moment: datetime) -> bool:
    """Whether a correction was in force at ``moment``."""
    is_over = [end is not None and end <= moment for end in (correction.expires_at, correction.withdrawn_at)]
    return correction.created_at <= moment and not any(is_over)


def trained_users(session: Session, label_set: str) -> Sequence[int]:
    """Return the keys of the users whom a model may have been trained on as a correction said, also an old one."""
    query = select(Correction.user_key).where(Correction.label_set == label_set, Correction.weight > 0)
    return session.exec(query.distinct()).all()


def of_root_users(corrections: pl.DataFrame, merged: MergedUsers) -> pl.DataFrame:
    """Return ``corrections`` of merged users under the keys of the users whose rows theirs are now.

    A user's own correction goes before one of a user who was merged into them.
    """
    import polars as pl

    roots = pl.Series("root", [merged.root(key) for key in corrections["user_key"]], dtype=pl.Int64)
    own_first = corrections.with_columns(roots).sort(pl.col("root") != pl.col("user_key"), maintain_order=True)
    by_root = own_first.unique("root", keep="first", maintain_order=True)
    return by_root.with_columns(user_key="root").drop("root")


def segments_by_user(corrections: Sequence[Correction]) -> pl.DataFrame:
    """Return ``user_key``, ``segment`` and ``weight`` of corrections."""
    import polars as pl

    rows = [(each.user_key, each.segment, each.weight) for each in corrections]
    return pl.DataFrame(rows, {"user_key": pl.Int64, "segment": pl.String, "weight": pl.Int64}, orient="row")
