"""Exports a model version, self-contained, without references to the store or a base model: a folder, or one file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as release_of
from pathlib import Path

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, StorageError
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.evaluation.metrics import HEADLINES
from segadmin.files import make_folder, put, sync
from segadmin.models.artifact import MANIFEST, Saved, load_classifier, read_manifest
from segadmin.models.model_file import FORMAT, Contents, list_files, write_model_file
from segadmin.models.signature import Signer
from segadmin.models.versions import evaluations_of
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import ModelState, ModelVersion
from segadmin.storage.store import known_store


def export_version(settings: Settings, version: ModelVersion, folder: Path) -> int:
    """Write ``version`` into ``folder``, which must not exist yet, and return its size in bytes.

    A language model becomes a folder that ``AutoModelForSequenceClassification.from_pretrained`` reads, even if the
    version is stored as an adapter. The folder is created atomically.

    Raises:
        ConfigurationError: ``folder`` exists.
        StorageError: the version's folder is missing or damaged, or ``folder`` cannot be written.
        BackboneUnavailable: the base model of an adapter is missing, or has other weights.
    """
    with _draft_of(folder) as (target, draft):
        _write_version(settings, version, draft)
        files = [path for path in draft.rglob("*") if path.is_file()]
        for path in files:
            sync(path)
        size = sum(path.stat().st_size for path in files)
        put(draft, target)
    return size


def export_file(settings: Settings, version: ModelVersion, path: Path, signer: Signer | None = None) -> int:
    """Write ``version`` as the model file ``path``, which must not exist yet, and return its size in bytes.

    It holds what :func:`export_version` writes, without numbers of this store's jobs and versions. The file is created
    atomically, and is the same whenever the same version is exported.

    Raises:
        ConfigurationError: ``path`` exists.
        PluginContractError: the version holds a kind of file that a model file may not.
        StorageError: the version's folder is missing or damaged, or ``path`` cannot be written.
        BackboneUnavailable: the base model of an adapter is missing, or has other weights.
    """
    with _draft_of(path) as (target, draft):
        folder, file = draft / "version", draft / "file"
        make_folder(draft, settings.umask_bits)
        _write_version(settings, version, folder)
        manifest = read_manifest(settings, Saved(version.folder, version.sha256)).without_references()
        (folder / MANIFEST).write_text(json.dumps(manifest.as_json(), ensure_ascii=False, indent=2))
        write_model_file(file, folder, _contents(settings, version, folder), signer, settings.umask_bits)
        size = file.stat().st_size
        put(file, target)
    return size


@contextmanager
def _draft_of(target: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the absolute path of ``target``, and that of a draft beside it, which is removed at the end.

    Raises:
        ConfigurationError: ``target`` exists.
        StorageError: something cannot be written.
    """
    target = target.expanduser().absolute()
    if target.exists():
        raise ConfigurationError(f"{target} exists already. Name another: --out")
    draft = target.parent / f".{target.name}.draft"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        yield target, draft
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}. Name another: --out") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_version(settings: Settings, version: ModelVersion, folder: Path) -> None:
    """Write the version into the new ``folder``, with all of its weights."""
    saved = Saved(version.folder, version.sha256)
    if version.state == ModelState.PRETRAINED:  # always self-contained
        read_manifest(settings, saved)
        shutil.copytree(settings.store_path / version.folder, folder)
        return
    model, _ = load_classifier(settings, load_plugins(settings), saved)
    make_folder(folder, settings.umask_bits)
    model.export(folder)
    shutil.copyfile(settings.store_path / version.folder / MANIFEST, folder / MANIFEST)


def _contents(settings: Settings, version: ModelVersion, folder: Path) -> Contents:
    """Return the table of contents of ``folder``, with the origin of the version and its headline metrics."""
    with reading(settings) as session:
        store = known_store(session)
        rows = evaluations_of(session, version)
    tested: dict[str, float] = {}
    for row in rows:
        if row.model_version_id == version.id and row.split == EvaluatedOn.TEST:
            measured = {name: row.metrics.get(name) for name in HEADLINES}
            tested = {"rows": row.rows} | {name: value for name, value in measured.items() if value is not None}
    return Contents(
        format=FORMAT,
        segadmin=release_of("segadmin"),
        store=store.store_id or "",
        version=version.id or 0,
        tested=tested,
        files=list_files(folder),
    )
