"""The mark of a store's folder, ``store.json``, which identifies the store; it is read without the database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from segadmin.errors import StorageError
from segadmin.settings import Settings

#: The file in the store's folder that identifies the store.
MARK = "store.json"
ADOPT = "segadmin db adopt"


@dataclass(frozen=True)
class Mark:
    """The content of ``store.json``, which identifies the folder."""

    id: str  #: of the store; also in the database
    buckets: int
    key_fingerprint: str
    #: End of the newest import; ``None`` if only older releases have imported.
    last_import: datetime | None = None

    @property
    def text(self) -> str:
        """The mark as JSON text."""
        facts = {"id": self.id, "buckets": self.buckets, "key_fingerprint": self.key_fingerprint}
        if self.last_import is not None:
            facts["last_import"] = self.last_import.isoformat()
        return json.dumps(facts, indent=1)

    def is_older_than(self, moment: datetime | None) -> bool:
        """Whether an import that ended at ``moment`` is missing."""
        return moment is not None and self.last_import is not None and self.last_import < moment


def read_mark(settings: Settings) -> Mark | None:
    """Return the mark of the folder; ``None`` if it has none.

    Raises:
        StorageError: the file exists and cannot be read.
    """
    path = settings.store_path / MARK
    try:
        content = json.loads(path.read_bytes())
        last = datetime.fromisoformat(content["last_import"]).astimezone(UTC) if "last_import" in content else None
        return Mark(str(content["id"]), int(content["buckets"]), str(content["key_fingerprint"]), last)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not path.is_symlink():
            return None
        raise StorageError(
            f"{path} cannot be read: {error.strerror}. Check SEGADMIN_STORE and its permissions."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"{path} is damaged. Restore it from a backup; or remove it, if the folder is the store of this "
            f"database, and then: {ADOPT}"
        ) from None


def has_tables(settings: Settings) -> bool:
    """Whether the folder has tables of the lake."""
    return any(settings.store_path.glob("lake/*/_delta_log"))


def is_store(settings: Settings) -> bool:
    """Whether the folder is a store that has been used.

    Raises:
        StorageError: as :func:`read_mark`.
    """
    return has_tables(settings) or read_mark(settings) is not None
