"""A model version's folder: all that is needed to use it, named by its content and checked when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Classifier, Examples, Learnt, no_progress
from segadmin.contracts.plugins import Plugins
from segadmin.errors import PluginContractError, StorageError
from segadmin.evaluation.abstention import answered
from segadmin.evaluation.calibration import predict
from segadmin.files import UNSAFE_SUFFIXES, file_digest, inside, put, sync
from segadmin.inference.clipping import Limits
from segadmin.settings import Settings
from segadmin.storage.records import ModelVersion
from segadmin.text.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Saved:
    """An artifact on disk."""

    folder: str  #: relative to the store
    sha256: str  #: over the names and digests of its files


@dataclass(frozen=True)
class LoadedModel:
    """A model version, ready to use."""

    classifier: Classifier
    manifest: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        """How the users that it reads must be textualized."""
        return Recipe.model_validate(self.manifest["recipe"])

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments, in the order of the probabilities."""
        return tuple(self.manifest["segments"])

    @property
    def thresholds(self) -> list[float | None]:
        """How sure the model must be of each segment to put somebody there; empty where everybody is put somewhere."""
        return list(self.manifest.get("thresholds") or ())

    @property
    def temperature(self) -> float:
        """What the logits are divided by."""
        return float(self.manifest["calibration"]["temperature"])

    def predict(
        self, examples: Examples, progress: Callable[[float, str], None] = no_progress, *, calibrated: bool = True
    ) -> NDArray[np.float64]:
        """Return the probabilities of every segment, ``(n_rows, n_segments)``, rows summing to 1.

        Raises:
            PluginContractError: the classifier returned something else than probabilities.
        """
        within = Limits.from_json(self.manifest.get("feature_limits", ())).clip(examples)
        found = predict(self.classifier, within, self.temperature if calibrated else 1.0, progress)
        return answered(found, examples, self.manifest.get("policy") or {}) if calibrated else found


def save_artifact(settings: Settings, draft: Path, learnt: Learnt, manifest: dict[str, Any]) -> Saved:
    """Write a model version's folder under ``store/models`` and return where it is.

    It is written as ``draft`` and renamed when it is complete and on disk.

    Raises:
        PluginContractError: the backbone wrote a kind of file that runs code when read.
    """
    draft.mkdir(parents=True, exist_ok=True)
    learnt.save(draft)
    (draft / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2))
    for path in sorted(draft.rglob("*")):
        if path.suffix in UNSAFE_SUFFIXES or path.is_symlink():
            raise PluginContractError(
                f"The backbone {manifest['backbone']!r} saved {path.name!r}; an artifact may hold safetensors, JSON "
                "and text only."
            )
        sync(path)
    digest = artifact_digest(draft)
    folder = settings.store_path / "models" / digest[:12]
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        put(draft, folder)
    return Saved(str(folder.relative_to(settings.store_path)), digest)


def load_artifact(settings: Settings, plugins: Plugins, version: ModelVersion) -> LoadedModel:
    """Return a model version, ready to use.

    Raises:
        StorageError: the folder is gone or is not what was saved.
        PluginNotFound: its backbone is not installed here.
    """
    return load_saved(settings, plugins, Saved(version.folder, version.sha256))


def load_saved(settings: Settings, plugins: Plugins, saved: Saved) -> LoadedModel:
    """Return what :func:`save_artifact` saved; raises as :func:`load_artifact` does."""
    manifest = read_manifest(settings, saved)
    backbone = plugins.make("backbone", manifest["backbone"], manifest["backbone_options"])
    return LoadedModel(backbone.load(inside(settings.store_path, saved.folder)), manifest)


def read_manifest(settings: Settings, saved: Saved) -> dict[str, Any]:
    """Verify an artifact and return its manifest, without loading the model.

    Raises:
        StorageError: the folder is gone or is not what was saved.
    """
    folder = inside(settings.store_path, saved.folder)
    links = [path.name for path in folder.rglob("*") if path.is_symlink()]
    if links or not folder.is_dir() or artifact_digest(folder) != saved.sha256:
        state = "is damaged: a file has other content than was saved" if folder.is_dir() else "is gone"
        state = f"holds a symbolic link, {links[0]}, which is not followed" if links else state
        raise StorageError(
            f"The model folder {folder} {state}. Restore it from a backup, or train again: segadmin enqueue retrain"
        )
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return manifest


def artifact_digest(folder: Path) -> str:
    """Return the SHA-256 over the sorted names and digests of the files in ``folder``."""
    lines = [f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n" for path in _files(folder)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())
