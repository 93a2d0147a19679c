"""The configuration of Celery, which only delivers step messages. Jobs, steps and results are in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segadmin.errors import ConfigurationError
from segadmin.settings import Settings, shown

if TYPE_CHECKING:
    from celery import Celery

#: Longer than any step: Redis must not deliver a message again because its step takes long.
_VISIBILITY_SECONDS = 24 * 3600
#: A broker that does not answer in this time is down: the job is saved, and the reaper sends its messages later.
SOCKET_SECONDS = 3.0


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration for ``settings``."""
    return _signing(settings) | {
        "broker_url": settings.celery_broker_url,
        "broker_use_ssl": tls(settings) or None,
        "broker_connection_timeout": SOCKET_SECONDS,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": _VISIBILITY_SECONDS,
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": SOCKET_SECONDS,
            "priority_steps": [0, 3, 6, 9],
            "sep": ":",
            "queue_order_strategy": "priority",
        },
        # No results, retries or countdowns of Celery: each of them loses or repeats work in some ordinary fault.
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "task_default_queue": "cpu",
        "task_publish_retry": False,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": settings.steps_per_process or None,
        "worker_soft_shutdown_timeout": 5.0,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "task_track_started": True,
        "worker_consumer": "segadmin_worker.consumer:Consumer",
        # For code that holds the GIL, so that no thread of its process can enforce the limit of the step.
        "task_time_limit": settings.step_seconds + 60,
        "beat_scheduler": "segadmin_worker.schedule:SqlScheduler",
        "beat_max_loop_interval": settings.reap_seconds,
        "timezone": "UTC",
        "imports": ("segadmin_worker.tasks",),
    }


def transport_problem(settings: Settings) -> str | None:
    """Return why Celery cannot use the broker URL, or ``None``; does not connect."""
    from kombu import Connection

    fix = "Use redis://:password@host:6379/0, or unset SEGADMIN_BROKER_URL for the Redis of `segadmin up`"
    name = shown("broker_url", settings.broker_url)
    try:
        _ = Connection(settings.celery_broker_url).transport_cls
    except KeyError:
        return f"{name}: there is no such broker. {fix}."
    except ImportError as error:
        return f"{name}: its client {error.name!r} is not installed. Run: pip install {error.name}, or: {fix}."
    except (TypeError, ValueError):  # a bad query or port; not quoted, because the message may hold parts of the URL
        return f"{name}: Celery cannot read it. {fix}."
    return None


def tls(settings: Settings) -> dict[str, Any]:
    """Return the TLS options: the certificate and the host name of the broker are always verified."""
    if not settings.celery_broker_url.startswith("rediss://"):
        return {}
    options = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    return options | ({"ssl_ca_certs": str(settings.broker_ca)} if settings.broker_ca else {})


def signing_problem(settings: Settings) -> str | None:
    """Return why messages cannot be signed as configured, or ``None``."""
    if settings.signing_key is None:
        return None
    from celery import Celery

    app = Celery("segadmin-check", set_as_current=False)
    app.conf.update(_signing(settings))
    try:
        secure(app, settings)
    except ConfigurationError as error:
        return str(error)
    return None


def secure(app: Celery, settings: Settings) -> Celery:
    """Make ``app`` sign its messages and accept only signed ones, if the settings require it.

    Raises:
        ConfigurationError: a setting or a library is missing, or a key cannot be read.
    """
    if settings.signing_key is None:
        return app
    from celery.exceptions import ImproperlyConfigured, SecurityError

    try:
        app.setup_security()
    except (ImproperlyConfigured, SecurityError, OSError) as error:
        raise ConfigurationError(
            f"Messages cannot be signed: {error}. Set SEGADMIN_SIGNING_KEY, SEGADMIN_SIGNING_CERTIFICATE and "
            "SEGADMIN_SIGNING_TRUSTED to PEM files, and run: pip install 'segadmin[signing]'"
        ) from None
    return app


def _signing(settings: Settings) -> dict[str, Any]:
    if settings.signing_key is None:
        return {"task_serializer": "json", "accept_content": ["json"]}
    return {
        "task_serializer": "auth",
        "event_serializer": "auth",
        "accept_content": ["auth"],
        "security_key": str(settings.signing_key),
        "security_certificate": str(settings.signing_certificate or ""),
        "security_cert_store": settings.signing_trusted,
    }
