"""``segadmin data list``: the tables, label sets and imports of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Import, LabelSet
from segadmin.storage.store import compare_folder
from segadmin_api.cli.output import JsonOption, echo, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_import, as_records
from segadmin_api.formatting import ago

if TYPE_CHECKING:
    from segadmin_api.client import Client
    from segadmin_api.schemas.data import Table

Contents = tuple["Sequence[Table]", Sequence[LabelSet], Sequence[Import], Mapping[int | None, str]]
#: Imports that are listed.
_IMPORTS = 20


def list_contents(as_json: JsonOption = False) -> None:
    """List the contents of the store: tables, label sets and imports."""
    tables, label_sets, recent_imports, states = answer(_contents, _contents_there)
    if as_json:
        show_json(
            {
                "tables": [facts.model_dump() for facts in tables],
                "label_sets": [label_set.model_dump(mode="json") for label_set in label_sets],
                "imports": [record.model_dump(mode="json") | {"state": states[record.id]} for record in recent_imports],
            }
        )
        return
    if not any(facts.rows for facts in tables) and not recent_imports and not label_sets:
        echo("The store is empty. Import events: segadmin data import events FILE, or try: segadmin demo")
        return
    table(
        "tables",
        ["table", ">rows", "what"],
        [(facts.table, f"{facts.rows:,}", facts.what) for facts in tables],
    )
    if label_sets:
        rows = [
            (label_set.name, label_set.labeler, f"{label_set.rows:,}", " · ".join(label_set.segments))
            for label_set in label_sets
        ]
        table("label sets", ["name", "labeler", ">rows", "segments"], rows)
    table(
        "imports",
        ["import", "table", "file", "state", ">kept", ">quarantined", ">ignored", "when"],
        [
            (
                record.id,
                record.table,
                record.file,
                states[record.id],
                f"{record.rows_kept:,}",
                f"{record.rows_quarantined:,}",
                f"{record.rows_ignored:,}",
                ago(record.created_at),
            )
            for record in recent_imports
        ],
    )
    if "interrupted" in states.values():
        echo("To continue interrupted imports: segadmin data interrupted")


def _contents(settings: Settings) -> Contents:
    """Return the tables, the label sets, and the newest imports with their states."""
    from sqlmodel import col, select

    from segadmin.events.interrupted import state_of
    from segadmin.storage.import_lock import is_importing
    from segadmin_api.store_tables import store_tables

    compare_folder(settings)
    with transaction(settings) as session:
        label_sets = session.exec(select(LabelSet).order_by(LabelSet.name)).all()
        imported = session.exec(select(Import).order_by(col(Import.id).desc()).limit(_IMPORTS)).all()
    importing = is_importing(settings)
    states = {record.id: state_of(record, importing=importing) for record in imported}
    return store_tables(settings), label_sets, imported, states


def _contents_there(client: Client) -> Contents:
    """Return the same of a server."""
    imported = client.list_imports(limit=_IMPORTS).items
    label_sets = as_records(LabelSet, client.list_label_sets().items)
    states: dict[int | None, str] = {item.id: item.state for item in imported}
    return client.list_tables().items, label_sets, list(map(as_import, imported)), states
