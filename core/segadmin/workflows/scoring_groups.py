"""The users of a scoring job by the model that scores them: one group, or two where a canary is running."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import BackboneUnavailable, EngineUnavailable, PluginError
from segadmin.jobs.attempt import Attempt
from segadmin.jobs.plugin_guard import calling
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.models.canary import CanaryShare
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from segadmin.text.plan import TextPlan
from segadmin.workflows.prepared import PreparedSegments, RefreshPlan
from segadmin.workflows.scored import Scoring

if TYPE_CHECKING:
    import polars as pl
    from sqlmodel import Session

    from segadmin.snapshots.stale import StaleUsers
    from segadmin.storage.arrivals import EventChanges
    from segadmin.storage.lake import Lake
    from segadmin.text.read_buckets import Selection

#: What a model that cannot be used raises: another attempt would raise it too.
MODEL_FAILURES = (PluginError, BackboneUnavailable, EngineUnavailable)
#: Users whose texts are read at a time, about: whole buckets are read.
_PIECE = 32_768


@dataclass(frozen=True)
class ScoringGroup:
    """The users whom one model scores."""

    version_id: int
    plan: TextPlan  #: how and until when this model reads them
    canary: CanaryShare | None  #: of this model or of the other one; ``None``: there is one model, for everybody
    refresh: RefreshPlan | None
    in_place_of: int | None = None  #: the version whose users they are, if the model stands in for that one

    @property
    def is_canary(self) -> bool:
        """Whether the model is the challenger of a canary."""
        return self.canary is not None and self.version_id == self.canary.challenger_id

    def scored_by(self, other: ScoringGroup) -> ScoringGroup:
        """Return the same users as a group that the model of another group scores."""
        return replace(self, version_id=other.version_id, plan=other.plan, in_place_of=self.version_id)

    @property
    def goes_on(self) -> bool:
        """Whether only users who changed are scored."""
        return self.refresh is not None and not self.refresh.everyone

    def select(self, users: pl.DataFrame) -> pl.DataFrame:
        """Return those of ``users`` (``user_key``, …) whom this model scores."""
        if self.canary is None:
            return users
        meant = self.version_id if self.in_place_of is None else self.in_place_of
        return users.filter(self.canary.versions(users["user_key"]) == meant)


def current_of(session: Session, label_set: str, version_id: int | None) -> SegmentSnapshot | None:
    """Return the current snapshot of a label set, if this model version made it."""
    number = pointed(session, current_snapshot(label_set))
    snapshot = None if number is None else session.get_one(SegmentSnapshot, number)
    return snapshot if snapshot is not None and snapshot.model_version_id == version_id else None


def groups_of(settings: Settings, text: TextPlan, scoring: Scoring) -> list[ScoringGroup]:
    """Return the groups of a job whose own texts are those of ``text``: that of the snapshot's model first."""
    versions = scoring.versions
    if len(versions) == 1:
        return [ScoringGroup(versions[0], text, None, scoring.refresh)]
    assert text.scoring is not None, "a job that scores has a scoring window"
    with reading(settings) as session:
        recipes = [manifest_of(session.get_one(ModelVersion, version)).recipe for version in versions]
    return [
        ScoringGroup(
            version,
            TextPlan(recipe=recipe, scoring=recipe.window(text.scoring.as_of), lake=text.lake),
            scoring.canary,
            scoring.refresh,
        )
        for version, recipe in zip(versions, recipes, strict=True)
    ]


