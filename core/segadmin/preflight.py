"""Checks of the settings before services start, with one line for each invalid setting.

Without them, a setting would fail in every request or job that uses it, far from the person who can change it.
"""

from __future__ import annotations

import difflib
import ssl
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from segadmin import failpoints
from segadmin.errors import SegadminError
from segadmin.files import make_folder
from segadmin.permissions import exposures
from segadmin.settings import Settings, shown
from segadmin.storage import database
from segadmin.storage.integrity import check_database
from segadmin.storage.store import compare_folder, compare_keys

#: Yields one line per problem: the setting, its value, and the fix.
Check = Callable[[Settings], Iterator[str]]


def problems(settings: Settings, *, leave_out: Collection[str] = ()) -> list[str]:
    """Return all problems of ``settings``, one line each, without the checks named in ``leave_out``."""
    return [line for name, check in CHECKS.items() if name not in leave_out for line in check(settings)]


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the ``SEGADMIN_`` variables that are not settings, each with a suggestion or an empty string."""
    prefix = "SEGADMIN_"
    known_names = [name.upper() for name in Settings.model_fields]
    suggestions = {}
    for variable in sorted(name for name in environment if name.startswith(prefix)):
        name = variable.removeprefix(prefix)
        if name.upper() not in {*known_names, failpoints.VARIABLE.removeprefix(prefix)}:
            # Compared without the prefix, which would make all names similar.
            close = difflib.get_close_matches(name, known_names, 1)
            suggestions[variable] = f" Did you mean {prefix}{close[0]}?" if close else ""
    return suggestions


def exposed(settings: Settings) -> Iterator[str]:
    """Yield a line for each of home, store and database that other users can access."""
    for exposure in exposures(settings, at_most=1):
        yield f"{exposure}. Run: {exposure.fix}"


def _check_home(settings: Settings) -> Iterator[str]:
    elsewhere = settings.broker_url and settings.database_url and settings.store and settings.user_key_secret
    if not elsewhere:
        yield from _unwritable(settings, "home", settings.root)


def _check_store(settings: Settings) -> Iterator[str]:
    try:
        if _schema_is_current(settings):
            compare_folder(settings)
    except SegadminError as error:
        yield str(error)
        return  # a missing folder is not created again
    yield from _unwritable(settings, "store", settings.store_path)


def _unwritable(settings: Settings, name: str, folder: Path) -> Iterator[str]:
    try:
        make_folder(folder, settings.umask_bits)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        yield f"{shown(name, folder)}: it cannot be written: {error.strerror}. Set SEGADMIN_{name.upper()} to a folder."


def _check_database(settings: Settings) -> Iterator[str]:
    try:
        check_database(settings)
        database.ensure_schema(settings)
    except SegadminError as error:
        yield str(error)


def _check_user_keys(settings: Settings) -> Iterator[str]:
    """Compare the secret and the number of buckets with the store's."""
    try:
        if _schema_is_current(settings):
            compare_keys(settings)
    except SegadminError as error:
        yield str(error)


def _schema_is_current(settings: Settings) -> bool:
    try:
        return database.revision(settings) == database.HEAD
    except SegadminError:  # reported by the check of the database
        return False


def _check_weights(settings: Settings) -> Iterator[str]:
    if settings.weights is not None and not settings.weights.expanduser().is_dir():
        yield f"{shown('weights', settings.weights)}: there is no such folder. Make it, or unset SEGADMIN_WEIGHTS."


def _check_broker_ca(settings: Settings) -> Iterator[str]:
    if settings.broker_ca is None:
        return
    value = shown("broker_ca", settings.broker_ca)
    try:
        ssl.create_default_context(cafile=settings.broker_ca)
    except ssl.SSLError:
        yield f"{value}: it holds no certificate in PEM form. Name the file of the authority that the broker is under."
    except OSError as error:
        yield f"{value}: it cannot be read: {error.strerror}. Name the file of the authority that the broker is under."


