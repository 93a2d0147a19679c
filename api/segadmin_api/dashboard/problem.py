"""The page of an error, and what it says of errors of the server."""

from __future__ import annotations

from http import HTTPStatus

from segadmin.errors import (
    BrokerUnavailable,
    DatabaseDamaged,
    SchemaOutOfDate,
    StorageError,
    StoreMissing,
)
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import served, text_of

#: The details of server errors. The messages of the errors name folders and hosts, so they go only to the log.
GENERIC_DETAILS = {
    HTTPStatus.SERVICE_UNAVAILABLE: "The server cannot do this at the moment; see its log. Try again later.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An internal error occurred; see the log of the server.",
}
#: What to do about some of them, without names of folders and hosts.
FIXES = {
    SchemaOutOfDate: "The database is of another version of segadmin. Run on the server: segadmin db upgrade",
    DatabaseDamaged: "The database is damaged. Run on the server: segadmin doctor. Restore a backup: segadmin restore "
    "BACKUP",
    StoreMissing: "The folder of the store is not there, or lacks what was imported: a disk may not be mounted. Run on "
    "the server: segadmin doctor",
    StorageError: "The database or the store cannot be used at the moment. Try again later, or run on the server: "
    "segadmin doctor",
    BrokerUnavailable: "The broker cannot be reached at the moment. Try again later, or run on the server: segadmin "
    "doctor",
}
#: The statuses that pages have as their title.
TITLES = tuple(HTTPStatus(status).phrase for status in (400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 500, 503))


def page(title: str, detail: str, reader: Reader = ENGLISH) -> str:
    """Return the page of a problem (RFC 9457) with its title and detail."""
    detail = message_text(reader.language, text_of(reader, detail))
    return served("problem.html", text_of(reader, title), "", reader, detail=detail)
