"""Shows and exports the difference of two snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin.counts import counted
from segadmin.settings import Settings
from segadmin.snapshots.diff import Movement, find_two
from segadmin.snapshots.diff_cell import LEFT, NEW, cell_of
from segadmin.snapshots.export import with_user, write
from segadmin.snapshots.recent_diffs import recent_diff
from segadmin.storage.audit import record
from segadmin.storage.database import transaction
from segadmin_api.cli.output import echo, table
from segadmin_api.cli.remote_records import as_record, as_records

if TYPE_CHECKING:
    from segadmin_api.client import Client

_SHOWN = 10


@dataclass(frozen=True)
class Difference:
    """Who moved between two snapshots, in numbers."""

    label_set: str
    earlier: int
    later: int
    users_before: int
    users_after: int
    stayed: int
    segments: Sequence[str]
    matrix: Mapping[tuple[str | None, str | None], int]  #: by segment before and after; ``None``: not in it
    movements: Sequence[Movement]


def difference(settings: Settings, earlier: str | None, later: str, label_set: str | None) -> Difference:
    """Return the difference of two snapshots of this machine."""
    with transaction(settings) as session:
        pair = find_two(session, earlier, later, label_set)
    compared = recent_diff(settings, *pair)
    return Difference(
        label_set=compared.later.label_set,
        earlier=compared.earlier.id or 0,
        later=compared.later.id or 0,
        users_before=compared.users_before,
        users_after=compared.users_after,
        stayed=compared.stayed,
        segments=compared.segments,
        matrix=compared.matrix,
        movements=compared.movements,
    )


def difference_there(client: Client, earlier: str | None, later: str, label_set: str | None) -> Difference:
    """Return the difference of two snapshots of a server."""
    item = client.compare_snapshots(later, earlier=earlier, labels=label_set)
    matrix = {(cell.before, cell.after): cell.users for cell in item.matrix}
    return as_record(Difference, item, matrix=matrix, movements=as_records(Movement, item.movements))


def facts(compared: Difference) -> dict[str, Any]:
    """Return the difference as JSON."""
    cells = [
        {"before": before, "after": after, "users": users} for (before, after), users in _ordered(compared).items()
    ]
    return asdict(compared) | {"matrix": cells}


def print_diff(compared: Difference) -> None:
    """Print the matrix of movements, and the causes."""
    echo(
        f"snapshot {compared.earlier} → {compared.later} · {compared.label_set} · {compared.users_before:,} → "
        f"{counted(compared.users_after, 'user')} · {compared.stayed:,} stayed in their segment"
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
    pair = f"{compared.earlier} {compared.later}"
    echo(f"Who moved: segadmin snapshots diff {pair} --out moved.csv, with --from and --to for one cell")


def export_moved(
    settings: Settings,
    compared: Difference,
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


def _ordered(compared: Difference) -> dict[tuple[str | None, str | None], int]:
    """Return the cells of the matrix in the order of the segments."""
    matrix, order = compared.matrix, [*compared.segments, None]
    return {(before, after): matrix[before, after] for before in order for after in order if (before, after) in matrix}


def _count(users: int) -> str:
    return f"{users:,}" if users else "·"
