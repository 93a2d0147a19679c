"""What an answer means: its object, an error of :mod:`segadmin.errors`, or that it is to be tried again."""

from __future__ import annotations

import logging
import random
from collections.abc import Generator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from segadmin import errors
from segadmin.errors import AccessRefused, ConfigurationError, DataError, JobError, SegadminError, ServerUnavailable
from segadmin_api.client.call import Answer, Call, Done

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)
#: Times that a call is sent at most, and seconds before the second time; later pauses are twice as long each.
ATTEMPTS, FIRST_PAUSE = 5, 0.5
#: The failed time after which that is logged.
_NOTED = 2
#: Longest pause that a server may ask for, in seconds.
_LONGEST_PAUSE = 60.0
#: Status → error where the problem names none.
_BY_STATUS: dict[int, type[SegadminError]] = {
    401: AccessRefused,
    403: AccessRefused,
    409: JobError,
    413: DataError,
    422: ConfigurationError,
}
#: Status → what a server says of a route that it does not have.
_UNKNOWN_ROUTE = {404: "Not Found", 405: "Method Not Allowed"}
_CHECK = "Check --server (SEGADMIN_SERVER), the network, and that `segadmin web` runs there."
_KEY = "Give one with --key or SEGADMIN_KEY. Make it on the server: segadmin keys create NAME --role operator"


def exchange(call: Call[Answer], server: str) -> Generator[float, httpx.Response | SegadminError, Answer]:
    """Yield the seconds to wait before each time that a call is sent; take what came of it, and return the answer.

    Both clients run it: they wait, send and receive, and what an answer means is decided here.

    Raises:
        SegadminError: of the class that the server raised, if it says so.
    """
    attempt, pause = 1, 0.0
    while True:
        reply = yield pause
        response = None if isinstance(reply, SegadminError) else reply
        next_pause = pause_before_repeating(call, response, attempt)
        if next_pause is None:
            if isinstance(reply, SegadminError):
                raise reply
            return read(call, reply, server)
        if attempt == _NOTED:
            log.warning("%s is away or busy; trying again for a while", server, extra={"action": "retry"})
        attempt, pause = attempt + 1, next_pause


def read(call: Call[Answer], response: httpx.Response, server: str) -> Answer:
    """Return the object of an answer.

    Raises:
        SegadminError: of the class that the server raised, if it says so.
    """
    if not response.is_success:
        raise error_of(response, server)
    if call.answer is Done:
        return call.answer()
    if call.out is not None:
        return call.answer(path=call.out, bytes=call.out.stat().st_size)
    try:
        return call.answer.model_validate_json(response.content)
    except ValidationError:
        way = "in another way than this client expects, as a server of another version would"
        raise ServerUnavailable(f"{server} answers {call.method} {call.path} {way}. {_update(server)}") from None


def error_of(response: httpx.Response, server: str) -> SegadminError:
    """Return the error that an answer stands for."""
    try:
        problem: Any = response.json()
    except ValueError:
        problem = None
    facts = problem if isinstance(problem, dict) else {}
    detail = str(facts.get("detail") or f"{server} answered {response.status_code} {response.reason_phrase}.")
    kind = getattr(errors, str(facts.get("error")), None)
    if isinstance(kind, type) and issubclass(kind, SegadminError) and kind is not errors.InvalidSettings:
        return kind(detail)
    if response.status_code in _UNKNOWN_ROUTE and facts.get("detail", "Not Found") in _UNKNOWN_ROUTE.values():
        if "detail" not in facts:
            return ServerUnavailable(f"{server} is no segadmin server: it answered {response.status_code}. {_CHECK}")
        route = f"{response.request.method} {response.request.url.path}"
        return ServerUnavailable(
            f"{server} does not know {route}, as a server of another version would. {_update(server)}"
        )
    if response.status_code == 401:
        detail = f"{detail.rstrip('.')}. {_KEY}" if "segadmin keys" not in detail else detail
    default = ServerUnavailable if response.status_code >= 500 or response.status_code == 429 else SegadminError
    return _BY_STATUS.get(response.status_code, default)(detail)


def pause_before_repeating(call: Call[Any], response: httpx.Response | None, attempt: int) -> float | None:
    """Return the seconds after which a call is to be sent again; ``None``: its answer holds.

    Args:
        call: what was sent.
        response: the answer; ``None`` if there was none.
        attempt: how often it was sent, from 1.
    """
    refused = response is not None and response.status_code == 429  # nothing was done
    failed = response is None or response.status_code in {502, 503, 504}
    if attempt >= ATTEMPTS or not (refused or (failed and call.may_be_repeated)):
        return None
    pause: float = FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  (to spread clients in time)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return min(max(pause, float(asked)), _LONGEST_PAUSE) if asked.isdecimal() and len(asked) < 10 else pause


def unreachable(server: str, error: Exception) -> ServerUnavailable:
    """Return the error for a server that does not answer."""
    return ServerUnavailable(f"{server} does not answer: {error or type(error).__name__}. {_CHECK}")


def _update(server: str) -> str:
    """Return how to bring the client and the server to one version."""
    ours = version("segadmin")
    return f"This is segadmin {ours}; see {server}/openapi.json. Update the older one: pip install --upgrade segadmin"
