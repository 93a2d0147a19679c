"""The store's fixed facts, for everybody who needs events to be there."""

from __future__ import annotations

from sqlmodel import Session

from segadmin.errors import DataError
from segadmin.records import Store

NO_EVENTS = "There are no events yet. Import some: segadmin data import events FILE, or try: segadmin demo"


def known_store(session: Session) -> Store:
    """Return the store's fixed facts, which the first import wrote.

    Raises:
        DataError: nothing was imported yet.
    """
    store = session.get(Store, 1)
    if store is None:
        raise DataError(NO_EVENTS)
    return store
