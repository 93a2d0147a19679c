"""The last part of an import: what was read is added to the lake in one commit."""

from __future__ import annotations

import polars as pl
from sqlmodel import select

from segadmin.errors import DataError
from segadmin.events.advice import repeated_ids, replaced_rows, segment_names, several_segments
from segadmin.events.deduplicate import settle_events
from segadmin.events.import_run import ImportRun
from segadmin.events.merge_rows import put_labels
from segadmin.events.vectors import put_vectors, settle_lengths
from segadmin.names import check_names
from segadmin.storage.database import transaction
from segadmin.storage.lake import Commit
from segadmin.storage.records import Import, LabelSet
from segadmin.storage.schema import SCHEMAS


def add_to_lake(run: ImportRun) -> None:
    """Add the spool to the lake; the last commit completes it, so that an interrupted import can detect it."""
    lake, app = run.lake, run.app
    if run.spool.chunks == 0:  # a stream without new entries
        return
    if run.request.table == "events":
        commit = Commit(app, 1)
        # An import that was killed between its two commits has written its users. Some may have been erased since, and
        # a queue may have added others, so missing users get a commit of their own.
        users = Commit(app, (lake.last_version("users", app) or 0) + 1)
        settled = settle_events(lake, run.spool, commit, users, run.request.mapping.rules, buckets=run.buckets)
        run.record.late = dict(settled.late)
        column = run.request.mapping.columns.get("event_id", "event_id")
        run.warnings += repeated_ids(settled.repeated_ids, settled.own_ids, column)
        _quarantine(run, pl.concat(settled.bad))
        if settled.users:
            lake.commit_files("users", settled.users, users)
        lake.commit_files("events", settled.events, commit)
    elif run.request.table == "items":
        _put_items(run)
    else:
        _replace_labels(run)


def _put_items(run: ImportRun) -> None:
    """Add the spooled items and their vectors; rows that only have vectors do not replace what is known of an item."""
    lake, vectors = run.lake, tuple(run.request.mapping.vectors)
    good, bad = settle_lengths(lake, run.spool.good().collect(), vectors)
    _quarantine(run, pl.concat([run.spool.bad(), bad]))
    put_vectors(lake, good, vectors)
    known, imported = lake.scan("items").collect(), good.select(SCHEMAS["items"].names())
    if vectors:
        is_bare = pl.all_horizontal(pl.exclude("item").is_null())
        imported = imported.filter(~is_bare | ~pl.col("item").is_in(known["item"].implode()))
    lake.overwrite("items", pl.concat([known, imported]).unique("item", keep="last", maintain_order=True))


def _quarantine(run: ImportRun, bad: pl.DataFrame) -> None:
    """Write the unusable rows, unchanged, to quarantine; they replace those of earlier imports of the same file."""
    earlier = [] if run.consumes else _earlier(run)
    numbers = [run.record.id, *earlier]
    run.lake.delete("quarantine", f"import_id IN ({', '.join(map(str, numbers))})")
    if bad.is_empty():
        return
    columns = {"import_id": pl.lit(run.record.id), "table": pl.lit(run.request.table)}
    run.lake.append("quarantine", run.spool.as_they_came(bad).with_columns(**columns))


def _earlier(run: ImportRun) -> list[int]:
    """Return earlier imports of the same file with rows in quarantine, and warn that this import replaces them."""
    with transaction(run.settings) as session:
        is_same_file = (
            Import.table == run.record.table,
            Import.sha256 == run.record.sha256,
            Import.id != run.record.id,
        )
        numbers = session.exec(select(Import.id).where(*is_same_file)).all()
    if not numbers:
        return []
    earlier_rows = run.lake.scan("quarantine").filter(pl.col("import_id").is_in(numbers))
    rows = earlier_rows.group_by("import_id").len().sort("import_id").collect()
    run.warnings += [replaced_rows(number, count) for number, count in rows.iter_rows()]
    return rows["import_id"].to_list()


def _replace_labels(run: ImportRun) -> None:
    """Replace the label set by the file's rows in one commit."""
    request = run.request
    known_users = pl.concat([run.lake.scan(table).select("user_key") for table in ("users", "merged_users")])
    known = known_users.unique().with_columns(known=pl.lit(value=True))
    rows = run.spool.good().join(known, on="user_key", how="left", maintain_order="left").sort("line").collect()
    unknown = rows.filter(pl.col("known").is_null()).select(
        "line", reason=pl.lit("unknown_user"), column=pl.lit("user"), value=pl.lit(None, pl.String)
    )
    names = rows["segment"].unique(maintain_order=True).to_list()
    check_names("segment", names)
    run.warnings += segment_names(names)
    rows = rows.filter(pl.col("known").is_not_null()).with_columns(label_set=pl.lit(request.label_set))
    by_time = rows.group_by("user_key", "as_of").agg(pl.col("segment").n_unique())
    run.warnings += several_segments(by_time.filter(pl.col("segment") > 1)["user_key"].n_unique())
    segments = request.segments or tuple(rows["segment"].unique(maintain_order=True).to_list())
    unexpected = sorted(set(rows["segment"].unique()) - set(segments))
    if unexpected:
        raise DataError(f"The file has segments that --segments does not name: {', '.join(unexpected)}.")
    _quarantine(run, pl.concat([run.spool.bad(), unknown]))
    if rows.is_empty():
        raise DataError("No row of the file is usable: look at segadmin data quarantine.")
    put_labels(run.lake, rows, request.label_set, run.buckets)
    with transaction(run.settings) as session:
        session.merge(
            LabelSet(
                name=request.label_set,
                labeler="table",
                definition={"file": request.name, "sha256": run.record.sha256},
                segments=list(segments),
                rows=rows.height,
            )
        )
