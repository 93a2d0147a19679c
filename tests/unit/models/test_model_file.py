"""Model files: what is written is read, and every other byte is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from segadmin.errors import ConfigurationError, DataError, PluginContractError
from segadmin.models.model_file import FORMAT, Contents, list_files, open_model_file, write_model_file
from segadmin.models.signature import Signer, is_signed, public_keys

FILES = {"manifest.json": b"{}", "text/model.safetensors": bytes(range(256)) * 5, "text/vocab.txt": b""}


def private_key(path: Path, key: Any = None) -> Path:
    key = key or Ed25519PrivateKey.generate()
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(*form))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "version" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "version"


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.read(private_key(tmp_path / "key.pem"))


def write(path: Path, folder: Path, signer: Signer | None = None) -> Path:
    contents = Contents(format=FORMAT, store="there", version=3, files=list_files(folder))
    write_model_file(path, folder, contents, signer, 0o077)
    return path


def read(path: Path) -> dict[str, bytes]:
    target = path.with_name(f"{path.name}-extracted")
    with open_model_file(path) as file:
        file.extract(target, 0o077)
    return {str(each.relative_to(target)): each.read_bytes() for each in target.rglob("*") if each.is_file()}


def test_what_is_written_is_read(folder: Path, signer: Signer, tmp_path: Path) -> None:
    path = write(tmp_path / "a.segmodel", folder, signer)
    assert read(path) == FILES
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == write(tmp_path / "b.segmodel", folder, signer).read_bytes()
    with open_model_file(path) as file:
        assert (file.contents.store, file.contents.version, file.contents.signed_by) == ("there", 3, signer.public)
        assert file.signature is not None
        assert is_signed(file.table, signer.public, file.signature.signature)
        assert not is_signed(file.table + b" ", signer.public, file.signature.signature)
    with tarfile.open(path) as other_tools:  # it is an ordinary tar
        assert other_tools.getnames() == ["contents.json", "signature.json", *(f"model/{name}" for name in FILES)]


def test_every_altered_byte_is_noticed(folder: Path, signer: Signer, tmp_path: Path) -> None:
    """Or it is in the signature, which is checked by whoever trusts the file."""
    path = write(tmp_path / "a.segmodel", folder, signer)
    content, altered = path.read_bytes(), tmp_path / "altered.segmodel"
    with open_model_file(path) as file:
        signature = file.signature
    assert signature is not None
    for place in range(0, len(content), 7):
        altered.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            with open_model_file(altered) as file:
                valid = file.signature == signature and is_signed(file.table, signer.public, signature.signature)
                file.extract(tmp_path / f"out-{place}", 0o077)
        except DataError as error:
            assert str(altered) in str(error)
        else:
            assert not valid, place


@pytest.mark.parametrize("kept", [0, 100, 512, 2000, -1, -1024, -1500])
def test_a_file_that_is_cut_off_is_noticed(folder: Path, tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "a.segmodel", folder)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"is cut off: it ends after|is not a model file"):
        read(path)
    assert not list(tmp_path.glob("*-extracted"))


def test_what_follows_the_end_is_noticed(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.segmodel", folder)
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(DataError, match="512 bytes that its table of contents does not list"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 2000, pickle.dumps({"a": 1}) * 200])
def test_other_files_are_no_model_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.segmodel"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is not a model file.*segadmin models export VERSION"):
        read(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read(tmp_path / "none.segmodel")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="cannot be read: it is not a plain file"):
        read(tmp_path / "pipe")
    for key in (Signer.read, lambda path: public_keys([str(path)])):
        with pytest.raises(ConfigurationError, match="cannot be read: it is not a plain file"):
            key(tmp_path / "pipe")


@pytest.mark.parametrize("fact", [{"store": "\ud800"}, {"tested": {"auroc": float("nan")}}])
def test_contents_that_could_not_be_shown_are_refused(tmp_path: Path, fact: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="cannot be imported"):
        read(crafted(tmp_path / "a.segmodel", lambda table: table.update(fact)))


def crafted(path: Path, change: Callable[[dict[str, Any]], None], member: tarfile.TarInfo | None = None) -> Path:
    """Write a file of one listed member, with other contents and perhaps another header than ``write`` would."""
    table: dict[str, Any] = {"format": FORMAT, "files": [{"name": "manifest.json", "size": 2, "sha256": SHA_OF_BRACES}]}
    change(table)
    written = json.dumps(table).encode()
    with path.open("wb") as file:
        for name, content in (("contents.json", written), ("model/manifest.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if member is not None and name != "contents.json":
                info = member
            file.write(info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512))
        file.write(bytes(1024))
    return path


SHA_OF_BRACES = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def named(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda table: table["files"][0].update(name=name)


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "/etc/evil.json", "a/../../evil.json", "a//evil.json", ".hidden.json", "C:\\evil.json", "a\n.json",
     "x" * 95 + ".json", "", "model.pkl", "model.bin", "code.py", "weights", "a.json/.."],
)  # fmt: skip
def test_names_that_leave_the_folder_or_may_run_code_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"imported: the name .* (is not a relative path|has none of the end)"):
        read(crafted(tmp_path / "a.segmodel", named(name)))


@pytest.mark.parametrize(
    "second", ["manifest.json", "MANIFEST.json", "manifest.json/a.json"], ids=["same", "in another case", "inside"]
)
def test_a_name_that_is_listed_twice_is_refused(tmp_path: Path, second: str) -> None:
    def twice(table: dict[str, Any]) -> None:
        table["files"].append(table["files"][0] | {"name": second})

    with pytest.raises(DataError, match="is listed twice"):
        read(crafted(tmp_path / "a.segmodel", twice))


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_devices_and_sparse_files_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("model/manifest.json")
    member.type, member.linkname, member.size = kind, "/etc/passwd", 2
    with pytest.raises(DataError, match=r"manifest\.json is not where, or not what, its contents list"):
        read(crafted(tmp_path / "a.segmodel", lambda table: None, member))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table["files"][0].update(size=10**15), "is cut off: it ends after"),
        (lambda table: table["files"][0].update(size=-1), "greater than or equal to 0"),
        (lambda table: table["files"][0].update(size=1), r"manifest\.json is not where"),
        (lambda table: table["files"][0].update(sha256="0" * 64), r"manifest\.json has other content"),
        (lambda table: table["files"][0].update(sha256="0"), "should match pattern"),
        (lambda table: table.update(files=[]), "at least 1 item"),
        (lambda table: table.update(format=2), r"has the format 2, and this segadmin reads 1\. Upgrade segadmin"),
        (lambda table: table.pop("format"), "table of contents cannot be read"),
        (lambda table: table.update(signed_by="ed25519:x"), "is not a model file, or its beginning is damaged"),
    ],
)  # fmt: skip
def test_contents_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(crafted(tmp_path / "a.segmodel", change))


def test_contents_too_large_to_be_ones_are_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("contents.json")
    info.size = 2**40
    path = tmp_path / "a.segmodel"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(DataError, match=r"contents\.json would have 1,099,511,627,776 bytes"):
        read(path)


def test_a_pickle_with_a_safe_name_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "more.json").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(PluginContractError, match=r"'more\.json' is a link or a pickle.*--out FOLDER"):
        list_files(folder)
    content, path = pickle.dumps({"a": 1}), tmp_path / "a.segmodel"
    member = tarfile.TarInfo("model/manifest.json")
    member.size = len(content)
    buffer = BytesIO()
    digest = hashlib.sha256(content).hexdigest()
    table = json.dumps({"format": 1, "files": [{"name": "manifest.json", "size": len(content), "sha256": digest}]})
    first = tarfile.TarInfo("contents.json")
    first.size = len(table)
    for info, data in ((first, table.encode()), (member, content)):
        buffer.write(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512))
    path.write_bytes(buffer.getvalue() + bytes(1024))
    with pytest.raises(DataError, match=r"holds 'manifest\.json', which may run code"):
        read(path)


def test_links_and_odd_names_are_not_exported(folder: Path) -> None:
    (folder / "link.json").symlink_to(folder / "manifest.json")
    with pytest.raises(PluginContractError, match=r"'link\.json' is a link or a pickle"):
        list_files(folder)
    (folder / "link.json").unlink()
    (folder / "trees of gold.txt").write_text("x")
    with pytest.raises(PluginContractError, match=r"'trees of gold\.txt' is not a relative path of at most 94"):
        list_files(folder)


def test_keys_that_cannot_be_used_say_so(tmp_path: Path, signer: Signer) -> None:
    pem = tmp_path / "public.pem"
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    pem.write_bytes(signer.key.public_key().public_bytes(*form))
    assert public_keys([str(pem), signer.public]) == {signer.public}
    for written, message in (
        (signer.public[:-5], "is incomplete: after 'ed25519:' come 44 characters"),
        (str(tmp_path / "none.pem"), "cannot be read: No such file"),
        (str(tmp_path / "key.pem"), "is not a public key. It is a PEM file"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            public_keys([written])
    encrypted = tmp_path / "encrypted.pem"
    with_password = serialization.BestAvailableEncryption(b"secret")
    encrypted.write_bytes(
        signer.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, with_password)
    )
    private_key(tmp_path / "rsa.pem", rsa.generate_private_key(65537, 2048))
    for path, message in (
        (tmp_path / "none.pem", "cannot be read: No such file.*openssl genpkey -algorithm ed25519"),
        (pem, "is not a private key in PEM form"),
        (encrypted, "is encrypted. Decrypt it: openssl pkey"),
        (tmp_path / "rsa.pem", "is not an Ed25519 key"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Signer.read(path)


def test_signatures_need_a_package(signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)  # as if it were not installed
    for use in (
        lambda: Signer.read(tmp_path / "key.pem"),
        lambda: public_keys([str(tmp_path / "key.pem")]),
        lambda: is_signed(b"", signer.public, ""),
    ):
        with pytest.raises(ConfigurationError, match=r"pip install 'segadmin\[signing\]'"):
            use()
