"""A small shop with planted truth, and its jobs run stage by stage in this process, without the engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlmodel import update

from segadmin.events.keys import keys_of
from segadmin.jobs.attempt import Attempt, Json, StageResult, StepFile
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.registry import ranges_of, workflow_of
from segadmin.jobs.run import run_step
from segadmin.labels.labeling import label
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, LabelSet
from segadmin.storage.store import open_store

START = datetime(2025, 1, 6, tzinfo=UTC)
CATEGORIES = ("milk", "bread", "coffee", "games")
LABELS = "spend3"
#: Of the planted store: each is read by itself for every cut-off, which is most of the time of a job.
BUCKETS = 4
LABELER = {
    "observe_weeks": 4,
    "outcome_weeks": 2,
    "train_cuts": "4,6,8",
    "test_cuts": "10,12",
    "first_week": START.isoformat(),
}


def plant(settings: Settings, users: int = 240, weeks: int = 14, seed: int = 0, buckets: int = BUCKETS) -> pl.DataFrame:
    """Fill the lake: who spends much now spends much later, and big spenders buy games; return the users."""
    random = np.random.default_rng(seed)
    settings.root.mkdir(parents=True, exist_ok=True)
    # A generated secret would put other users in the test rows at every run.
    (settings.root / "user_key_secret").write_text("planted")
    names = pl.Series("user", [f"user-{n}" for n in range(users)])
    store = open_store(settings.model_copy(update={"buckets": buckets}))
    keyed = keys_of(names, settings.secret(), store.buckets).sort("user")
    rate = random.gamma(2.0, 1.0, users)
    lake = Lake.of(settings)
    lake.append("users", keyed)
    items = [
        (f"{category}-{n}", f"{category} {n}", category, None, None, None) for category in CATEGORIES for n in range(3)
    ]
    lake.overwrite("items", pl.DataFrame(items, schema=lake.scan("items").collect_schema(), orient="row"))
    lake.append("events", _events(keyed, rate, range(weeks), random))
    return keyed.with_columns(rate=rate)


def more_weeks(settings: Settings, users: pl.DataFrame, weeks: range, seed: int = 1) -> None:
    """Let the users (of :func:`plant`) go on shopping for some weeks."""
    random = np.random.default_rng(seed)
    Lake.of(settings).append("events", _events(users, users["rate"].to_numpy(), weeks, random))


def label_future_spend(settings: Settings) -> LabelSet:
    """Derive terciles of the spend in the two weeks after each cut-off."""
    return label(settings, LABELS, "future-spend", LABELER)


def _events(users: pl.DataFrame, rate: np.ndarray[Any, Any], weeks: range, random: np.random.Generator) -> pl.DataFrame:
    rows = []
    for (bucket, key), often in zip(users.select("bucket", "user_key").iter_rows(), rate, strict=True):
        for week in weeks:
            for _ in range(random.poisson(often)):
                category = "games" if often > 2.5 and random.random() < 0.5 else CATEGORIES[random.integers(3)]
                at = START + timedelta(weeks=week, seconds=int(random.integers(7 * 86_400)))
                price = float(random.uniform(5, 15))
                kind = "purchase" if random.random() < 0.8 else "view"
                rows.append((bucket, key, kind, f"{category}-{random.integers(3)}", at, price))
    frame = pl.DataFrame(rows, schema=["bucket", "user_key", "kind", "item", "at", "price"], orient="row")
    empty = [pl.lit(None).alias(name) for name in ("duration", "rating", "text", "extras")]
    ids = pl.Series("event_id", random.integers(-(2**62), 2**62, frame.height))
    return frame.with_columns(ids, pl.lit(1.0).alias("quantity"), *empty)


@dataclass
class Run:
    """A job whose stages are run here, one after the other."""

    settings: Settings
    kind: str
    options: Json
    job_id: int = 0
    inputs: dict[str, list[Json]] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    fan_out: int = 2

    def __post_init__(self) -> None:
        with transaction(self.settings) as session:
            job = Job(kind=self.kind, options=self.options)
            session.add(job)
            session.flush()
            assert job.id is not None
            self.job_id = job.id

    def all(self) -> Run:
        """Run every stage that is not done yet."""
        for stage in workflow_of(self.kind).stages:
            if stage.name not in self.inputs and stage.name not in self.skipped:
                self.stage(stage.name)
        return self

    def published(self) -> Run:
        """Run every stage that is not done yet, but for those at the end, which only report on the snapshot."""
        for stage in workflow_of(self.kind).stages:
            if stage.name == "monitor":
                break
            if stage.name not in self.inputs and stage.name not in self.skipped:
                self.stage(stage.name)
        return self

    def until(self, last: str) -> Run:
        """Run the stages before ``last``."""
        for stage in workflow_of(self.kind).stages:
            if stage.name == last:
                break
            self.stage(stage.name)
        return self

    def stage(self, name: str) -> list[Json]:
        """Run one stage and keep its results, as the engine does."""
        outcomes = [(attempt, self.call(attempt)) for attempt in self.attempts(name)]
        self.inputs[name] = [self.finish(outcome) for _, outcome in outcomes]
        return self.inputs[name]

    def attempts(self, name: str, number: int = 1) -> list[Attempt]:
        """Return an attempt for every step of a stage."""
        stage = workflow_of(self.kind).stage(name)
        buckets = open_store(self.settings).buckets
        cut = ranges_of(stage, self.options, buckets, self.fan_out)
        ranges = [range(a, b + 1) if a >= 0 else range(0) for a, b in cut]
        place = [each.name for each in workflow_of(self.kind).stages].index(name)
        return [
            Attempt(
                settings=self.settings,
                job_id=self.job_id,
                job_kind=self.kind,
                options=self.options,
                step_id=self.job_id * 1000 + place * 10 + n,
                stage=name,
                buckets=bucket_range,
                number=number,
                token=number,
                inputs=self.inputs,
            )
            for n, bucket_range in enumerate(ranges)
        ]

    def call(self, attempt: Attempt) -> StageResult:
        """Call the stage's function."""
        return workflow_of(self.kind).stage(attempt.stage).run(attempt)

    def finish(self, outcome: StageResult) -> Json:
        """Do what the engine does with an outcome."""
        with transaction(self.settings) as session:
            extra = outcome.commit(session) if outcome.commit else {}
        self.skipped |= set(outcome.skip)
        if outcome.after is not None:
            outcome.after()
        return {**outcome.result, **extra}

    def read(self, written: Json) -> pl.DataFrame:
        """Return a table that a stage wrote."""
        return self.attempts("prepare")[0].read(StepFile.model_validate(written))


