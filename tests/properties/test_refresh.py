"""After any sequence of imports, erasures, refreshes and kills, a snapshot is what scoring everybody would give.

Apart from users who are corrected, and from those whom hysteresis holds back if the newest refresh used it.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlmodel import select, update

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError, UserNotFound
from segadmin.events.erase import forget, remove_older
from segadmin.events.keys import keys_of
from segadmin.events.merge import PairState, UserPair, list_merges, merge_users, undo_merge
from segadmin.events.merged_users import MergedUsers
from segadmin.inference.predictor import load_predictor
from segadmin.jobs.attempt import Json
from segadmin.labels.corrections import in_force, of_root_users, segments_by_user
from segadmin.models.aliases import current_snapshot, pointed, switch_snapshot
from segadmin.models.canary import CanaryShare, end_canary, running_canary, start_canary
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct, withdraw
from segadmin.snapshots.feed import write_changes
from segadmin.snapshots.overrides import by_model
from segadmin.snapshots.policy import Override, TimePolicy
from segadmin.snapshots.read import assignments, list_snapshots, summaries
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import (
    NOT_ENOUGH,
    CanaryState,
    Job,
    JobState,
    ModelVersion,
    SegmentSnapshot,
    SnapshotState,
)
from segadmin.text.reader import read_users
from tests.feeds import replayed, segments_of
from tests.planted import BUCKETS, LABELS, START, Run, retrain

USERS = 8


def hashes_now(settings: Settings, snapshot_id: int) -> pl.DataFrame:
    """Return the hash of every user's text as of a snapshot, whoever was read for it."""
    plugins, lake = load_plugins(settings), Lake.of(settings)
    with transaction(settings) as session:
        snapshot = session.get_one(SegmentSnapshot, snapshot_id)
        recipe = manifest_of(session.get_one(ModelVersion, snapshot.model_version_id)).recipe
    textualizer = plugins.make("textualizer", recipe.textualizer, recipe.textualizer_options)
    window, frames = recipe.window(snapshot.as_of), []
    for bucket in range(BUCKETS):
        users = lake.scan("users", buckets=[bucket]).select("user_key").collect()
        frames.append(read_users(lake, bucket, window, recipe, textualizer=textualizer, users=users).users)
    return pl.concat(frames).select("user_key", "phrase_hash").sort("user_key")


def scored_anew(settings: Settings, snapshot_id: int) -> pl.DataFrame:
    """Return what a full score by the model of each user gives as of the moment that the user's assignment has."""
    plugins, lake = load_plugins(settings), Lake.of(settings)
    with transaction(settings) as session:
        versions = {version.id: version for version in session.exec(select(ModelVersion)).all()}
    frames = []
    rows = assignments(settings, snapshot_id).collect()
    for (number, bucket, as_of), users in rows.group_by("model_version_id", "bucket", "scored_as_of"):
        version = versions[number]
        recipe, predictor = manifest_of(version).recipe, load_predictor(settings, plugins, version)
        textualizer = plugins.make("textualizer", recipe.textualizer, recipe.textualizer_options)
        window = recipe.window(as_of)
        texts = read_users(lake, bucket, window, recipe, textualizer=textualizer, users=users.select("user_key")).users
        frames.append(texts.select("user_key", "phrase_hash").hstack(predictor.segment(texts)))
    return pl.concat(frames).sort("user_key")


