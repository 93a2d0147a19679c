"""The pretrained weights on this machine: listing, pulling and verifying them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from segadmin.errors import BackboneUnavailable, ConfigurationError, StorageError
from segadmin.files import file_digest, put, sync
from segadmin.settings import Settings
from segadmin_plugins.backbones.transformer.weights_lookup import WANTED, fetch, holds_model, locate

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Kept:
    """One model on this machine."""

    name: str
    where: str  #: its folder
    size: int  #: bytes
    usable: bool  #: whether there are safetensors, the only format that is loaded


def kept(settings: Settings) -> list[Kept]:
    """Return the models under ``SEGADMIN_WEIGHTS`` and in the Hugging Face cache."""
    return sorted([*_under_weights(settings), *_in_cache()], key=lambda model: model.name)


def pull(model: str, settings: Settings, source: Path | None = None) -> Kept:
    """Copy a model to this machine: from the folder ``source``, else from the hub or ``HF_ENDPOINT``.

    From a folder it is copied to ``SEGADMIN_WEIGHTS``, with a file of checksums that :func:`verify` reads.

    Raises:
        ConfigurationError: ``SEGADMIN_WEIGHTS`` is not set.
        BackboneUnavailable: it is not available, or has no safetensors.
        StorageError: the copy cannot be written.
    """
    if source is None:
        folder = fetch(model, settings)
        return Kept(model, str(folder), _size(folder), usable=True)
    if settings.weights is None:
        raise ConfigurationError("Set a folder for models that all workers can read: SEGADMIN_WEIGHTS=/srv/weights")
    if not holds_model(source):
        raise BackboneUnavailable(f"{source} has no config.json or no *.safetensors. Save it with save_pretrained().")
    folder = settings.weights.expanduser() / model
    draft = folder.parent / f".{folder.name}.draft"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        files = sorted(path for pattern in WANTED for path in source.glob(pattern))
        for path in files:
            shutil.copyfile(path, draft / path.name)
            sync(draft / path.name)
        sums = "".join(f"{file_digest(draft / path.name)}  {path.name}\n" for path in files)
        (draft / SUMS).write_text(sums)
        sync(draft / SUMS)
        shutil.rmtree(folder, ignore_errors=True)
        put(draft, folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}. Check SEGADMIN_WEIGHTS.") from None
    return Kept(model, str(folder), _size(folder), usable=True)


def verify(model: str, settings: Settings) -> tuple[Path, int]:
    """Verify a model's checksums; return its folder and the number of files with a checksum.

    Raises:
        BackboneUnavailable: the model is not on this machine.
        StorageError: a file differs from the pulled one, or is gone.
    """
    folder = locate(model, settings)
    if folder is None:
        raise BackboneUnavailable(f"{model!r} is not on this machine. Run: segadmin backbones pull {model}")
    sums = folder / SUMS
    lines = [line.split("  ", 1) for line in sums.read_text().splitlines()] if sums.exists() else []
    for digest, name in lines:
        path = folder / name
        if not path.is_file() or file_digest(path) != digest:
            state = "has other content than was pulled" if path.is_file() else "is gone"
            raise StorageError(f"{path} {state}. Run: segadmin backbones pull {model}, with --from as before")
    return folder, len(lines)


def _under_weights(settings: Settings) -> Iterator[Kept]:
    if settings.weights is None or not settings.weights.expanduser().is_dir():
        return
    root = settings.weights.expanduser()
    for config in root.glob("**/config.json"):
        if not any(part.startswith(".") for part in config.relative_to(root).parts):
            folder = config.parent
            yield Kept(str(folder.relative_to(root)), str(folder), _size(folder), usable=holds_model(folder))


def _in_cache() -> Iterator[Kept]:
    if find_spec("huggingface_hub") is None:
        return
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return
    for repository in cache.repos:
        for revision in repository.revisions:
            if repository.repo_type == "model" and any(file.file_name == "config.json" for file in revision.files):
                folder = revision.snapshot_path
                yield Kept(repository.repo_id, str(folder), revision.size_on_disk, usable=holds_model(folder))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
