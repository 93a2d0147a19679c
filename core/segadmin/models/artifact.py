"""Artifacts: the folders of model versions, named by their content and verified when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segadmin.contracts.backbone import Backbone, Classifier, SavableModel, load_fitted
from segadmin.contracts.plugins import Plugins
from segadmin.errors import PluginContractError, StorageError
from segadmin.files import file_digest, inside, put, sync, unsafe_files
from segadmin.models.manifest import ModelManifest, parse_manifest
from segadmin.settings import Settings

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
    """
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
    digest = artifact_digest(draft)
    folder = settings.store_path / "models" / digest[:12]
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
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
    if state := _damage(folder, saved.sha256):
        raise StorageError(
            f"The model folder {folder} {state}. Restore it from a backup, or train again: segadmin enqueue retrain"
        )
    path = folder / MANIFEST
    return parse_manifest(path.read_bytes() if path.is_file() else b"", f"in {folder}", "it")


def _damage(folder: Path, sha256: str) -> str | None:
    """Return what is wrong with the folder of an artifact, to be read after its name."""
    if not folder.is_dir():
        return "is gone"
    for path in folder.rglob("*"):
        if path.is_symlink():
            return f"holds a symbolic link, {path.name}, which is not followed"
        if not (path.is_file() or path.is_dir()):  # to open a named pipe would wait for whoever writes to it
            return f"holds {path.name}, which is neither a file nor a folder"
    return "is damaged: a file has other content than was saved" if artifact_digest(folder) != sha256 else None


def artifact_digest(folder: Path) -> str:
    """Return the SHA-256 over the sorted names and digests of the files in ``folder``."""
    lines = [f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n" for path in _files(folder)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())
