"""Merges users, as a visitor becomes a customer: events and labels move, and what comes later follows.

The records in SQL say what is to be merged or undone; moving the rows follows from them, so that a merge that was
killed is completed by the next import, merge, erasure, or job that reads the users.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import polars as pl
from sqlmodel import col, select, update

from segadmin.errors import DataError, JobError, MergeNotFound, StorageError
from segadmin.events.erasure_mark import was_interrupted
from segadmin.events.keys import candidate_keys, show_key
from segadmin.events.merge_rows import count_moved, place_rows
from segadmin.events.merged_users import MergedUsers
from segadmin.events.similar_ids import similar_ids
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import is_row_number, now, reading, transaction
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Lake
from segadmin.storage.records import MergeState, UserMerge
from segadmin.storage.store import NO_EVENTS, check_store, open_store

log = logging.getLogger(__name__)
#: How long a merge waits for a running import, which may be short.
WAIT_SECONDS = 60.0
#: Users whose rows are in memory at a time, unless more are merged into one; Delta's parser bounds it too.
_BATCH_KEYS = 500
_PENDING = (MergeState.MERGING, MergeState.UNDOING)
LIST = "segadmin data merges"


class PairState(StrEnum):
    """What became of a pair of users."""

    MERGED = "merged"
    ALREADY = "already merged"
    REFUSED = "refused"


@dataclass(frozen=True)
class UserPair:
    """Two users to merge, by the shop's ids or by pseudonyms of 16 hex digits."""

    old: str  #: the user who is merged, such as a visitor
    new: str  #: the user to merge into, such as the customer
    line: int | None = None  #: line in a file; ``None`` if it is not from a file


@dataclass(frozen=True)
class MergedPair:
    """What became of a pair."""

    pair: UserPair
    state: PairState
    problem: str = ""  #: why it was refused, and what to do
    merge: UserMerge | None = None  #: of this merge, or of the one before


def merge_users(
    settings: Settings, pairs: Sequence[UserPair], *, wait_seconds: float = WAIT_SECONDS
) -> list[MergedPair]:
    """Merge the first user of each pair into the second one.

    Events and labels move to the second user, each once, by the rules by which imports remove duplicates. What is
    imported later under the first user's id belongs to the second one too. Pairs that cannot be merged are refused,
    and the others are merged nevertheless.

    Args:
        settings: location of the store.
        pairs: merged in this order; a user may be merged into one who is merged in a later pair.
        wait_seconds: how long to wait for a running import.

    Returns:
        What became of each pair, in their order.

    Raises:
        JobError: an import runs for longer than ``wait_seconds``.
        DataError: nothing has been imported yet.
        StorageError: an erasure was interrupted, or a table cannot be written. The next merge completes this one.
    """
    with alone(settings, wait_seconds=wait_seconds):
        buckets = _opened(settings)
        lake = Lake.of(settings)
        complete_merges(settings, lake, buckets)
        checked = list(_checked(settings, lake, pairs))
        with transaction(settings) as session:
            session.add_all(done.merge for done in checked if done.merge and done.state is PairState.MERGED)
        complete_merges(settings, lake, buckets)
    with reading(settings) as session:
        return [
            replace(done, merge=session.get_one(UserMerge, done.merge.id)) if done.merge else done for done in checked
        ]


def check_pairs(settings: Settings, pairs: Sequence[UserPair]) -> list[MergedPair]:
    """Return what would become of each pair, as :func:`merge_users` does, without writing anything.

    Raises:
        DataError: nothing has been imported yet.
        StorageError: an erasure was interrupted.
    """
    _opened(settings)
    return list(_checked(settings, Lake.of(settings), pairs))


