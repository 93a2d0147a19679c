"""Signed messages, and a broker behind TLS: with real keys, real certificates and a real Redis."""

from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

import tests.probe  # noqa: F401  (adds the job kind)
from segadmin.errors import ConfigurationError
from segadmin.jobs import control, quarantine
from segadmin.jobs.enqueue import enqueue
from segadmin.settings import Settings, get_settings
from segadmin_worker.client import dispatcher
from tests.servers import redis_server, wait_until, worker
from tests.stores import empty_store


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a key and a self-signed certificate for ``name``."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (folder / f"{name}.key").write_bytes(pem)
    return folder / f"{name}.key", folder / f"{name}.pem"


def test_only_signed_messages_are_run(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_store(settings)
    key, pem = certificate(tmp_path / "trusted", "shop")
    signing = {"KEY": str(key), "CERTIFICATE": str(pem), "TRUSTED": str(tmp_path / "trusted" / "*.pem")}
    other_key, other_pem = certificate(tmp_path / "elsewhere", "stranger")
    with redis_server(settings), monkeypatch.context() as patch:
        for name, value in signing.items():
            patch.setenv(f"SEGADMIN_SIGNING_{name}", value)
        get_settings.cache_clear()
        signed = get_settings()
        with worker(signed):
            ask(signed)
            wait_until(lambda: control.view(signed, 1).job.state == "succeeded", 30, "a signed job succeeds")
            run(signed, "from segadmin_worker.inspection import workers; assert workers(s, seconds=5)")
            ask(signed.model_copy(update={"signing_key": None}))
            ask(signed.model_copy(update={"signing_key": other_key, "signing_certificate": other_pem}))
            wait_until(lambda: len(quarantine.list_messages(signed)) == 2, 20, "the others are set aside")
            reasons = " ".join(message.reason for message in quarantine.list_messages(signed))
            assert "ContentDisallowed" in reasons
            assert "SecurityError" in reasons


def ask(settings: Settings) -> None:
    """Enqueue a probe job."""
    run(settings, "assert enqueue(s, dispatcher(s), 'probe', {}).dispatched")


def run(settings: Settings, code: str) -> None:
    """Run code in a process that has exactly these settings: signing is switched on for a whole process."""
    variables = {
        "SEGADMIN_HOME": str(settings.root),
        "SEGADMIN_SIGNING_KEY": str(settings.signing_key or ""),
        "SEGADMIN_SIGNING_CERTIFICATE": str(settings.signing_certificate or ""),
        "SEGADMIN_SIGNING_TRUSTED": settings.signing_trusted,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGADMIN_")}
    environment |= {name: value for name, value in variables.items() if value}
    start = (
        "import tests.probe; from segadmin.settings import get_settings; from segadmin.jobs.enqueue import enqueue; "
        "from segadmin_worker.client import dispatcher; s = get_settings(); "
    )
    subprocess.run([sys.executable, "-c", start + code], env=environment, cwd=Path(__file__).parents[2], check=True)


def test_incomplete_signing_settings_are_reported(settings: Settings, tmp_path: Path) -> None:
    broken = settings.model_copy(update={"signing_key": tmp_path / "none.key"})
    empty_store(settings)
    with pytest.raises(ConfigurationError, match="SEGADMIN_SIGNING_CERTIFICATE"):
        enqueue(broken, dispatcher(broken), "probe", {})


@contextmanager
def tls_in_front(settings: Settings, key: Path, pem: Path) -> Iterator[int]:
    """Speak TLS on a port in front of the Redis of ``settings``, whose build has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    over = threading.Event()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            for line in (source, sink):
                line.close()

    def serve() -> None:
        while not over.is_set():
            try:
                client, _ = listener.accept()
                client.settimeout(5)
                line = context.wrap_socket(client, server_side=True)
            except (TimeoutError, OSError):
                continue
            line.settimeout(None)
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(settings.redis_socket))
            for pair in ((line, server), (server, line)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def test_a_broker_behind_tls_is_checked(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_store(settings)
    key, pem = certificate(tmp_path / "server", "localhost")
    _, stranger = certificate(tmp_path / "other", "localhost")
    with redis_server(settings), tls_in_front(settings, key, pem) as port:
        url = f"rediss://localhost:{port}/0"
        trusting = settings.model_copy(update={"broker_url": url, "broker_ca": pem})
        assert enqueue(trusting, dispatcher(trusting), "probe", {}).dispatched
        misled = settings.model_copy(update={"broker_url": url, "broker_ca": stranger})
        elsewhere = trusting.model_copy(update={"broker_url": url.replace("localhost", "127.0.0.1")})
        for client_settings in (misled, elsewhere):
            done = enqueue(client_settings, dispatcher(client_settings), "probe", {})
            assert "cannot be trusted" in str(done.trouble)
            assert done.created
        monkeypatch.setenv("SEGADMIN_BROKER_URL", url)
        monkeypatch.setenv("SEGADMIN_BROKER_CA", str(pem))
        get_settings.cache_clear()
        with worker(get_settings()):
            wait_until(
                lambda: control.view(settings, 1).job.state == "succeeded", 30, "the worker hears of it over TLS"
            )
