"""Whether the settings can be used, checked before anything starts: one line for each that cannot.

A setting that is first read by a request or a job fails there, again and again and far from who can change it.
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
from segadmin.storage.store import compare_folder, compare_keys

#: Yields what is wrong, a line each: the setting, its value, and the fix.
Check = Callable[[Settings], Iterator[str]]


def problems(settings: Settings, *, leave_out: Collection[str] = ()) -> list[str]:
    """Return what is wrong with ``settings``, but for the checks to ``leave_out``; all of it, not only the first."""
    return [line for name, check in CHECKS.items() if name not in leave_out for line in check(settings)]


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the ``SEGADMIN_`` variables that are no settings, each with the name that was probably meant."""
    prefix = "SEGADMIN_"
    known = [prefix + name.upper() for name in Settings.model_fields]
    unknown = sorted(name for name in environment if name.startswith(prefix))
    suggestions = {}
    for name in unknown:
        if name.upper() not in {*known, failpoints.VARIABLE}:
            # The prefix is left out: with it all names are near to each other.
            near = difflib.get_close_matches(name.removeprefix(prefix), [one.removeprefix(prefix) for one in known], 1)
            suggestions[name] = f" Did you mean {prefix}{near[0]}?" if near else ""
    return suggestions


def exposed(settings: Settings) -> Iterator[str]:
    """Yield a line for home, store and database where others may read or change something; the first of each."""
    for one in exposures(settings, at_most=1):
        yield f"{one}. Run: {one.fix}"


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
        return  # a folder that is gone is not made anew
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
        database.ensure_schema(settings)
    except SegadminError as error:
        yield str(error)


def _check_user_keys(settings: Settings) -> Iterator[str]:
    """Compare the secret and the buckets with those that the store was made with."""
    try:
        if _schema_is_current(settings):
            compare_keys(settings)
    except SegadminError as error:
        yield str(error)


def _schema_is_current(settings: Settings) -> bool:
    try:
        return database.revision(settings) == database.HEAD
    except SegadminError:  # the database's own check says it
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
    """Check that all three signing settings are there, or none, and that the files can be read."""
    given = {name: getattr(settings, name) for name in ("signing_key", "signing_certificate", "signing_trusted")}
    if not any(given.values()):
        return
    for name, value in given.items():
        if not value:
            others = ", ".join(f"SEGADMIN_{other.upper()}" for other, path in given.items() if path)
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
    """Check that the files are there; one that cannot be imported is only warned of."""
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


def _check_events_mapping(settings: Settings) -> Iterator[str]:
    """Read a made-up event with the mapping as posted ones are: what fails then would fail for each of them."""
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


#: Setting → what is looked at; those that the form of a value decides are checked when it is read.
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
    "trackers": _check_trackers,
    "events_mapping": _check_events_mapping,
    "flower_user": _check_flower_login,
}