def undo_merge(settings: Settings, number: int, *, wait_seconds: float = WAIT_SECONDS) -> UserMerge:
    """Undo a merge: the first user gets back all rows that came under their id, before or after the merge.

    An undo that was killed is completed by the same call.

    Raises:
        DataError: there is no such merge, or it was undone before.
        JobError, StorageError: as in :func:`merge_users`.
    """
    with alone(settings, wait_seconds=wait_seconds):
        buckets = _opened(settings)
        lake = Lake.of(settings)
        with reading(settings) as session:
            merge = session.get(UserMerge, number) if is_row_number(number) else None
        if merge is None:
            raise MergeNotFound(f"There is no merge {number}. Look: {LIST}")
        if merge.state == MergeState.UNDONE:
            raise DataError(f"Merge {number} was undone before, at {merge.undone_at:%Y-%m-%d %H:%M} UTC.")
        complete_merges(settings, lake, buckets)  # also of this undo, if it was killed
        with transaction(settings) as session:
            merged = update(UserMerge).where(col(UserMerge.id) == number, col(UserMerge.state) == MergeState.MERGED)
            session.exec(merged.values(state=MergeState.UNDOING))
        complete_merges(settings, lake, buckets)
    with reading(settings) as session:
        return session.get_one(UserMerge, number)


