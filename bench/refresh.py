"""What a refresh costs if few users did something, beside a full score of the same shop by the same process.

A synthetic shop is scored by a ``score`` job. Then a hundredth of the users buys something, and three refreshes follow:
one that reads only users with new events (``--time on-event``), one after another hundredth has bought something that
reads everybody (``exact``), and one without anything new. Last, two snapshots are compared. All
steps run by the engine in one process pinned to one core. The last line is JSON: seconds, and ratios to the full score.

Of each job there are the seconds until its snapshot was published, and those of all its work: the drift report and the
profiles of segments follow the publication, once a day. Ratios are to the same of the full score.

    python -m bench.refresh [--users 10000] [--backbone minilm] [--buckets 16]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from bench.scale import result_of, run_job, start
from segadmin.jobs.control import view
from segadmin.settings import Settings

#: Fraction of the users who do something between two snapshots.
CHANGED = 0.01


@dataclass(frozen=True)
class Taken:
    """The seconds that a job took, from when it was enqueued."""

    published: float  #: until its snapshot was published
    whole: float  #: until all its work was done

    @classmethod
    def of(cls, settings: Settings, number: int) -> Taken:
        """Return how long a job has taken."""
        job, steps = view(settings, number).job, view(settings, number).steps
        [published] = [step.finished_at for step in steps if step.stage == "publish"]
        assert published is not None
        assert job.finished_at is not None
        return cls(*((end - job.created_at).total_seconds() for end in (published, job.finished_at)))

    def ratios(self, other: Taken) -> dict[str, float]:
        """Return the ratios to what another job took."""
        return {name: round(value / asdict(other)[name], 4) for name, value in asdict(self).items()}


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def buy_something(settings: Settings, folder: Path, part: int) -> int:
    """Import an event of a hundredth of the users, just after the newest event; return their number."""
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.ingest import import_file
    from segadmin.events.mapping import Mapping
    from segadmin.storage.lake import Lake

    lake = Lake.of(settings)
    users = lake.scan("users").select("user").sort("user").collect()["user"]
    buyers = users.gather_every(round(1 / CHANGED), offset=part)
    at = lake.latest_event
    assert at is not None
    item = lake.scan("items").select("item").head(1).collect().item()
    events = pl.DataFrame({"user": buyers}).with_columns(
        kind=pl.lit("purchase"), item=pl.lit(item), at=pl.lit(at + timedelta(minutes=1)), price=pl.lit(9.5)
    )
    path = folder / f"more-{part}.parquet"
    events.write_parquet(path)
    import_file(settings, ImportRequest("events", str(path), Mapping()))
    return len(buyers)


def measure(folder: str, home: str, buckets: str) -> dict[str, Any]:
    """Score, refresh and compare; return the seconds of each."""
    from segadmin.snapshots.diff import diff
    from segadmin.storage.database import reading
    from segadmin.storage.records import SegmentSnapshot

    settings = Settings(home=Path(home), buckets=int(buckets))

    def job(kind: str, **options: str) -> Taken:
        number = run_job(settings, kind, {"model": "champion", "labels": "segment", **options})
        return Taken.of(settings, number)

    jobs = {"score": job("score")}
    changed = buy_something(settings, Path(folder), 0)
    jobs["refresh"] = job("refresh", time="on-event")
    buy_something(settings, Path(folder), 1)
    jobs["refresh_exact"] = job("refresh", time="exact")
    jobs["nothing_new"] = job("refresh", time="on-event")
    with reading(settings) as session:
        snapshots = [session.get_one(SegmentSnapshot, number) for number in (2, 3, 4)]
    scored, refreshed, exact = snapshots
    assert refreshed.rescored == changed, (refreshed.rescored, changed)
    return {
        **{name: asdict(taken) for name, taken in jobs.items()},
        "ratios_to_score": {name: taken.ratios(jobs["score"]) for name, taken in jobs.items() if name != "score"},
        "diff": seconds(lambda: diff(settings, scored, refreshed).movements),
        "users": scored.users,
        "changed": changed,
        "rescored_exact": exact.rescored,
        "rescored_by_exact": exact.rescored_by,
    }


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["measure"]:
        figures = measure(*sys.argv[2:])
        print(json.dumps(figures | {"peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--buckets", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, buckets = f"{folder}/home", str(options.buckets)
        shop = (f"{folder}/shop", home, str(options.users), buckets, options.backbone)
        result_of(start(0, "bench.scale", "synthetic_shop", *shop))
        taken = result_of(start(0, "bench.refresh", "measure", folder, home, buckets))
    rounded: dict[str, Any] = json.loads(json.dumps(taken), parse_float=lambda text: round(float(text), 4))
    print(" · ".join(f"{name} {value}" for name, value in rounded.items()))
    print(json.dumps({"bench": "refresh", "backbone": options.backbone, **rounded}))


if __name__ == "__main__":
    main()
