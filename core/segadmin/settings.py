"""Settings: one frozen object, read from ``SEGADMIN_…`` variables on first use."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from hashlib import blake2s
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from segadmin.database_urls import check_database_url
from segadmin.errors import InvalidSettings
from segadmin.files import private_folder
from segadmin.paths import is_utf8, redis_socket_url, sqlite_url
from segadmin.secret_files import create_secret_file, is_blank, read_secret_file
from segadmin.urls import mask_url, url_problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Language = Literal["en", "zh"]
#: Bytes; the kernel limits the path of a unix socket to about 108.
_SOCKET_PATH_LIMIT = 100
_DAY = 86_400.0
#: A host name, one with a wildcard as its first part, an address, or ``*`` for all.
_HOST_NAME = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


class Settings(BaseModel):
    """The settings of an installation; every field is a ``SEGADMIN_<NAME>`` variable.

    Fields that are given to the constructor are not looked up in the environment.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True, validate_default=True
    )

    home: Path = Field(Path(".segadmin"), description="Folder of all local state")
    umask: Literal["077", "027", "007"] = Field(
        "077", description="Umask of all files; 007 for a home that a group writes to, 027 if the group only reads"
    )
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite under home")
    broker_url: str = Field("", description="Celery broker URL; empty means the embedded Redis under home")
    broker_ca: Path | None = Field(None, description="CA certificates to verify a rediss:// broker")
    signing_key: Path | None = Field(
        None, description="Private key (PEM) for signing messages; see docs/how-to/restrict-access.md"
    )
    signing_certificate: Path | None = Field(None, description="Certificate of the signing key")
    signing_trusted: str = Field(
        "", description="Certificates whose messages are accepted, such as /etc/segadmin/*.pem"
    )
    store: Path | None = Field(None, description="Folder of the lake and of step outputs; default home/store")
    user_key_secret: SecretStr | None = Field(None, description="Key of the user-key HMAC; default: generated")
    buckets: int = Field(
        16, ge=1, le=65_536, description="Hash partitions of users; a power of two, fixed at the first import"
    )
    fan_out: int = Field(4, ge=1, le=65_536, description="Steps that a per-bucket stage is divided into")
    language: Language = Field("en", description="Language of the user text")
    log_format: Literal["text", "json"] = Field(
        "text", description="How workers, beat and the HTTP API write their logs: text, or a JSON object a line"
    )
    weights: Path | None = Field(None, description="Folder searched first for pretrained weights")
    lease_seconds: float = Field(15.0, gt=0, le=_DAY, description="A step without a heartbeat for this long runs again")
    heartbeat_seconds: float = Field(3.0, gt=0, le=_DAY, description="Interval at which a worker extends its lease")
    reap_seconds: float = Field(
        2.0, gt=0, le=_DAY, description="Interval of the search for expired steps and due schedules"
    )
    ring_seconds: float = Field(
        10.0, ge=0, le=_DAY, description="A message not taken for this long is looked for, and sent again if it is lost"
    )
    max_attempts: int = Field(3, ge=1, le=1000, description="Attempts of a step before its job fails")
    step_seconds: float = Field(
        12 * 3600, gt=0, le=366 * _DAY, description="Maximum run time of a step before its job fails"
    )
    step_memory_gib: float = Field(
        0, ge=0, le=1e6, description="Maximum memory of a step's process; a larger one fails its job; 0: no limit"
    )
    steps_per_process: int = Field(
        0, ge=0, description="Steps after which a worker process is replaced, to free its memory; 0: never"
    )
    backoff_seconds: float = Field(5.0, ge=0, le=_DAY, description="Wait before the second attempt; doubles each time")
    plugins_disabled: frozenset[str] = Field(
        frozenset(), description="Comma-separated plugin distributions not to load"
    )
    plugins_allowed: frozenset[str] = Field(frozenset(), description="If set, the only plugin distributions to load")
    plugin_files: tuple[Path, ...] = Field(
        (), description="Comma-separated Python files that are plugins; or a JSON list, for names with commas"
    )
    engine: str = Field(
        "auto",
        description="Runtime of language models: `torch`, `transformers` or another engine; `auto`: the fastest that "
        "agrees with the model on a sample",
    )
    warm_models_gib: float = Field(
        2.0, ge=0, le=1e6, description="Models that a process keeps loaded between steps, in GiB; 0: none"
    )
    trackers: tuple[str, ...] = Field((), description="Comma-separated default trackers of a retrain")
    inbox_seconds: float = Field(
        10.0, ge=1, le=_DAY, description="Events posted within this interval are imported together"
    )
    events_mapping: Path | None = Field(
        None, description="Mapping of posted events: a file, or the name of a shipped one"
    )
    server: str | None = Field(
        None, description="URL of a server (`segadmin web`) that commands work on instead of this machine (`--server`)"
    )
    key: SecretStr | None = Field(None, description="Key for that server (`--key`)")
    web_port: int = Field(8000, ge=0, le=65_535, description="Port of the HTTP API")
    web_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of the HTTP API, which share its port and divide its streams, connections and waiting "
        "users among them",
    )
    web_hosts: tuple[str, ...] = Field(
        (),
        description=(
            "Comma-separated host names of the HTTP API, such as shop.example or *.shop.example, in addition to "
            "localhost and the address that it listens on"
        ),
    )
    web_proxies: tuple[str, ...] = Field(
        (),
        description=(
            "Comma-separated addresses or networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are "
            "trusted"
        ),
    )
    web_events_seconds: float = Field(
        0.2, gt=0, le=60, description="Maximum estimated wait of events posted to the HTTP API; further ones get 429"
    )
    web_scores_waiting: int = Field(
        256, ge=1, le=65_536, description="Maximum users that wait to be scored by the HTTP API; further ones get 429"
    )
    web_score_seconds: float = Field(5.0, gt=0, le=3600, description="Maximum wait for a score by the HTTP API")
    web_requests_per_second: float = Field(
        50.0,
        ge=0,
        le=100_000,
        description="Requests per second of one key to the resources of the HTTP API, other than events and scores; "
        "further ones get 429. A burst of ten seconds' worth is allowed. 0: no limit",
    )
    web_streams: int = Field(
        64, ge=1, le=65_536, description="Maximum open streams of job progress of the HTTP API; further ones get 429"
    )
    web_connections: int = Field(256, ge=1, le=65_536, description="Maximum open connections to the HTTP API")
    web_head_seconds: float = Field(10.0, gt=0, le=3600, description="Timeout for the head of a request")
    web_body_seconds: float = Field(
        60.0, gt=0, le=3600, description="Timeout for the body of a request, and for reading a response"
    )
    web_upload_mib: int = Field(
        256, ge=1, le=1_048_576, description="Largest file that can be uploaded to the web application, in MiB"
    )
    web_upload_seconds: float = Field(600.0, gt=0, le=_DAY, description="Timeout for the body of an upload")
    flower_port: int = Field(5555, ge=0, le=65_535, description="Port of Flower on the loopback interface")
    flower_user: str = Field("segadmin", description="Flower's user")
    flower_password: SecretStr | None = Field(None, description="Flower's password; default: generated")

    @model_validator(mode="before")
    @classmethod
    def _read_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Add the variables of the environment; their names may be in lower case."""
        variables = {name.lower(): value for name, value in os.environ.items()}
        names = [name for name in cls.model_fields if f"segadmin_{name}" in variables]
        return {name: variables[f"segadmin_{name}"] for name in names} | given

    @field_validator(
        "plugins_disabled", "plugins_allowed", "plugin_files", "trackers", "web_hosts", "web_proxies", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
            with suppress(ValueError):
                return json.loads(value)
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("umask", mode="before")
    @classmethod
    def _three_digits(cls, value: object) -> object:
        return value[1:] if value in ("0077", "0027", "0007") else value  # as printed by shells

    @field_validator("home", "store")
    @classmethod
    def _is_text(cls, value: Path | None) -> Path | None:
        if value is not None and not is_utf8(str(value)):
            raise ValueError(f"{bytes(value)!r} is not UTF-8, as names of folders must be. Choose another")
        return value

    @field_validator("web_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a host name without a port, such as shop.example")
        return tuple(name.lower() for name in value)

    @field_validator("web_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"{network!r} is not an address or a network such as 10.0.0.0/8: {error}") from None
        return value

    @field_validator("buckets")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of two, such as 16")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value:
            check_database_url(value)
        return value

    @field_validator("broker_url")
    @classmethod
    def _readable_url(cls, value: str) -> str:
        if value and (problem := url_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("user_key_secret")
    @classmethod
    def _not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and is_blank(value.get_secret_value()):
            raise ValueError("it is empty, so everybody could compute the user keys. Set a secret")
        return value

    @cached_property
    def root(self) -> Path:
        """``home`` as an absolute path."""
        return _absolute(self.home)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, whose paths follow from what is updated."""
        copied = super().model_copy(update=update, deep=deep)
        for name in [name for name, value in vars(Settings).items() if isinstance(value, cached_property)]:
            vars(copied).pop(name, None)
        return copied

    @property
    def umask_bits(self) -> int:
        """The umask as a number."""
        return int(self.umask, 8)

    @cached_property
    def store_path(self) -> Path:
        """The folder of the lake and of step outputs."""
        return _absolute(self.store or self.root / "store")

    @property
    def run_path(self) -> Path:
        """The folder of sockets, pid files and logs of the services on this machine."""
        return self.root / "run"

    @cached_property
    def sqlalchemy_url(self) -> str:
        """The database URL, SQLite under home by default."""
        return self.database_url or sqlite_url(self.root / "segadmin.db")

    @cached_property
    def database_files(self) -> tuple[Path, ...]:
        """The files of a SQLite database, whether they exist or not; empty for other databases."""
        scheme, _, file = self.sqlalchemy_url.partition(":///")
        if not scheme.startswith("sqlite") or "file:" in file:
            return ()
        path = _absolute(Path(unquote(file.partition("?")[0])))
        return tuple(path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm"))

    @property
    def embedded_broker(self) -> bool:
        """Whether the broker is the Redis that ``segadmin up`` starts."""
        return not self.broker_url

    @property
    def redis_socket(self) -> Path:
        """The unix socket of the embedded Redis; in a private temporary folder if the path of home is too long.

        Raises:
            StorageError: another user owns that folder.
        """
        path = self.run_path / "redis.sock"
        if len(str(path).encode()) <= _SOCKET_PATH_LIMIT:
            return path
        digest = blake2s(str(self.root).encode(), digest_size=6).hexdigest()
        temporary = tempfile.gettempdir()
        if len(os.fsencode(temporary)) > _SOCKET_PATH_LIMIT - len(f"/segadmin-{os.getuid()}/{digest}.sock"):
            temporary = "/tmp"  # noqa: S108  (ownership is checked)
        return private_folder(temporary) / f"{digest}.sock"

    @property
    def celery_broker_url(self) -> str:
        """The broker URL in Celery's form."""
        return self.broker_url or redis_socket_url(self.redis_socket)

    def secret(self) -> bytes:
        """Return the user-key secret.

        Raises:
            ConfigurationError: it does not exist or cannot be read.
        """
        if self.user_key_secret is not None:
            return self.user_key_secret.get_secret_value().encode()
        fix = "Restore it from a backup, or set SEGADMIN_USER_KEY_SECRET: with another secret every user is a new one."
        return read_secret_file(self.root / "user_key_secret", fix).encode()

    def create_secret(self) -> bytes:
        """Return the user-key secret; generate ``home/user_key_secret`` if there is none.

        Call this only for a new store: with another secret the same users get other keys.

        Raises:
            ConfigurationError: it cannot be read.
        """
        if self.user_key_secret is None:
            create_secret_file(self.root / "user_key_secret", self.umask_bits)
        return self.secret()

    def flower_login(self) -> str:
        """Return ``user:password`` for Flower; generate the password the first time."""
        if self.flower_password:
            return f"{self.flower_user}:{self.flower_password.get_secret_value()}"
        file = self.root / "flower_password"
        create_secret_file(file, self.umask_bits)
        fix = "Remove it, and the next start makes a new one; or set SEGADMIN_FLOWER_PASSWORD."
        return f"{self.flower_user}:{read_secret_file(file, fix)}"


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except RuntimeError:  # a folder called ~something without a user of that name
        return path.resolve()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return this process's settings, read from the environment once.

    Raises:
        InvalidSettings: ``SEGADMIN_`` variables have invalid values.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings(_problem(details) for details in error.errors()) from None


def shown(name: str, value: object) -> str:
    """Return ``SEGADMIN_NAME='value'`` for messages: secrets are masked."""
    if "SecretStr" in str(Settings.model_fields[name].annotation):
        value = "***" if value else ""
    return f"SEGADMIN_{name.upper()}={mask_url(str(value))!r}"


def _problem(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    reason = str(error.get("ctx", {}).get("error", error["msg"])).rstrip(".")
    return f"{shown(name, error['input'])}: {reason}. Change or unset SEGADMIN_{name.upper()}."
