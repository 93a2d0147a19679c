"""The pages that are one list: schedules, and the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from segadmin.storage.records import Audit, Schedule
from segadmin.urls import mask_all
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of
from segadmin_api.formatting import option_texts


def schedules_page(schedules: Sequence[Schedule], overdue: Sequence[str], reader: Reader) -> str:
    """Return the page of schedules, the next one due first."""
    rows = [(schedule, option_texts(schedule.options)) for schedule in schedules]
    title = text_of(reader, "schedules")
    return served("schedules.html", title, "/schedules", reader, rows=rows, overdue=overdue)


def audit_page(entries: Sequence[Audit], reader: Reader) -> str:
    """Return the page of the newest entries of the audit log."""
    rows = [(entry, mask_all(entry.details)) for entry in entries]
    return served("audit.html", text_of(reader, "audit log"), "/audit", reader, rows=rows)
