"""Exports a model version into a self-contained folder, without references to the store or a base model."""

from __future__ import annotations

import shutil
from pathlib import Path

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, StorageError
from segadmin.files import make_folder, put, sync
from segadmin.models.artifact import MANIFEST, Saved, load_classifier, read_manifest
from segadmin.settings import Settings
from segadmin.storage.records import ModelState, ModelVersion


def export_version(settings: Settings, version: ModelVersion, folder: Path) -> int:
    """Write ``version`` into ``folder``, which must not exist yet, and return its size in bytes.

    A language model becomes a folder that ``AutoModelForSequenceClassification.from_pretrained`` reads, even if the
    version is stored as an adapter. The folder is created atomically.

    Raises:
        ConfigurationError: ``folder`` exists.
        StorageError: the version's folder is missing or damaged, or ``folder`` cannot be written.
        BackboneUnavailable: the base model of an adapter is missing, or has other weights.
    """
    folder = folder.expanduser().absolute()
    if folder.exists():
        raise ConfigurationError(f"{folder} exists already. Name a new folder: --out")
    saved = Saved(version.folder, version.sha256)
    draft = folder.parent / f".{folder.name}.draft"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        if version.state == ModelState.PRETRAINED:  # always self-contained
            read_manifest(settings, saved)
            shutil.copytree(settings.store_path / version.folder, draft)
        else:
            model, _ = load_classifier(settings, load_plugins(settings), saved)
            make_folder(draft, settings.umask_bits)
            model.export(draft)
            shutil.copyfile(settings.store_path / version.folder / MANIFEST, draft / MANIFEST)
        files = [path for path in draft.rglob("*") if path.is_file()]
        for path in files:
            sync(path)
        size = sum(path.stat().st_size for path in files)
        put(draft, folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}. Name another: --out") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return size
