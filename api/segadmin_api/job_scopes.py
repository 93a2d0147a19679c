"""What only administrators may ask workers for, by a new job, a schedule or a retry.

What merely stops a job or a schedule needs an operator, whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segadmin.storage.records import Job, Schedule, Scope

#: Kinds that read whatever the workers can reach, or delete data.
ADMIN_KINDS = ("ingest", "retain")
#: Options with addresses that workers connect to, or files that they write.
ADMIN_OPTIONS = ("tracker_options",)


def needed_scope(asked: Job | Schedule) -> Scope:
    """Return the scope of the keys that may ask for a job with the kind and the options of another or of a schedule."""
    return Scope.ADMIN if needs_admin(asked.kind, asked.options) else Scope.OPERATOR


def needs_admin(kind: str, options: Mapping[str, Any]) -> bool:
    """Return whether only administrators may ask for a job."""
    return kind in ADMIN_KINDS or bool(admin_options(options))


def admin_options(options: Mapping[str, Any]) -> list[str]:
    """Return the options that only administrators may set."""
    return [name for name in ADMIN_OPTIONS if options.get(name)]
