"""Imports a model file: a version of another store becomes one of this store, a challenger or a pretrained one."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from segadmin.errors import ConfigurationError, DataError, StorageError
from segadmin.files import folder_digest, make_folder, put, sync
from segadmin.labels.label_sets import find_label_set
from segadmin.models.artifact import MANIFEST, Saved
from segadmin.models.manifest import MANIFEST_VERSION, Imported, ModelManifest, parse_manifest
from segadmin.models.model_file import ModelFile, open_model_file
from segadmin.models.shop_match import ShopMatch, match_shop
from segadmin.models.signature import is_signed
from segadmin.names import check_name, check_names
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, JobState, ModelState, ModelVersion
from segadmin.storage.store import known_store

log = logging.getLogger(__name__)
#: What every pretrained version reports.
_PRETRAINING_FACTS = {"held_out_loss_before", "held_out_loss", "perplexity", "objective", "words_added", "new_words"}
#: The kind of the job that an import is recorded as; it has no steps.
JOB_KIND = "import-model"


@dataclass(frozen=True)
class ImportedVersion:
    """An imported version, and how it fits this shop."""

    version: ModelVersion
    created: bool  #: whether it was not here before
    origin: Imported
    match: ShopMatch


def import_version(
    settings: Settings,
    path: Path,
    label_set: str | None = None,
    *,
    trusted: Collection[str] = (),
    allow_unsigned: bool = False,
) -> ImportedVersion:
    """Store the version in the model file ``path`` in this store; the same content with the same labels only once.

    Args:
        settings: of this store, which must hold events.
        path: the model file.
        label_set: one of this shop's label sets; default: of the version's own name.
        trusted: public keys whose signatures are accepted, as :func:`segadmin.models.signature.public_keys` returns.
        allow_unsigned: accept a file without a signature, or by a key that is not trusted.

    Raises:
        DataError: the file is damaged, altered, cut off, of a newer release, or its signature is not accepted; or
            there are no events or no such labels here.
        ConfigurationError: labels are named for a version that was pretrained only.
        StorageError: it cannot be stored.
    """
    path = path.expanduser()
    with reading(settings) as session:
        store = known_store(session).store_id or ""
        wanted = None if label_set is None else find_label_set(session, label_set).name
    with open_model_file(path) as file:
        origin = Imported(
            store=file.contents.store,
            version=file.contents.version,
            signed_by=_check_signature(file, trusted, allow_unsigned=allow_unsigned),
            tested=file.contents.tested,
            elsewhere=file.contents.store != store,
        )
        saved, manifest = _store_files(settings, file, wanted)
    name = "" if manifest.pretrained is not None else wanted or manifest.label_set
    match = match_shop(settings, settings.store_path / saved.folder, manifest, name)
    version, created = _record(settings, path.name, _version_of(manifest, saved, name, origin), origin)
    if created:
        facts = {"action": "import-model", "version": version.id, "label_set": name}
        log.info("model imported", extra=facts)
    return ImportedVersion(version, created, origin, match)


def _check_signature(file: ModelFile, trusted: Collection[str], *, allow_unsigned: bool) -> str:
    """Return the trusted key that the file is signed with; empty if there is none and that is accepted.

    Raises:
        DataError: there is none and that is not accepted, or the signature is not of these contents.
    """
    key = file.contents.signed_by
    if file.signature is not None and not (
        file.signature.key == key and is_signed(file.table, key, file.signature.signature)
    ):
        raise DataError(
            f"{file.path} was altered: its signature is not of its contents. Do not use it; ask for a new export."
        )
    if key in trusted and key:
        return key
    if allow_unsigned:
        return ""
    if not key:
        raise DataError(
            f"{file.path} is not signed, so nobody can tell who made it. Ask for a signed one (segadmin models export "
            "--sign KEY), or accept it as it is: --allow-unsigned"
        )
    raise DataError(
        f"{file.path} is signed with {key}, which is no key that you trust. If the sender confirms that it is theirs: "
        f"--trust {key}"
    )


def _store_files(settings: Settings, file: ModelFile, labels: str | None) -> tuple[Saved, ModelManifest]:
    """Write the version's folder under ``store/models``, named by its content, and return it with its manifest."""
    models = settings.store_path / "models"
    draft = models / f".import-{secrets.token_hex(8)}"
    try:
        make_folder(models, settings.umask_bits)
        file.extract(draft, settings.umask_bits)
        manifest = _read_manifest(file.path, draft)
        if manifest.pretrained is not None and labels is not None:
            raise ConfigurationError(f"The version in {file.path} was pretrained, without labels. Leave out --labels.")
        for each in sorted(draft.rglob("*")):
            sync(each)
        digest = folder_digest(draft)
        folder = models / digest[:12]
        if folder.exists() and folder_digest(folder) != digest:
            raise StorageError(f"The model folder {folder} is damaged. Remove it, and import the file again.")
        if not folder.exists():
            put(draft, folder)
    except OSError as error:
        raise StorageError(
            f"{models} cannot be written: {error.strerror or error}. Free or enlarge the disk."
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Saved(str(folder.relative_to(settings.store_path)), digest), manifest


def _read_manifest(path: Path, draft: Path) -> ModelManifest:
    """Return the manifest of an extracted version.

    Raises:
        DataError: there is none that this release can use.
    """
    written = draft / MANIFEST
    try:
        manifest = parse_manifest(written.read_bytes() if written.is_file() else b"", f"in {path}", "it")
    except StorageError as error:
        raise DataError(str(error).partition(" Restore ")[0] + " Ask for a new export of the version.") from None
    if manifest.manifest_version > MANIFEST_VERSION:
        raise DataError(
            f"{path} has a manifest of version {manifest.manifest_version}, and this segadmin reads up to "
            f"{MANIFEST_VERSION}. Upgrade segadmin here."
        )
    if manifest.pretrained is None:
        check_name("label set", manifest.label_set)
        check_names("segment", manifest.segments)
    if problem := _problem_of(manifest):
        raise DataError(f"{path} cannot be used: {problem}. Ask for a new export of the version.")
    return manifest


def _problem_of(manifest: ModelManifest) -> str:
    """Return what of a manifest no version of segadmin would have written; empty if it is in order."""
    recipe = manifest.recipe
    for name, value, most in (
        ("window_days", recipe.window_days, 36_500),
        ("max_phrases", recipe.max_phrases, 10_000),
        ("parts", recipe.parts + 1, 1_000),
    ):
        if not 0 < value <= most:  # NaN too
            return f"{name} of its text is {value:g}, not between 0 and {most:,}"
    if manifest.pretrained is not None:
        missing = sorted(_PRETRAINING_FACTS - manifest.report.keys())
        return f"its report lacks {missing[0]}" if missing else ""
    repeated = [name for name in manifest.segments if manifest.segments.count(name) > 1]
    if repeated or len(manifest.segments) < 2:
        return f"it has the segment {repeated[0]!r} twice" if repeated else "it has fewer than two segments"
    return ""


def _version_of(manifest: ModelManifest, saved: Saved, label_set: str, origin: Imported) -> ModelVersion:
    return ModelVersion(
        label_set=label_set,
        state=ModelState.PRETRAINED if manifest.pretrained is not None else ModelState.CHALLENGER,
        backbone=manifest.backbone,
        textualizer=manifest.recipe.textualizer,
        segments=list(manifest.segments),
        folder=saved.folder,
        sha256=saved.sha256,
        manifest=manifest.model_copy(update={"imported": origin}).as_json(),
        job_id=0,  # set when it is recorded
    )


def _record(settings: Settings, file: str, version: ModelVersion, origin: Imported) -> tuple[ModelVersion, bool]:
    """Write the version, its job and the audit entry, unless the same content was imported with the same labels.

    Returns:
        The version that is stored, and whether it is new.
    """
    key = f"{JOB_KIND}:{version.sha256}:{version.label_set}"
    for _ in range(2):
        try:
            with transaction(settings) as session:
                job = session.exec(select(Job).where(Job.idempotency_key == key)).one_or_none()
                if job is not None:
                    return session.exec(select(ModelVersion).where(ModelVersion.job_id == job.id)).one(), False
                job_id = _add_job(session, key, file, version.label_set)
                added = ModelVersion(**version.model_dump(exclude={"id", "job_id"}), job_id=job_id)
                session.add(added)
                session.flush()
                facts = {"file": file, "sha256": version.sha256, **origin.model_dump(exclude={"tested"})}
                session.add(entry("models.import", f"model {added.id}", **facts))
                return added, True
        except IntegrityError:  # another process imported it at the same time
            continue
    raise StorageError(f"{file} is being imported by another process. Try again.")


def _add_job(session: Session, key: str, file: str, labels: str) -> int:
    """Add the job of an import, which is over, and return its number."""
    moment = now(session)
    job = Job(
        kind=JOB_KIND,
        options={"file": file, "labels": labels},
        state=JobState.SUCCEEDED,
        idempotency_key=key,
        started_at=moment,
        finished_at=moment,
    )
    session.add(job)
    session.flush()
    assert job.id is not None
    return job.id
