"""The pages of snapshots: the list, one with its segments, and the difference of two."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_urlsafe

from sqlmodel import Session, select

from segadmin.snapshots.diff import SnapshotDiff
from segadmin.snapshots.read import currents, find_snapshot, list_snapshots, summaries, went_back_from
from segadmin.storage.records import DriftReport
from segadmin_api.dashboard.assets import ECHARTS
from segadmin_api.dashboard.figures import sankey
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import sentence_of, served, text_of
from segadmin_api.results import went_back_sentence

#: Snapshots on a page.
PAGE = 50


def list_page(session: Session, reader: Reader, before: int | None = None) -> str:
    """Return the page of the newest snapshots, or of the newest that are older than ``before``."""
    rows = list_snapshots(session, before=before, limit=PAGE)
    return served(
        "snapshots.html",
        text_of(reader, "snapshots"),
        "/snapshots",
        reader,
        snapshots=rows,
        current=set(currents(session).values()),
        newest=before is None,
        older=rows[-1].id if len(rows) == PAGE else None,
    )


def page(session: Session, number: str, reader: Reader) -> str:
    """Return the page of one snapshot."""
    snapshot = find_snapshot(session, number)
    report = session.exec(select(DriftReport).where(DriftReport.snapshot_id == snapshot.id)).first()
    before = went_back_from(session, snapshot)
    return served(
        "snapshot.html",
        text_of(reader, "snapshot %(number)s", number=snapshot.id),
        "/snapshots",
        reader,
        snapshot=snapshot,
        is_current=snapshot.id in currents(session).values(),
        segments=summaries(session, snapshot.id or 0),
        report=report,
        went_back=None if before is None else sentence_of(reader, went_back_sentence(snapshot.as_of, before)),
        nonce=token_urlsafe(12),
    )


def diff_page(compared: SnapshotDiff, reader: Reader) -> str:
    """Return the page of the difference of two snapshots."""
    names: Mapping[str | None, str] = {"": text_of(reader, "new users"), None: text_of(reader, "left")}
    matrix, movements = compared.matrix, compared.movements
    return served(
        "diff.html",
        text_of(reader, "snapshots %(one)s → %(other)s", one=compared.earlier.id, other=compared.later.id),
        "/snapshots",
        reader,
        compared=compared,
        befores=[*compared.segments, *([None] if any(before is None for before, _ in matrix) else [])],
        afters=[*compared.segments, *([None] if any(after is None for _, after in matrix) else [])],
        matrix=matrix,
        movements=movements,
        names=names,
        chart=sankey(compared, names) if matrix else None,
        assets=ECHARTS,
    )
