"""Ed25519 signatures of model files: who receives one checks it with the sender's public key, and shares no secret."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from segadmin.errors import ConfigurationError
from segadmin.files import open_plain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: How a public key is written as text, before its 32 bytes in base64.
KEY_PREFIX = "ed25519:"
#: In front of what is signed, so that a signature of anything else is none of a model file.
_PURPOSE = b"segadmin model file\n"
#: Bytes of a key file that are read.
_LARGEST_KEY = 65_536


@dataclass(frozen=True)
class Signer:
    """A private key."""

    key: Ed25519PrivateKey

    @classmethod
    def read(cls, path: Path) -> Signer:
        """Read a private key in PEM form.

        Raises:
            ConfigurationError: there is none, it needs a password, or it is of another kind.
        """
        _check_installed()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        fix = f"Make one: openssl genpkey -algorithm ed25519 -out {path}"
        try:
            with open_plain(path) as file:
                key = load_pem_private_key(file.read(_LARGEST_KEY), password=None)
        except OSError as error:
            raise ConfigurationError(f"The private key {path} cannot be read: {error.strerror}. {fix}") from None
        except TypeError:
            raise ConfigurationError(
                f"The private key {path} is encrypted. Decrypt it: openssl pkey -in {path} -out decrypted.pem"
            ) from None
        except ValueError:
            raise ConfigurationError(f"{path} is not a private key in PEM form. {fix}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(f"{path} is not an Ed25519 key. {fix}")
        return cls(key)

    @property
    def public(self) -> str:
        """The public key as text, ``ed25519:…``."""
        return public_text(self.key.public_key())

    def sign(self, content: bytes) -> str:
        """Return the signature of ``content`` in base64."""
        return base64.b64encode(self.key.sign(_PURPOSE + content)).decode()


def public_keys(written: Iterable[str]) -> frozenset[str]:
    """Return public keys as text, of keys that are text already and of PEM files.

    Raises:
        ConfigurationError: one is neither.
    """
    return frozenset(map(_public_key, written))


def is_signed(content: bytes, key: str, signature: str) -> bool:
    """Whether ``signature`` is that of ``content`` by the public ``key``, both as text."""
    _check_installed()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(_key_bytes(key))
        public.verify(base64.b64decode(signature, validate=True), _PURPOSE + content)
    except (InvalidSignature, ValueError):  # not base64 is a ValueError too
        return False
    return True


def public_text(key: Ed25519PublicKey) -> str:
    """Return a public key as text."""
    return KEY_PREFIX + base64.b64encode(key.public_bytes_raw()).decode()


def _public_key(written: str) -> str:
    if written.startswith(KEY_PREFIX):
        try:
            _key_bytes(written)
        except ValueError:
            raise ConfigurationError(
                f"The public key {written!r} is incomplete: after {KEY_PREFIX!r} come 44 characters. Copy all of it."
            ) from None
        return written
    _check_installed()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    fix = f"It is a PEM file (openssl pkey -in private.pem -pubout), or begins with {KEY_PREFIX!r}."
    try:
        with open_plain(Path(written).expanduser()) as file:
            key = load_pem_public_key(file.read(_LARGEST_KEY))
    except OSError as error:
        raise ConfigurationError(f"The public key {written!r} cannot be read: {error.strerror}. {fix}") from None
    except ValueError:
        raise ConfigurationError(f"{written!r} is not a public key. {fix}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"The public key {written!r} is not an Ed25519 key, as model files are signed with.")
    return public_text(key)


def _key_bytes(key: str) -> bytes:
    """Return the 32 bytes of a key as text.

    Raises:
        ValueError: it is no key.
    """
    try:
        raw = base64.b64decode(key.removeprefix(KEY_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if len(raw) != 32 or not key.startswith(KEY_PREFIX):
        raise ValueError(key)
    return raw


def _check_installed() -> None:
    if find_spec("cryptography") is None:
        raise ConfigurationError("Signatures need the package cryptography. Run: pip install 'segadmin[signing]'")
