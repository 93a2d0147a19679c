"""Writes synthetic data to a folder that can be imported."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import polars as pl

from segadmin.errors import DataError
from segadmin.events.generator.shop import Plan, catalogue, make
from segadmin.files import put

Format = Literal["parquet", "csv", "jsonl"]


def write(
    plan: Plan,
    folder: Path,
    form: Format = "parquet",
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the data of ``plan`` and return the content of ``generated.json``.

    The files are ``items.parquet``, ``events/part-*`` and ``events/dirty-*`` (one of each per block of users),
    ``labels.parquet`` (the final segment of each person) and ``truth.parquet``. ``generated.json`` is written last and
    contains the expected counts of an import.

    Args:
        plan: the parameters.
        folder: the target; created if it is missing.
        form: format of the events; all other files are Parquet.
        overwrite: whether a folder with generated data may be emptied.
        progress: called with the number of users generated so far.

    Raises:
        DataError: the folder is not empty, or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            if not overwrite or not (folder / "generated.json").exists():
                raise DataError(
                    f"{folder} is not empty. Name another folder" + (", or add --overwrite." if not overwrite else ".")
                )
            shutil.rmtree(folder)
        (folder / "events").mkdir(parents=True, exist_ok=True)
        return _write(plan, folder, form, progress)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}.") from None


def _write(plan: Plan, folder: Path, form: Format, progress: Callable[[int], None]) -> dict[str, Any]:
    items = catalogue(plan)
    items.write_parquet(folder / "items.parquet")
    counts, rows, users = Counter[str](), 0, 0
    truths = []
    for number in range(plan.blocks):
        block = make(plan, number, items)
        _write_rows(block.events, folder / "events" / f"part-{number:05}.{form}", form)
        if block.dirty.height:
            _write_rows(block.dirty, folder / "events" / f"dirty-{number:05}.{form}", form)
        block.truth.write_parquet(folder / f".truth-{number:05}.parquet")
        truths.append(folder / f".truth-{number:05}.parquet")
        counts.update(block.counts)
        rows += block.events.height + block.dirty.height
        users += block.truth.height
        progress(users)
    truth = pl.scan_parquet(truths, glob=False)
    truth.sink_parquet(folder / "truth.parquet")
    people = truth.filter(~pl.col("is_bot"))
    people.select("user", segment="segment_after_drift", as_of=pl.lit(plan.until)).sink_parquet(
        folder / "labels.parquet"
    )
    for path in truths:
        path.unlink()
    dirty = {name.removeprefix("dirty:"): count for name, count in sorted(counts.items()) if name.startswith("dirty:")}
    summary = {
        "plan": plan.model_dump(mode="json"),
        "rows": rows,
        "usable": rows - counts["duplicates"] - counts["bot_events"] - sum(dirty.values()),
        "quarantine": {"duplicate_event": counts["duplicates"], "bot": counts["bot_events"], **dirty},
    }
    draft = folder / ".generated.json"
    draft.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    put(draft, folder / "generated.json")
    return summary


def _write_rows(frame: pl.DataFrame, path: Path, form: Format) -> None:
    if form == "parquet":
        frame.write_parquet(path, compression="zstd", compression_level=1)
    elif form == "csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)