class Refreshes(RuleBasedStateMachine):
    """A shop whose data change between refreshes, some of which are killed."""

    trained: Path

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.settings = Settings(home=self.folder / "home")
        shutil.copytree(self.trained, self.settings.root)
        self.now, self.event_id, self.half_done = START + timedelta(weeks=14), 0, list[Run]()
        self.published = 1
        self.merges: dict[int, tuple[int, int]] = {}  # user → the user merged into, and the number of the merge

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            database.engine(self.settings).dispose()
            shutil.rmtree(self.folder)

    def _import(self, user: int, at: datetime, item: int) -> None:
        while user in self.merges:
            user = self.merges[user][0]
        lake, self.event_id = Lake.of(self.settings), self.event_id + 1
        keyed = keys_of(pl.Series("user", [f"user-{user}"]), self.settings.secret(), BUCKETS)
        known = lake.scan("users").collect()
        if keyed["user_key"][0] not in known["user_key"]:
            lake.append("users", keyed)
        row = keyed.select("bucket", "user_key", event_id=pl.lit(self.event_id * 7919), kind=pl.lit("purchase"))
        empty = [pl.lit(None).alias(name) for name in ("duration", "rating", "text", "extras")]
        event = row.with_columns(item=pl.lit(f"games-{item}"), at=pl.lit(at), quantity=pl.lit(1.0), price=pl.lit(9.0))
        lake.append("events", event.with_columns(empty))

    def _run(self, kind: str, options: Json, *, kill_before: str | None) -> None:
        run = Run(self.settings, kind, options)
        if kill_before is None:
            run.all()
        elif kill_before == "after":  # it is published, and what follows is not done
            run.until("publish")
            run.inputs["publish"] = [run.finish(replace(run.call(run.attempts("publish")[0]), after=None))]
        else:
            run.until(kill_before)
            run.call(run.attempts(kill_before)[0])  # its outcome is never committed
            self.half_done.append(run)
        self._end(run)

    def _end(self, run: Run) -> None:
        with transaction(self.settings) as session:  # an erasure refuses while jobs run
            session.exec(update(Job).where(Job.id == run.job_id).values(state=JobState.SUCCEEDED))
            self.published = pointed(session, current_snapshot(LABELS)) or 0
        self.just_published = "publish" in run.inputs
        if self.just_published:
            self._knows_nothing_newer(run.job_id)

    def _knows_nothing_newer(self, job_id: int) -> None:
        """Check that the snapshot of a job is as of the first moment after the newest event that is in it."""
        with transaction(self.settings) as session:
            snapshot = session.exec(select(SegmentSnapshot).where(SegmentSnapshot.job_id == job_id)).first()
        if snapshot is None or snapshot.state is SnapshotState.BUILDING:
            return  # nothing had changed, or a newer snapshot has been published
        events = Lake.of(self.settings, snapshot.lake_versions).scan("events")
        newest = events.select(pl.col("at").max()).collect().item()
        assert snapshot.newest_event == newest
        assert snapshot.as_of == newest + timedelta(microseconds=1)
        scored_as_of = assignments(self.settings, snapshot.id or 0).select(pl.col("scored_as_of").max())
        assert scored_as_of.collect().item() <= snapshot.as_of, "also where the user of the newest event was erased"

    @rule(user=st.integers(0, USERS + 3), hours=st.integers(0, 24 * 9), item=st.integers(0, 2))
    def event(self, user: int, hours: int, item: int) -> None:
        self.now += timedelta(hours=hours, microseconds=1)  # Delta-rs cuts its statistics off at milliseconds
        self._import(user, self.now, item)
        self.just_published = False

    @rule(user=st.integers(0, USERS + 3), days=st.integers(1, 40), item=st.integers(0, 2))
    def late_event(self, user: int, days: int, item: int) -> None:
        self._import(user, self.now - timedelta(days=days), item)
        self.just_published = False

    @rule(user=st.integers(0, USERS + 3))
    def erase(self, user: int) -> None:
        forget(self.settings, [f"user-{user}"])
        self.half_done.clear()  # an erasure empties the work folder
        left = {merge.id for merge in list_merges(self.settings)}
        self.merges = {old: merge for old, merge in self.merges.items() if merge[1] in left}

    @rule(old=st.integers(0, USERS + 3), new=st.integers(0, USERS + 3))
    def merge(self, old: int, new: int) -> None:
        [done] = merge_users(self.settings, [UserPair(f"user-{old}", f"user-{new}")])
        if done.state is PairState.MERGED:
            assert done.merge is not None
            self.merges[old] = (new, done.merge.id or 0)
            self.just_published = False

    @precondition(lambda self: getattr(self, "merges", {}))
    @rule()
    def undo_a_merge(self) -> None:
        undo_merge(self.settings, self.merges.popitem()[1][1])
        self.just_published = False

    @rule(live=st.booleans())
    def compact(self, *, live: bool) -> None:
        """Join the files of the log, as after live imports or by a job; the files before are kept for a week."""
        Lake.of(self.settings).compact("events", *([2**20] if live else []))

    @rule(days=st.integers(5, 120))
    def remove_older(self, days: int) -> None:
        remove_older(self.settings, self.now - timedelta(days=days))
        self.just_published = False

    @rule(title=st.sampled_from(["games 0", "board games", "chess"]))
    def rename_an_item(self, title: str) -> None:
        lake = Lake.of(self.settings)
        is_renamed = pl.col("item") == "games-0"
        renamed = lake.scan("items").with_columns(
            title=pl.when(is_renamed).then(pl.lit(title)).otherwise("title"),
            category=pl.when(is_renamed).then(pl.lit(title)).otherwise("category"),
        )
        lake.overwrite("items", renamed.collect())
        self.just_published = False

    @rule(
        policy=st.sampled_from(TimePolicy),
        kill_before=st.sampled_from([None, None, "score", "publish", "after"]),
        hysteresis=st.booleans(),
    )
    def refresh(self, policy: TimePolicy, kill_before: str | None, *, hysteresis: bool = False) -> None:
        self._run("refresh", {"time": policy.value, "hysteresis": hysteresis}, kill_before=kill_before)
        if policy is TimePolicy.EXACT and self.just_published:
            self._no_text_is_out_of_date()

    @rule(user=st.integers(0, USERS - 1), segment=st.sampled_from(["low", "mid", "high"]))
    def correct(self, user: int, segment: str) -> None:
        with suppress(UserNotFound):  # erased
            correct(self.settings, f"user-{user}", segment, "a test")
        self._look()

    @rule(user=st.integers(0, USERS - 1))
    def withdraw(self, user: int) -> None:
        with suppress(DataError):  # erased, or not corrected
            withdraw(self.settings, f"user-{user}", "a test")
        self._look()

    def _look(self) -> None:
        with transaction(self.settings) as session:
            self.published = pointed(session, current_snapshot(LABELS)) or 0

    def _no_text_is_out_of_date(self) -> None:
        rows = assignments(self.settings, self.published).sort("user_key").collect()
        assert rows.select("user_key", "phrase_hash").equals(hashes_now(self.settings, self.published))

    @rule()
    def score(self) -> None:
        self._run("score", {}, kill_before=None)

    @precondition(lambda self: getattr(self, "half_done", []))
    @rule()
    def retry(self) -> None:
        """Go on with a job that was killed; others may have published since."""
        run = self.half_done.pop()
        run.all()
        self._end(run)
        self.just_published = False  # it has read the data of its own time

    @rule(share=st.sampled_from([0.3, 0.7]), salt=st.integers(0, 3))
    def start_canary(self, share: float, salt: int) -> None:
        """Let version 2, which reads users differently, score some of them, in place of an earlier canary."""
        with transaction(self.settings) as session:
            challenger = session.get_one(ModelVersion, 2)
            canary = start_canary(session, challenger, 1, share, since=self.now, until=self.now + timedelta(days=10**5))
            canary.salt = salt
        self.just_published = False

    @rule()
    def stop_canary(self) -> None:
        with transaction(self.settings) as session:
            if (canary := running_canary(session, LABELS)) is not None:
                end_canary(session, canary, CanaryState.STOPPED, "stopped")
        self.just_published = False

    @rule()
    def roll_back(self) -> None:
        with transaction(self.settings) as session:
            earlier = list_snapshots(session, LABELS)[-1].id
            assert earlier is not None
            switch_snapshot(session, LABELS, expected=pointed(session, current_snapshot(LABELS)), target=earlier)
        self.just_published = False

    @invariant()
    def equals_a_full_score(self) -> None:
        if not getattr(self, "just_published", False):
            return
        rows = assignments(self.settings, self.published).sort("user_key").collect()
        assert rows["user_key"].to_list() == sorted(Lake.of(self.settings).scan("users").collect()["user_key"])
        anew = scored_anew(self.settings, self.published)
        assert rows.select(by_model())["segment"].equals(anew["segment"])
        own = rows["overridden_by"].is_null()
        assert rows.filter(own)["probability"].to_list() == pytest.approx(
            anew.filter(own)["probability"].to_list(), abs=1e-6
        )
        with transaction(self.settings) as session:
            canary, corrections = running_canary(session, LABELS), segments_by_user(in_force(session, LABELS))
        is_corrected = rows["overridden_by"] == Override.CORRECTION
        expected = of_root_users(corrections, MergedUsers.of(Lake.of(self.settings)))
        corrected = dict(rows.filter(is_corrected).select("user_key", "segment").iter_rows())
        assert corrected == dict(expected.select("user_key", "segment").iter_rows())
        versions = [1] * rows.height if canary is None else CanaryShare.of(canary).versions(rows["user_key"]).to_list()
        assert rows["model_version_id"].to_list() == versions

    @invariant()
    def the_feed_rebuilds_the_current_snapshot(self) -> None:
        if not hasattr(self, "settings"):
            return
        write_changes(self.settings, LABELS)
        with transaction(self.settings) as session:
            current = pointed(session, current_snapshot(LABELS)) or 0
        changes = Lake.of(self.settings).scan("changes").sort("sequence", "position").collect()
        assert changes.select("sequence", "position").is_unique().all()
        assert replayed(changes.iter_rows(named=True)) == segments_of(self.settings, current)

    @invariant()
    def every_snapshot_adds_up(self) -> None:
        if not hasattr(self, "settings"):
            return
        with transaction(self.settings) as session:
            snapshots = [(row, summaries(session, row.id or 0)) for row in list_snapshots(session)]
        for snapshot, segments in snapshots:
            rows = assignments(self.settings, snapshot.id or 0).collect()
            assert rows["user_key"].is_unique().all()
            assert snapshot.users == rows.height
            counted = dict(rows["segment"].fill_null(NOT_ENOUGH).value_counts().iter_rows())
            assert {row.segment: row.users for row in segments if row.users} == counted


