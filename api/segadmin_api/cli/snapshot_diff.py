"""Shows and exports the difference of two snapshots."""

from __future__ import annotations

from pathlib import Path

from segadmin.counts import counted
from segadmin.settings import Settings
from segadmin.snapshots.diff import find_two
from segadmin.snapshots.diff_cell import LEFT, NEW, cell_of
from segadmin.snapshots.export import with_user, write
from segadmin.snapshots.recent_diffs import recent_diff
from segadmin.storage.audit import record
from segadmin.storage.database import transaction
from segadmin_api.cli.output import echo, table
from segadmin_api.schemas.snapshots import SnapshotDiff

_SHOWN = 10


def difference(settings: Settings, earlier: str | None, later: str, label_set: str | None) -> SnapshotDiff:
    """Return the difference of two snapshots of this machine."""
    with transaction(settings) as session:
        pair = find_two(session, earlier, later, label_set)
    return SnapshotDiff.of(recent_diff(settings, *pair))


def print_diff(compared: SnapshotDiff) -> None:
    """Print the matrix of movements, and the causes."""
    echo(
        f"snapshot {compared.earlier} → {compared.later} · {compared.label_set} · {compared.users_before:,} → "
        f"{counted(compared.users_after, 'user')} · {compared.stayed:,} stayed in their segment"
    )
    movements = compared.movements
    if not movements:
        echo("Nobody moved.")
        return
    matrix = {(cell.before, cell.after): cell.users for cell in compared.matrix}
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
    pair = f"{compared.earlier} {compared.later}"
    echo(f"Who moved: segadmin snapshots diff {pair} --out moved.csv, with --from and --to for one cell")


def export_moved(
    settings: Settings,
    compared: SnapshotDiff,
    out: Path,
    cell: tuple[str | None, str | None],
    *,
    with_user_ids: bool,
    raw_cells: bool,
) -> int:
    """Write the users who moved, or those of a cell of the matrix, to a file; return their number.

    Raises:
        ConfigurationError: there is no such segment, or no sink writes such files.
    """
    with transaction(settings) as session:
        pair = find_two(session, str(compared.earlier), str(compared.later))
    rows = cell_of(recent_diff(settings, *pair), *cell).cast({"before": str, "after": str, "cause": str})
    shown = with_user(settings, rows.lazy(), raw=with_user_ids).select("user", "before", "after", "cause").sort("user")
    count = write(settings, shown, out, raw_cells=raw_cells)
    subject = f"snapshots {compared.earlier} and {compared.later}"
    record(settings, "snapshots.diff", subject, rows=count, user_ids=with_user_ids)
    return count


def _count(users: int) -> str:
    return f"{users:,}" if users else "·"
