"""``segadmin models export`` and ``import``: versions as folders and as files that move between shops."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.errors import ConfigurationError
from segadmin.models.manifest import Imported
from segadmin.models.versions import find_version
from segadmin.settings import get_settings
from segadmin.storage.database import transaction
from segadmin_api.cli.output import JsonOption, UsageError, echo, show_json

if TYPE_CHECKING:
    from segadmin.models.importing import ImportedVersion


def export(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or `champion`.")],
    out: Annotated[
        Path,
        typer.Option(help="The folder to write, or one file if it ends in `.segmodel`; it must not exist yet."),
    ],
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY.pem", help="Ed25519 private key to sign the file with.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="The label set; needed only if several have a champion.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a version with all its weights into a new folder or file, even if it is stored as an adapter."""
    from segadmin.models.export import export_file, export_version
    from segadmin.models.model_file import SUFFIX
    from segadmin.models.signature import Signer

    settings, is_file = get_settings(), out.suffix == SUFFIX
    if sign is not None and not is_file:
        raise ConfigurationError(f"A folder cannot be signed. Write a file: --out {out}{SUFFIX}")
    signer = Signer.read(sign) if sign is not None else None
    with transaction(settings) as session:
        model_version = find_version(session, version, labels)
    size = (
        export_file(settings, model_version, out, signer) if is_file else export_version(settings, model_version, out)
    )
    path = str(out.expanduser().absolute())
    if as_json:
        facts = {"file": path, "signed_by": signer.public if signer else ""} if is_file else {"folder": path}
        show_json({"version": model_version.id, **facts, "bytes": size})
        return
    echo(f"Version {model_version.id}: {size / 2**20:,.1f} MiB in {out}")
    if signer is not None:
        echo(f"Signed. The receiver runs: segadmin models import {quote(out.name)} --trust {signer.public}")
    elif is_file:
        echo("Not signed, so the receiver has to add --allow-unsigned. Sign it: --sign KEY.pem")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `segadmin models export` wrote (`.segmodel`).")],
    labels: Annotated[
        str | None, typer.Option(help="This shop's label set that the version is of.", show_default="of its own name")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="PUBLIC_KEY", help="Key of the sender, `ed25519:…` or a PEM file; can be repeated."),
    ] = None,
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="Accept a file whoever made it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Store a model file as a version of this shop, and report what of it does not match this shop."""
    from segadmin.models.importing import import_version
    from segadmin.models.signature import public_keys

    if trust and allow_unsigned:
        raise UsageError("--allow-unsigned accepts any file, so --trust has no effect. Leave one out.")
    imported = import_version(
        get_settings(), file, labels, trusted=public_keys(trust or ()), allow_unsigned=allow_unsigned
    )
    if as_json:
        show_json(_facts(imported))
    else:
        _report(imported)


def describe_origin(origin: Imported) -> str:
    """Return where an imported version comes from, in one line."""
    signed = f"signed by {origin.signed_by}" if origin.signed_by else "no trusted signature"
    number = f"version {origin.version} of {'another' if origin.elsewhere else 'this'} store"
    tested = f"; AUROC there {origin.tested['auroc']:.4f}" if "auroc" in origin.tested else ""
    return f"{number}, {signed}{tested}"


def _facts(imported: ImportedVersion) -> dict[str, object]:
    fields = {"id", "label_set", "state", "backbone", "textualizer", "segments", "folder", "sha256", "job_id"}
    return imported.version.model_dump(mode="json", include=fields) | {
        "created": imported.created,
        "origin": imported.origin.model_dump(mode="json"),
        "match": asdict(imported.match),
        "not_matching": imported.match.lines,
    }


def _report(imported: ImportedVersion) -> None:
    version = imported.version
    state = f"{version.state} of {version.label_set!r}" if version.label_set else str(version.state)
    stored = "Stored as" if imported.created else "Stored before as"
    echo(f"{stored} model version {version.id}, {state}: {version.backbone} on {version.textualizer}")
    echo(f"  from {describe_origin(imported.origin)}")
    echo("Does not match this shop:" if imported.match.lines else "Everything matches this shop.")
    for line in imported.match.lines:
        echo(f"  {line}")
    known = version.label_set and imported.match.has_labels
    labels = f" --labels {quote(version.label_set)}" if known else ""
    echo(f"Next: segadmin enqueue retrain --from {version.id}{labels} --wait")
