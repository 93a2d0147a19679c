"""Replaying the feed of changes, written anew from its documentation; and receivers of it."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import polars as pl
import redis
from sqlmodel import select

from segadmin.events.keys import show_key
from segadmin.models.aliases import current_snapshot, pointed, switch_snapshot
from segadmin.settings import Settings
from segadmin.snapshots.delivery import deliver_changes
from segadmin.snapshots.feed import write_changes
from segadmin.snapshots.read import assignments
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, ModelVersion, SegmentSnapshot, SnapshotState, SnapshotSwitch
from segadmin.storage.schema import ASSIGNMENTS
from tests.planted import LABELS, START


def replayed(records: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """Apply records in their order, strictly; return pseudonym → segment."""
    segments: dict[str, str | None] = {}
    for record in records:
        user = record["user"] if "user" in record else show_key(record["user_key"])
        if record["change"] == "entered":
            assert user not in segments
            assert record["from_segment"] is None
        else:
            assert segments.pop(user) == record["from_segment"]
        if record["change"] == "left":
            assert record["to_segment"] is None
        else:
            segments[user] = record["to_segment"]
    return segments


def segments_of(settings: Settings, snapshot_id: int) -> dict[str, str | None]:
    """Return pseudonym → segment of the users of a snapshot."""
    rows = assignments(settings, snapshot_id).select("user_key", "segment").collect()
    return {show_key(key): segment for key, segment in rows.iter_rows()}


@dataclass
class History:
    """A store whose snapshots are made up: each is published whole, with the segments that it is given."""

    settings: Settings
    label_set: str = LABELS
    snapshots: list[int] = field(default_factory=list)  #: in the order in which they were current
    segments: dict[int, dict[str, str | None]] = field(default_factory=dict)  #: of the snapshots that were read

    def publish(self, segments: Mapping[int, str | None]) -> int:
        """Publish a snapshot of these users, by key, and return its number."""
        with transaction(self.settings) as session:
            job = Job(kind="score", state=JobState.SUCCEEDED)
            session.add(job)
            session.flush()
            version = session.exec(select(ModelVersion).where(ModelVersion.label_set == self.label_set)).first()
            if version is None:
                places = {"folder": "none", "sha256": "0", "backbone": "none", "textualizer": "none"}
                version = ModelVersion(label_set=self.label_set, job_id=job.id, **places)
                session.add(version)
                session.flush()
            previous = pointed(session, current_snapshot(self.label_set))
            facts = {"label_set": self.label_set, "state": SnapshotState.PUBLISHED, "previous_id": previous}
            snapshot = SegmentSnapshot(model_version_id=version.id, job_id=job.id, as_of=START, **facts)
            session.add(snapshot)
            session.flush()
            number = snapshot.id
        assert number is not None
        rows = {"user_key": list(segments), "segment": list(segments.values())}
        known = pl.DataFrame(rows, schema={"user_key": pl.Int64, "segment": pl.String})
        missing = {name: pl.lit(None, dtype) for name, dtype in ASSIGNMENTS.items() if name not in rows}
        frame = known.with_columns(**missing).with_columns(snapshot_id=pl.lit(number), cause=pl.lit("new events"))
        Lake.of(self.settings).append("assignments", frame)
        self.switch(number)
        return number

    def switch(self, number: int) -> None:
        """Make a snapshot current, as a promotion and a rollback do."""
        with transaction(self.settings) as session:
            current = pointed(session, current_snapshot(self.label_set))
            switch_snapshot(session, self.label_set, expected=current, target=number)
        if number != current:
            self.snapshots.append(number)

    def deliver(self) -> dict[str, int]:
        """Deliver to all feeds, as a job does."""
        write_changes(self.settings, self.label_set)
        return deliver_changes(self.settings, self.label_set, lambda _: None, at_once=True)

    def check(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Check that records, replayed from empty, give every snapshot, and that none is there twice."""
        assert [(int(record["sequence"]), int(record["position"])) for record in records] == sorted(
            {(int(record["sequence"]), int(record["position"])) for record in records}
        )
        with transaction(self.settings) as session:
            mine = select(SnapshotSwitch.id).where(SnapshotSwitch.label_set == self.label_set)
            numbers = session.exec(mine.order_by(SnapshotSwitch.id)).all()
        assert len(numbers) == len(self.snapshots)
        for number, snapshot in zip(numbers, self.snapshots, strict=True):
            until = [record for record in records if int(record["sequence"]) <= (number or 0)]
            if snapshot not in self.segments:
                self.segments[snapshot] = segments_of(self.settings, snapshot)
            assert replayed(until) == self.segments[snapshot]

    def table(self) -> list[dict[str, Any]]:
        """Return the records in the lake, in order."""
        rows = Lake.of(self.settings).scan("changes", label_set=self.label_set).sort("sequence", "position")
        return rows.collect().to_dicts()


@dataclass
class Receiver:
    """A real receiver of webhooks, as the guide describes it: it checks signatures and ignores repeated deliveries."""

    secret: str
    port: int = 0
    #: What happens at each request: its place, ``before`` or ``after`` it is stored; returns a status, 0: no answer.
    fault: Callable[[str], int] = lambda _: 200
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  #: by feed
    deliveries: list[str] = field(default_factory=list)  #: also those that came again

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        """Store a request unless it is known; return the status of the answer."""
        expected = hmac.new(self.secret.encode(), headers["X-Segadmin-Timestamp"].encode() + b"." + body, "sha256")
        if headers["X-Segadmin-Signature"] != f"sha256={expected.hexdigest()}":
            return 401
        if (status := self.fault("before")) != 200:
            return status
        content = json.loads(body)
        delivery = headers["X-Segadmin-Delivery"]
        assert content["delivery"] == delivery
        if delivery not in self.deliveries:
            self.records.setdefault(content["feed"], []).extend(content["records"])
        self.deliveries.append(delivery)
        return self.fault("after")

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on the loopback interface; yields the URL."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.take(dict(self.headers.items()), body)
                if status:
                    self.send_response(status)
                    self.end_headers()
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            self.port = server.server_address[1]
            thread = Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{self.port}/hook?shop=1"
            finally:
                server.shutdown()
                thread.join()


def stream_records(settings: Settings, stream: str) -> list[dict[str, Any]]:
    """Return the records in a stream of the embedded Redis, in its order; a field that is missing is null."""
    with redis.Redis(unix_socket_path=str(settings.redis_socket), decode_responses=True) as client:
        entries: Any = client.xrange(stream)
    assert all(entry == f"{fields['sequence']}-{fields['position']}" for entry, fields in entries)
    return [{"from_segment": None, "to_segment": None, **fields} for _, fields in entries]
