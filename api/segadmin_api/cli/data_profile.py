"""``segadmin data profile``: what is in the lake, in counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.counts import counted
from segadmin_api.cli.output import JsonOption, echo, save_page, show_json, table, terminal
from segadmin_api.cli.remote import answer

if TYPE_CHECKING:
    from segadmin.events.profile import Profile

_BAR_WIDTH = 40


def profile(
    html: Annotated[Path | None, typer.Option(help="Write it as an HTML page to this file instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a profile of the lake: events by kind and day, users by history, missing fields, top categories.

    With --server: the one that the newest job of `segadmin enqueue profile` made there.
    """
    from segadmin.events.profile import profile as profile_lake

    result = answer(profile_lake, lambda client: client.show_profile().profile)
    if html is not None:
        from segadmin_api.dashboard.data_report import page

        save_page(html, page(result))
    if as_json:
        show_json(result.model_dump(mode="json"))
    elif html is not None:
        echo(f"Wrote the profile of {counted(result.events, 'event')} to {html}. Open it in a browser.")
    else:
        _show_profile(result)


def _show_profile(profile: Profile) -> None:
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    echo(
        f"{counted(profile.events, 'event')} of {counted(profile.users, 'user')} about "
        f"{counted(profile.items, 'item')}, {profile.first} to {profile.last}"
    )
    for title, counts in (
        ("events by kind", profile.by_kind),
        ("users by number of events", profile.by_history),
        ("top categories", profile.top_categories),
        ("in quarantine", profile.quarantine),
        ("late events: how much older than the newest event", profile.late),
    ):
        bars = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 1, 0, 2))
        highest = max(counts.values(), default=1)
        for name, count in counts.items():
            bars.add_row(Text(name), f"{count:,}", Bar(highest, 0, count, width=_BAR_WIDTH))
        if counts:
            terminal().print(bars)
    kinds = list(profile.by_kind)
    rows = [[name, *(f"{filled.get(kind, 0):.0%}" for kind in kinds)] for name, filled in profile.filled.items()]
    table("fields that are filled, by kind", ["field", *(f">{kind}" for kind in kinds)], rows)
    items_known = " · ".join(f"{name} {share:.0%}" for name, share in profile.items_known.items())
    echo(f"items of events: {items_known}")