def list_merges(
    settings: Settings, key: int | None = None, *, limit: int | None = None, before: int | None = None
) -> list[UserMerge]:
    """Return merges, newest first.

    Args:
        settings: location of the database.
        key: only those that merged this user or merged into them.
        limit: at most so many.
        before: only those older than the one of this number.
    """
    query = select(UserMerge).order_by(col(UserMerge.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(UserMerge.id) < before)
    if key is not None:
        query = query.where((col(UserMerge.old_key) == key) | (col(UserMerge.new_key) == key))
    with reading(settings) as session:
        return list(session.exec(query).all())


def merged_keys(settings: Settings, before: datetime | None = None) -> pl.Series:
    """Return the keys of users who were merged, also if that was undone; with ``before``, until that moment."""
    query = select(UserMerge.old_key)
    if before is not None:
        query = query.where(col(UserMerge.created_at) <= before)
    with reading(settings) as session:
        return pl.Series("user_key", session.exec(query).all(), dtype=pl.Int64).unique()


def settle_merges(settings: Settings) -> None:
    """Complete merges that were killed, and wait for one that runs, so that what is read next has no half of one.

    If an import runs for long, nothing is waited for: it has completed them before it began.

    Raises:
        StorageError: see :func:`complete_merges`.
    """
    with reading(settings) as session:
        pending = session.exec(select(UserMerge.id).where(col(UserMerge.state).in_(_PENDING)).limit(1)).first()
    if pending is None or was_interrupted(settings):
        return
    with suppress(JobError), alone(settings, wait_seconds=WAIT_SECONDS):
        complete_merges(settings, Lake.of(settings), open_store(settings).buckets)


def complete_merges(settings: Settings, lake: Lake, buckets: int) -> None:
    """Move the rows of all merges that have begun; hold the import lock.

    Raises:
        StorageError: a table cannot be written. The next call goes on.
    """
    with reading(settings) as session:
        pending = session.exec(select(UserMerge).where(col(UserMerge.state).in_(_PENDING))).all()
    if not pending:
        return
    linked = MergedUsers({**MergedUsers.of(lake).into, **{merge.old_key: merge.new_key for merge in pending}})
    undone = {merge.old_key for merge in pending if merge.state == MergeState.UNDOING}
    merged = MergedUsers({old: new for old, new in linked.into.items() if old not in undone})
    for keys, merges in _batches(pending, linked):
        place_rows(lake, merged, keys, buckets)
        _finish(settings, merges, merged, count_moved(lake, keys, buckets))


def _opened(settings: Settings) -> int:
    """Return the number of buckets of the store."""
    store = check_store(settings)
    if store is None:
        raise DataError(NO_EVENTS)
    if was_interrupted(settings):
        raise StorageError("An erasure of users was interrupted. Complete it first: segadmin data forget")
    return store.buckets


def _checked(settings: Settings, lake: Lake, pairs: Sequence[UserPair]) -> Iterator[MergedPair]:
    """Yield for each pair the merge to begin, or why there is none."""
    into, names = dict(MergedUsers.of(lake).into), _Names(settings, lake, pairs)
    begun = _merged_before(settings)
    for pair in pairs:
        try:
            old, new = names.key(pair.old), names.key(pair.new)
            _refuse_circle(pair, old, new, MergedUsers(into))
        except DataError as error:
            yield MergedPair(pair, PairState.REFUSED, str(error))
            continue
        if old not in into:
            into[old] = new
            begun[old] = UserMerge(old_key=old, new_key=new)
            yield MergedPair(pair, PairState.MERGED, merge=begun[old])
            continue
        merge = begun.get(old)
        if MergedUsers(into).root(old) == MergedUsers(into).root(new):
            yield MergedPair(pair, PairState.ALREADY, merge=merge)
        else:
            yield MergedPair(pair, PairState.REFUSED, _merged_elsewhere(pair, into[old], merge))


def _merged_before(settings: Settings) -> dict[int, UserMerge]:
    with reading(settings) as session:
        merges = session.exec(select(UserMerge).where(UserMerge.state == MergeState.MERGED)).all()
    return {merge.old_key: merge for merge in merges}


def _refuse_circle(pair: UserPair, old: int, new: int, merged: MergedUsers) -> None:
    if old == new:
        raise DataError(f"{pair.old!r} and {pair.new!r} are the same user, so there is nothing to merge.")
    while new in merged.into and new != old:
        new = merged.into[new]
    if new == old:
        raise DataError(
            f"{pair.new!r} was merged into {pair.old!r} before, so the two are one user already. To have it the other "
            f"way round, undo that merge first: {LIST}"
        )


def _merged_elsewhere(pair: UserPair, into: int, merge: UserMerge | None) -> str:
    number = merge.id if merge is not None else None
    undo = "Remove one of the two lines." if number is None else f"Undo that first: segadmin data merge --undo {number}"
    return f"{pair.old!r} was merged into the user {show_key(into)} before, not into {pair.new!r}. {undo}"


class _Names:
    """Finds the keys of the users in some pairs."""

    def __init__(self, settings: Settings, lake: Lake, pairs: Sequence[UserPair]) -> None:
        self._secret, self._lake = settings.secret(), lake
        candidates = set[int]()
        for name in {name for pair in pairs for name in (pair.old, pair.new)}:
            try:
                candidates.update(candidate_keys(self._secret, name))
            except DataError:  # raised again for its pair
                continue
        tables = [lake.scan(table).select("user_key") for table in ("users", "merged_users")]
        known = pl.concat(tables).filter(pl.col("user_key").is_in(list(candidates))).collect()
        self._known = set(known["user_key"])

    def key(self, name: str) -> int:
        """Return the key of a user.

        Raises:
            DataError: there is no such user.
        """
        key = next((key for key in candidate_keys(self._secret, name) if key in self._known), None)
        if key is not None:
            return key
        similar = similar_ids(self._lake, [name]).get(name, [])
        hint = f" Did you mean {' or '.join(map(repr, similar))}?" if similar else ""
        raise DataError(f"There is no user {name!r}: no event of this id has been imported.{hint}")


def _batches(pending: Sequence[UserMerge], linked: MergedUsers) -> Iterator[tuple[set[int], list[UserMerge]]]:
    """Yield merges in batches, with the keys of all users who have to do with them."""
    by_root: dict[int, list[UserMerge]] = {}
    for merge in pending:
        by_root.setdefault(linked.root(merge.old_key), []).append(merge)
    keys, merges = set[int](), list[UserMerge]()
    for root, of_root in by_root.items():
        group = linked.group(root)
        if merges and len(keys) + len(group) > _BATCH_KEYS:
            yield keys, merges
            keys, merges = set(), []
        keys |= group
        merges += of_root
    yield keys, merges


def _finish(
    settings: Settings, merges: Sequence[UserMerge], merged: MergedUsers, moved: Mapping[str, Counter[int]]
) -> None:
    """Record that the rows of these merges are where they belong."""
    with transaction(settings) as session:
        for merge in (session.get_one(UserMerge, each.id) for each in merges):
            subject = f"user {show_key(merge.new_key)}"
            if merge.state == MergeState.MERGING:
                keys = merged.below(merge.old_key)
                merge.moved = {name: sum(counts[key] for key in keys) for name, counts in moved.items()}
                merge.state = MergeState.MERGED
                session.add(entry("data.merge", subject, merge=merge.id, **merge.moved))
            else:
                merge.state, merge.undone_at = MergeState.UNDONE, now(session)
                session.add(entry("data.unmerge", subject, merge=merge.id))
    log.info("users merged", extra={"action": "merge", "merges": len(merges)})