def retrain(settings: Settings, **options: Any) -> Run:
    """Return a retrain job of the ``tabular`` backbone, quick and without further baselines."""
    quick = {"backbone": "tabular", "backbone_options": {"rounds": "30", "min_users": "5"}, "baselines": ["tabular"]}
    quick["margin"] = -1  # it is no better than a baseline, and is to be promoted all the same
    return Run(settings, "retrain", {**quick, "labels": LABELS, **options})


def through_the_engine(settings: Settings, kind: str, options: Json) -> int:
    """Enqueue a job, run all its steps in this process as a worker would, and return its number."""
    todo: list[int] = []

    def dispatch(messages: Sequence[StepMessage]) -> None:
        todo.extend(message.step_id for message in messages)

    job = enqueue(settings, dispatch, kind, options).job
    while todo:
        run_step(settings, dispatch, todo.pop(), "me")
    assert job.id is not None
    return job.id


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with planted users, a champion and a snapshot: made once, to be copied."""
    settings = Settings(home=tmp_path_factory.mktemp("shop") / "home")
    plant(settings).write_parquet(settings.root / "planted.parquet")
    label_future_spend(settings)
    retrain(settings).all()
    database.engine(settings).dispose()  # the database is one file again
    return settings.root


@contextmanager
def copied(home: Path, settings: Settings) -> Iterator[Settings]:
    """Yield ``settings``, whose home is a copy of ``home``."""
    shutil.copytree(home, settings.root)
    yield settings
    database.engine(settings).dispose()  # the database is one file again


@pytest.fixture
def shop(settings: Settings, trained_home: Path) -> Iterator[Settings]:
    """Settings of a shop with a champion (version 1) and a snapshot (1)."""
    with copied(trained_home, settings):
        yield settings


def nothing_runs(settings: Settings) -> None:
    """End all jobs: those of ``Run`` stay queued, and an erasure waits for them."""
    with transaction(settings) as session:
        session.exec(update(Job).values(state=JobState.SUCCEEDED))


def planted_users(settings: Settings) -> pl.DataFrame:
    """Return the users of :func:`shop`: ``user``, ``user_key``, ``bucket`` and how often they buy, ``rate``."""
    return pl.read_parquet(settings.root / "planted.parquet")
