"""One user, to be erased, beside another one, and what tests ask of their home."""

from __future__ import annotations

import json
from pathlib import Path

from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.keys import show_key, user_key
from segadmin.events.mapping import Mapping
from segadmin.events.saved_mappings import save_mapping
from segadmin.events.uploads import keep, new_upload
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.audit import record
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, Job, JobState
from tests.privacy.search import find, needles_of

HEAD = "user,kind,item,at\n"


def put(settings: Settings, name: str, content: str | bytes, mapping: Mapping | None = None, **more: str) -> Import:
    path = settings.root.parent / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done, _ = import_file(settings, ImportRequest(more.pop("table", "events"), str(path), mapping or Mapping(), **more))
    return done


def users(settings: Settings) -> set[str]:
    return set(Lake.of(settings).scan("users").collect()["user"])


def quarantined(settings: Settings) -> list[str]:
    return Lake.of(settings).scan("quarantine").sort("import_id", "line").collect()["row"].to_list()


def post(settings: Settings, *events: dict[str, object] | str) -> Path:
    inbox = Inbox.of(settings)
    inbox.add([event if isinstance(event, str) else json.dumps(event) for event in events])
    return inbox.batches()[-1]


def event(user: object, **more: object) -> dict[str, object]:
    return {"user": user, "kind": "view", "item": "a", "at": "2025-01-01", **more}


def left_of(settings: Settings, user: str) -> dict[str, set[bytes]]:
    database.engine(settings).dispose()  # who closes a file in the same process takes SQLite's locks away
    return find(settings.root, needles_of(settings.secret(), user))


def fill(settings: Settings) -> None:
    """Put one user into tables, quarantine, the inbox, exports, a log and SQL."""
    put(settings, "e.csv", HEAD + "victim~1,view,a,2025-01-01\nvictim~1,stare,a,2025-01-01\nother,view,a,2025-01-01\n")
    put(settings, "l.csv", "user,segment\nvictim~1,a\nother,b\n", table="labels", label_set="x")
    post(settings, event("victim~1"), event("other"))
    (settings.store_path / "exports").mkdir()
    (settings.store_path / "exports" / "a.csv").write_text("user,segment\nvictim~1,a\nother,b\n")
    settings.run_path.mkdir(exist_ok=True)
    (settings.run_path / "web.log").write_text("GET /users?id=victim~1 HTTP\nother line\n")
    record(settings, "users.show", f"user {show_key(user_key(settings.secret(), 'victim~1'))}")
    with new_upload(settings, "victim~1.csv", 2**20) as draft:
        draft.write(f"{HEAD}victim~1,view,b,2025-01-02\n".encode())
        keep(settings, draft, "me")
    save_mapping(settings, "of one", Mapping(constants={"user": "victim~1"}))
    with transaction(settings) as session:
        session.add(
            Job(
                kind="ingest",
                state=JobState.FAILED,
                error="victim~1 cannot be read",
                options={"mapping": {"constants": {"user": "victim~1"}}},
            )
        )