def _check_signing(settings: Settings) -> Iterator[str]:
    """Check that all three signing settings are set, or none, and that the files can be read."""
    paths = {name: getattr(settings, name) for name in ("signing_key", "signing_certificate", "signing_trusted")}
    if not any(paths.values()):
        return
    for name, value in paths.items():
        if not value:
            others = ", ".join(f"SEGADMIN_{other.upper()}" for other, path in paths.items() if path)
            yield f"SEGADMIN_{name.upper()} is not set, but {others} is. Messages are signed with all three, or not."
        elif name == "signing_trusted":
            pattern = Path(value).expanduser()
            if not any(path.is_file() for path in pattern.parent.glob(pattern.name)):
                yield f"{shown(name, value)}: no file is called so. Name certificates, such as /etc/segadmin/*.pem."
        else:
            yield from _unreadable_pem(name, Path(value))


def _unreadable_pem(name: str, path: Path) -> Iterator[str]:
    try:
        if b"-----BEGIN" not in path.read_bytes():
            yield f"{shown(name, path)}: it is not in PEM form. Name a file that begins with -----BEGIN."
    except OSError as error:
        yield f"{shown(name, path)}: it cannot be read: {error.strerror}. Name a file, or change its permissions."


def _check_timing(settings: Settings) -> Iterator[str]:
    if settings.heartbeat_seconds >= settings.lease_seconds:
        yield (
            f"{shown('heartbeat_seconds', settings.heartbeat_seconds)}: it is not less than "
            f"{shown('lease_seconds', settings.lease_seconds)}, so every lease would expire before it is extended. "
            "Set it to a third of the lease."
        )


def _check_plugin_files(settings: Settings) -> Iterator[str]:
    """Check that the files exist; a file that cannot be imported only causes a warning."""
    for path in settings.plugin_files:
        if not path.is_file():
            yield f"{shown('plugin_files', path)}: there is no such file. Correct or unset SEGADMIN_PLUGIN_FILES."


def _check_trackers(settings: Settings) -> Iterator[str]:
    from segadmin.contracts.plugins import load_plugins

    for name in settings.trackers if settings.trackers != ("none",) else ():
        try:
            load_plugins(settings).find("tracker", name).load()
        except SegadminError as error:
            yield f"{shown('trackers', name)}: {error} Correct or unset SEGADMIN_TRACKERS."


def _check_engine(settings: Settings) -> Iterator[str]:
    from segadmin.contracts.plugins import load_plugins

    try:
        load_plugins(settings).check_engine()
    except SegadminError as error:
        yield f"{shown('engine', settings.engine)}: {error}"


def _check_events_mapping(settings: Settings) -> Iterator[str]:
    """Clean a sample event with the mapping for posted events: an error would affect each of them."""
    if settings.events_mapping is None:
        return
    from segadmin.events.mapping import Mapping

    try:
        mapping = Mapping.read(settings.events_mapping)
        import polars as pl

        from segadmin.events.clean import clean, complete

        event = pl.DataFrame({"user": ["u1"], "kind": ["view"], "item": ["i1"], "at": ["2026-01-31T18:05:00Z"]})
        clean(complete(event, "events", mapping), "events", mapping)
    except SegadminError as error:
        reason = str(error).removeprefix(f"The mapping {settings.events_mapping}: ")
        name = shown("events_mapping", settings.events_mapping)
        yield f"{name}: {reason} Correct the file, or unset SEGADMIN_EVENTS_MAPPING."


def _check_flower_login(settings: Settings) -> Iterator[str]:
    password = settings.flower_password.get_secret_value() if settings.flower_password else ""
    for name, value in (("flower_user", settings.flower_user), ("flower_password", password)):
        if "," in value:
            yield f"{shown(name, value)}: Flower splits it at the comma. Choose one without."


#: Setting → its check. The syntax of values is checked when settings are read.
CHECKS: dict[str, Check] = {
    "home": _check_home,
    "store": _check_store,
    "database_url": _check_database,
    "user_key_secret": _check_user_keys,
    "weights": _check_weights,
    "broker_ca": _check_broker_ca,
    "signing_key": _check_signing,
    "heartbeat_seconds": _check_timing,
    "plugin_files": _check_plugin_files,
    "engine": _check_engine,
    "trackers": _check_trackers,
    "events_mapping": _check_events_mapping,
    "flower_user": _check_flower_login,
}
