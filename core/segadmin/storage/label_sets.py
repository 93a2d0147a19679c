"""The names of label sets."""

from __future__ import annotations

from segadmin.errors import DataError
from segadmin.names import check_name
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import LabelSet


def check_label_set(settings: Settings, name: str) -> None:
    """Check the name of a label set before it is made; one that there is already is replaced under any name.

    Raises:
        DataError: it is empty, too long, or has invisible characters or a slash.
    """
    check_name("label set", name)
    if "/" not in name:
        return
    with reading(settings) as session:
        if session.get(LabelSet, name) is None:
            raise DataError(
                f"The name of a label set, {name!r}, has a slash, which divides the addresses of pages and of the HTTP "
                f"API. Choose another, such as {name.replace('/', '-')!r}."
            )
