"""Writing a model version into a folder that needs nothing else: no store, no base elsewhere."""

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
    """Write ``version`` into ``folder``, which must not exist yet, and return how many bytes it takes.

    A language model becomes a folder that ``AutoModelForSequenceClassification.from_pretrained`` reads, also where the
    version is stored as an adapter. It appears complete, or not at all.

    Raises:
        ConfigurationError: there is something in ``folder`` already.
        StorageError: the version's folder is gone or damaged, or ``folder`` cannot be written.
        BackboneUnavailable: the base of an adapter is gone, or has other weights.
    """
    folder = folder.expanduser().absolute()
    if folder.exists():
        raise ConfigurationError(f"{folder} exists already. Name a new folder: --out")
    saved = Saved(version.folder, version.sha256)
    draft = folder.parent / f".{folder.name}.draft"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        if version.state == ModelState.PRETRAINED:  # it is whole as it is
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
