"""The page of the audit log: who did what, with what was before and after."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segadmin.storage.records import Audit
from segadmin.urls import mask_all
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of
from segadmin_api.formatting import option_texts

#: What a subject is called → the path of its page.
_PAGES = {"model": "/models", "job": "/jobs", "snapshot": "/snapshots", "user": "/users"}
_SUBJECT = re.compile(r"(model|job|snapshot) ([0-9]{1,10})|(user) ([0-9a-f]{16})")


@dataclass(frozen=True)
class AuditRow:
    """An entry with its details as text: name → value; an empty name is the value itself."""

    entry: Audit
    before: Mapping[str, str]
    after: Mapping[str, str]
    more: Mapping[str, str]

    @property
    def link(self) -> str:
        """The page of what it was applied to; empty if there is none."""
        match = _SUBJECT.fullmatch(self.entry.subject)
        if match is None:
            return ""
        kind, name = filter(None, match.groups())
        return f"{_PAGES[kind]}/{name}"

    @classmethod
    def of(cls, entry: Audit) -> AuditRow:
        """Return the row of an entry, with secrets masked."""
        details = dict(mask_all(entry.details))
        before, after = (_facts(details.pop(name, None)) for name in ("before", "after"))
        return cls(entry, before, after, option_texts(details))


def page(entries: Sequence[Audit], reader: Reader, *, action: str, actor: str, newest: bool, full: bool) -> str:
    """Return the page of some entries, newest first.

    Args:
        entries: to show.
        reader: who reads it.
        action: the filter of actions; empty: none.
        actor: the filter of actors; empty: none.
        newest: these are the newest entries.
        full: there may be older ones; the page links to them.
    """
    return served(
        "audit.html",
        text_of(reader, "audit log"),
        "/plugins",
        reader,
        tab="/audit",
        rows=list(map(AuditRow.of, entries)),
        action=action,
        actor=actor,
        newest=newest,
        older=entries[-1].id if full else None,
    )


def _facts(value: Any) -> Mapping[str, str]:
    if isinstance(value, dict):
        return option_texts(value)
    return {} if value is None else {"": str(value)}