def keep_users(trained_home: Path, home: Path, users: int) -> Path:
    """Make ``home`` the shop with its champion and a version of another recipe; the first ``users`` are left in it."""
    settings = Settings(home=home)
    shutil.copytree(trained_home, settings.root)
    retrain(settings, seed=5, window_days=56.0).until("gate")
    with transaction(settings) as session:
        session.exec(update(Job).values(state=JobState.SUCCEEDED))
    forget(settings, [f"user-{n}" for n in range(users, 240)])
    database.engine(settings).dispose()
    return settings.root


@pytest.fixture(scope="module")
def small_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with few users."""
    return keep_users(trained_home, tmp_path_factory.mktemp("small") / "home", USERS)


@pytest.mark.parametrize(
    "sequences",
    [
        5,
        pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(3_600)]),
    ],
)
def test_any_sequence_of_refreshes_equals_a_full_score(small_home: Path, sequences: int) -> None:
    Refreshes.trained = small_home
    checks = hypothesis_settings(
        max_examples=sequences,
        derandomize=True,
        stateful_step_count=8,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Refreshes, settings=checks)


def test_the_sequences_publish_parts(small_home: Path) -> None:
    Refreshes.trained = small_home
    machine = Refreshes()
    machine.begin()
    try:
        machine.event(0, 30, 1)
        machine.refresh(TimePolicy.ON_EVENT, None)
        machine.equals_a_full_score()
        machine.every_snapshot_adds_up()
        with transaction(machine.settings) as session:
            newest = session.exec(select(SegmentSnapshot).order_by(SegmentSnapshot.id.desc())).first()  # type: ignore[union-attr]
        assert newest is not None
        assert (newest.rescored, newest.parts) == (1, [1, newest.id])
    finally:
        machine.teardown()
