"""What an answer means: its object, an error of :mod:`segadmin.errors`, or that it is to be tried again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from segadmin import errors
from segadmin.errors import AccessRefused, ConfigurationError, JobError, SegadminError, ServerUnavailable
from segadmin_api.client.calls import Answer, Call

if TYPE_CHECKING:
    import httpx

#: Times that a call is sent at most, and seconds before the second time; later pauses are twice as long each.
ATTEMPTS, FIRST_PAUSE = 5, 0.5
#: Longest pause that a server may ask for, in seconds.
_LONGEST_PAUSE = 60.0
#: Status → error where the problem names none.
_BY_STATUS: dict[int, type[SegadminError]] = {
    401: AccessRefused,
    403: AccessRefused,
    409: JobError,
    422: ConfigurationError,
}


def read(call: Call[Answer], response: httpx.Response) -> Answer:
    """Return the object of an answer.

    Raises:
        SegadminError: of the class that the server raised, if it says so.
    """
    if response.is_success:
        return call.answer.model_validate_json(response.content)
    raise error_of(response)


def error_of(response: httpx.Response) -> SegadminError:
    """Return the error that an answer stands for."""
    try:
        problem: Any = response.json()
    except ValueError:
        problem = {}
    facts = problem if isinstance(problem, dict) else {}
    detail = str(facts.get("detail") or f"The server answered {response.status_code} {response.reason_phrase}.")
    kind = getattr(errors, str(facts.get("error")), None)
    if isinstance(kind, type) and issubclass(kind, SegadminError) and kind is not errors.InvalidSettings:
        return kind(detail)
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


def unreachable(url: str, error: Exception) -> ServerUnavailable:
    """Return the error for a server that does not answer."""
    return ServerUnavailable(f"{url} does not answer: {error or type(error).__name__}. Check --server and the network.")