def stale_users(settings: Settings, group: ScoringGroup, buckets: range) -> StaleUsers:
    """Return who of a group is read, by what these users have in the current snapshot."""
    from segadmin.snapshots.read import assignments
    from segadmin.snapshots.stale import BEFORE, StaleUsers
    from segadmin.storage.lake import Lake
    from segadmin.text.item_words import item_words

    plan, refresh = group.plan, group.refresh
    assert refresh is not None and plan.scoring is not None, "a job that goes on from a snapshot"
    lake = Lake.of(settings, plan.lake)
    columns = (*BEFORE, "model_version_id")
    before = assignments(settings, refresh.snapshot_id, buckets=buckets).select(columns).collect()
    return StaleUsers(
        lake=lake,
        recipe=plan.recipe,
        window=plan.scoring,
        before=before,
        everyone=refresh.everyone,
        silent=refresh.silent,
        items_changed=refresh.items_changed,
        changes=_event_changes(settings, lake, refresh.snapshot_id),
        words=item_words(load_plugins(settings), lake, plan.recipe) if refresh.items_changed else None,
        version_id=group.version_id,
        select=group.select,
    )


def _event_changes(settings: Settings, lake: Lake, snapshot_id: int) -> EventChanges | None:
    """Return how the events changed since a snapshot was made, if that is known."""
    from segadmin.storage.arrivals import event_changes

    with reading(settings) as session:
        since = session.get_one(SegmentSnapshot, snapshot_id).lake_versions.get("events")
    until = (lake.versions or {}).get("events")
    return None if since is None or until is None or until < since else event_changes(lake, since, until)


@dataclass(frozen=True)
class GroupTexts:
    """The texts of the users of a group to be scored, of the buckets of a step."""

    users: int  #: about
    pieces: Iterator[pl.DataFrame]  #: by bucket and user; with ``cause``, where the job goes on from a snapshot


def texts_of_group(attempt: Attempt, prepared: PreparedSegments, group: ScoringGroup, own: pl.LazyFrame) -> GroupTexts:
    """Return the texts of a group: of ``own``, the texts of this job, if its model reads users alike, else read here.

    The two models of a canary may read users differently, and a job has the texts of one of them. Nor does it have
    those of users whom the other model was to read.
    """
    import polars as pl

    if group.plan.recipe == prepared.recipe and group.in_place_of is None:
        return GroupTexts(own.select(pl.len()).collect().item(), _own_texts(attempt, group, own))
    to_read = _to_read(attempt.settings, group, attempt.buckets)
    users = pl.concat([users for _, users in to_read.groups(attempt.buckets)])
    return GroupTexts(users.height, _read_texts(attempt, group, users))


def _own_texts(attempt: Attempt, group: ScoringGroup, own: pl.LazyFrame) -> Iterator[pl.DataFrame]:

    from segadmin.inference.scoring import pieces_of

    to_read = None
    for piece in pieces_of(own):
        users = group.select(piece)
        if group.refresh is not None and "cause" not in piece.columns:  # a job that trains has read everybody
            to_read = to_read or _to_read(attempt.settings, group, attempt.buckets)
            stale = to_read.of_buckets(piece["bucket"].unique().to_list()).select("user_key", "cause")
            users = users.join(stale, on="user_key", maintain_order="left")
        yield users


def _read_texts(attempt: Attempt, group: ScoringGroup, users: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the texts of ``users`` (``bucket``, ``user_key``, ``cause``)."""
    import polars as pl

    from segadmin.text.read_buckets import GivenUsers, read_buckets

    plugin = load_plugins(attempt.settings).find("textualizer", group.plan.recipe.textualizer)
    call, before, numbers = partial(calling, attempt, plugin, "phrases"), 0, dict[int, int]()
    for bucket, count in users.group_by("bucket").len().sort("bucket").iter_rows():
        numbers[bucket] = before // _PIECE
        before += count
    for _, buckets in groupby(numbers, key=numbers.__getitem__):
        texts = read_buckets(attempt.settings, group.plan, buckets, scored=GivenUsers(users), call=call)
        yield pl.concat(texts.scoring).sort("bucket", "user_key")


def _to_read(settings: Settings, group: ScoringGroup, buckets: range) -> Selection:
    """Return the users of a group who are to be read."""
    from segadmin.storage.lake import Lake
    from segadmin.text.read_buckets import EveryUser

    if group.refresh is not None:
        return stale_users(settings, group, buckets)
    return EveryUser(Lake.of(settings, group.plan.lake), group.select)
