"""Artifacts: the folders of model versions, named by their content and verified when they are read."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from segadmin.contracts.backbone import Backbone, Classifier, SavableModel, load_fitted
from segadmin.contracts.plugins import Plugins
from segadmin.errors import PluginContractError, StorageError
from segadmin.files import folder_damage, folder_digest, inside, put, sync, unsafe_files
from segadmin.models.manifest import ModelManifest, parse_manifest
from segadmin.settings import Settings
from segadmin.storage.store import check_known

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Saved:
    """An artifact on disk."""

    folder: str  #: relative to the store
    sha256: str  #: over the names and digests of its files


def save_artifact(settings: Settings, draft: Path, model: SavableModel, manifest: ModelManifest) -> Saved:
    """Write a model version's folder under ``store/models`` and return its location.

    It is written as ``draft`` and renamed when it is complete and on disk.

    Raises:
        PluginContractError: the backbone wrote a type of file that runs code when it is loaded.
        SegadminError: the store is gone; see :func:`segadmin.storage.store.check_known`.
    """
    check_known(settings)
    draft.mkdir(parents=True, exist_ok=True)
    model.save(draft)
    (draft / MANIFEST).write_text(json.dumps(manifest.as_json(), ensure_ascii=False, indent=2))
    if unsafe := unsafe_files(draft):
        raise PluginContractError(
            f"The backbone {manifest.backbone!r} saved {unsafe[0].name!r}; an artifact may hold safetensors, JSON "
            "and text only."
        )
    for path in sorted(draft.rglob("*")):
        sync(path)
    digest = folder_digest(draft)
    folder = settings.store_path / "models" / digest[:12]
    folder.parent.mkdir(exist_ok=True)  # the store itself, which may be gone, is not made anew
    if folder_damage(folder, digest) is not None:  # an equal model may be there, and a file of it may be lost
        shutil.rmtree(folder, ignore_errors=True)
        put(draft, folder)
    return Saved(str(folder.relative_to(settings.store_path)), digest)


def load_classifier(settings: Settings, plugins: Plugins, saved: Saved) -> tuple[Classifier, ModelManifest]:
    """Return the fitted model of an artifact, and its manifest.

    Raises:
        StorageError: the folder is missing or damaged.
        PluginNotFound: its backbone is not installed.
    """
    manifest = read_manifest(settings, saved)
    backbone: Backbone = plugins.make("backbone", manifest.backbone, manifest.backbone_options)
    return load_fitted(backbone, inside(settings.store_path, saved.folder), settings), manifest


def read_manifest(settings: Settings, saved: Saved) -> ModelManifest:
    """Verify an artifact and return its manifest, without loading the model.

    Raises:
        StorageError: the folder is missing or damaged.
    """
    folder = inside(settings.store_path, saved.folder)
    if state := folder_damage(folder, saved.sha256):
        raise StorageError(
            f"The model folder {folder} {state}. Restore it from a backup, or train again: segadmin enqueue retrain"
        )
    path = folder / MANIFEST
    return parse_manifest(path.read_bytes() if path.is_file() else b"", f"in {folder}", "it")
