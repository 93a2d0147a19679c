"""Shows and exports the difference of two snapshots."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from segadmin.counts import counted
from segadmin.settings import Settings
from segadmin.snapshots.diff import SnapshotDiff
from segadmin.snapshots.diff_cell import LEFT, NEW, cell_of
from segadmin.snapshots.export import with_user, write
from segadmin.storage.audit import record
from segadmin_api.cli.output import echo, table

_SHOWN = 10


def facts(compared: SnapshotDiff) -> dict[str, Any]:
    """Return the difference as JSON."""
    movements = compared.movements
    return {
        "label_set": compared.later.label_set,
        "earlier": compared.earlier.id,
        "later": compared.later.id,
        "users_before": compared.users["before"].count(),
        "users_after": compared.users["after"].count(),
        "stayed": compared.users.height - sum(movement.users for movement in movements),
        "segments": compared.segments,
        "matrix": [
            {"before": before, "after": after, "users": users} for (before, after), users in _ordered(compared).items()
        ],
        "movements": [asdict(movement) for movement in movements],
    }


def print_diff(compared: SnapshotDiff) -> None:
    """Print the matrix of movements, and the causes."""
    numbers = facts(compared)
    echo(
        f"snapshot {numbers['earlier']} → {numbers['later']} · {numbers['label_set']} · {numbers['users_before']:,} → "
        f"{counted(numbers['users_after'], 'user')} · {numbers['stayed']:,} stayed in their segment"
    )
    movements = compared.movements
    if not movements:
        echo("Nobody moved.")
        return
    matrix = compared.matrix
    rows = [*compared.segments, *({None} & {before for before, _ in matrix})]
    columns = [*compared.segments, *({None} & {after for _, after in matrix})]
    table(
        "from (rows) to (columns)",
        ["", *(f">{segment or LEFT}" for segment in columns)],
        [(before or NEW, *(_count(matrix.get((before, after), 0)) for after in columns)) for before in rows],
    )
    shown = movements if len(movements) <= _SHOWN + 2 else movements[:_SHOWN]
    table(
        "movements",
        ["from", "to", "cause", ">users"],
        [(each.before or NEW, each.after or LEFT, each.cause, f"{each.users:,}") for each in shown],
    )
    if len(movements) > len(shown):
        echo(f"{len(movements) - len(shown)} more: --json")
    pair = f"{numbers['earlier']} {numbers['later']}"
    echo(f"Who moved: segadmin snapshots diff {pair} --out moved.csv, with --from and --to for one cell")


def export_moved(
    settings: Settings,
    compared: SnapshotDiff,
    out: Path,
    cell: tuple[str | None, str | None],
    *,
    user_ids: bool,
    raw_cells: bool,
) -> int:
    """Write the users who moved, or those of a cell of the matrix, to a file; return their number.

    Raises:
        ConfigurationError: there is no such segment, or no sink writes such files.
    """
    rows = cell_of(compared, *cell)
    shown = with_user(settings, rows.lazy(), raw=user_ids).select("user", "before", "after", "cause").sort("user")
    count = write(settings, shown, out, raw_cells=raw_cells)
    subject = f"snapshots {compared.earlier.id} and {compared.later.id}"
    record(settings, "snapshots.diff", subject, rows=count, user_ids=user_ids)
    return count


def _ordered(compared: SnapshotDiff) -> dict[tuple[str | None, str | None], int]:
    """Return the cells of the matrix in the order of the segments."""
    matrix, order = compared.matrix, [*compared.segments, None]
    return {(before, after): matrix[before, after] for before in order for after in order if (before, after) in matrix}


def _count(users: int) -> str:
    return f"{users:,}" if users else "·"
