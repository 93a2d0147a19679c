"""``POST /v1/score`` and ``GET /v1/users/{user}/segment``: the segment of one user, for services."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.exact_json import decode, encode
from segadmin.events.keys import candidate_keys
from segadmin.events.mapping import Mapping
from segadmin.inference.live_items import LiveItems
from segadmin.inference.live_models import LiveModel, LiveModels, ModelIsLoading
from segadmin.inference.online import Scored, UserEvents, score_users
from segadmin.settings import Settings
from segadmin.snapshots.lookup import SegmentLookup
from segadmin.storage import api_keys
from segadmin.storage.records import ModelVersion, Scope
from segadmin_api.http.batching import MicroBatches, TooBusy
from segadmin_api.http.bodies import encodings_of, read_body, unpack
from segadmin_api.http.problems import problem_responses
from segadmin_api.http.security import Requires
from segadmin_api.http.threads import ServiceThreads
from segadmin_api.schemas.services import Problem, ScoreAnswer, SegmentAnswer

#: Users that are scored together.
_MOST_TOGETHER = 64
#: Events of a user, and bytes of the body with them: what takes longer holds up the users of other requests.
_MOST_EVENTS, _MOST_BYTES = 5_000, 2 * 2**20
#: Years of the moment to score at, far enough from the ends of the calendar for any window.
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
#: Seconds between looks at whether a model is loaded, and at whether another version was promoted.
_POLL, _LOOK = 0.1, 10.0
log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["segments"])
_REFUSALS = {
    401: "The key is missing, unknown or expired.",
    403: "The key does not give access to this.",
    404: "The user is not in the current snapshot.",
    413: f"The body is larger than {_MOST_BYTES >> 20} MiB.",
    422: "The request is not as described, or there is no such label set, model or snapshot.",
    429: "More requests are waiting than can be answered in time; `Retry-After` gives the seconds to wait.",
    503: "The answer took too long, or the model cannot be read now.",
}
_RESPONSES = problem_responses(_REFUSALS)


class ScoreRequest(BaseModel):
    """A user to be scored by the events of the request."""

    model_config = ConfigDict(extra="forbid")

    events: list[dict[str, Any]] = Field(
        max_length=_MOST_EVENTS, description="The user's events, as `POST /v1/events` takes them, without `user`."
    )
    user: str | None = Field(None, min_length=1, max_length=1024, description="The shop's id of the user, if known.")
    labels: str | None = Field(None, max_length=200, description="Label set; needed if several have a champion.")
    as_of: AwareDatetime | None = Field(None, description="The moment to score at, with a time zone; default: now.")

    @field_validator("as_of")
    @classmethod
    def _in_reach(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            raise ValueError(f"the year {moment.year} is not between {_FIRST_YEAR} and {_LAST_YEAR}")
        return None if moment is None else moment.astimezone(UTC)


@dataclass(frozen=True)
class _Asked:
    """A user to be scored, read from a request."""

    user: str
    events: pl.DataFrame
    labels: str | None
    as_of: datetime | None
    is_named: bool  #: whether the request names the user


class Scoring:
    """Scores the users of requests, together where they come at the same time."""

    def __init__(self, settings: Settings, *, waiting: int) -> None:
        """Begin without requests.

        Args:
            settings: of the server.
            waiting: users that may wait to be scored.
        """
        self._settings = settings
        self._models, self._items = LiveModels(settings), LiveItems(settings)
        self.batches: MicroBatches[_Asked, ScoreAnswer] = MicroBatches(
            self._answers, most=_MOST_TOGETHER, waiting=waiting
        )

    async def answer(self, asked: _Asked) -> ScoreAnswer:
        """Return the answer to a request; wait for a model that is being loaded.

        Raises:
            TooBusy: too many requests are waiting.
            ModelIsLoading: the model is not loaded within the time limit.
            TimeoutError: it took longer than the time limit.
        """
        seconds, began = self._settings.web_score_seconds, time.monotonic()
        while True:
            left = seconds - (time.monotonic() - began)
            try:
                return await self.batches.result_of(asked, left)
            except ModelIsLoading:
                if left <= _POLL:
                    raise
                await asyncio.sleep(_POLL)

    async def run(self) -> None:
        """Answer until it is cancelled, and load champions before they are asked for."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.batches.run())
            tasks.create_task(self._keep_warm())

    async def _keep_warm(self) -> None:
        while True:
            try:
                await run_in_threadpool(self.warm_up)
            except Exception:  # the database, say; requests report it
                log.warning("the champions were not looked up", exc_info=True, extra={"action": "warm-up"})
            await asyncio.sleep(_LOOK)

    def warm_up(self) -> None:
        """Begin to load the champions, if there is a key of a service that scores users.

        Keys of roles may score, too, but most only read: what is stored needs no model, which takes much memory.
        """
        if any(key.opens == Scope.SEGMENTS and not key.has_expired for key in api_keys.keys(self._settings)):
            self._models.warm_up()

    def _answers(self, asked: Sequence[_Asked]) -> list[ScoreAnswer | Exception]:
        now = datetime.now(UTC)  # one moment for all, so that they are read together
        answers: dict[int, ScoreAnswer | Exception] = {}
        by_model: dict[int, tuple[LiveModel, list[int]]] = {}
        for row, each in enumerate(asked):
            try:
                model = self._models.find(each.labels, self._key(each))
            except Exception as error:
                answers[row] = error
            else:
                by_model.setdefault(model.version.id or 0, (model, []))[1].append(row)
        for model, rows in by_model.values():
            users = [UserEvents(asked[row].user, asked[row].events, asked[row].as_of or now) for row in rows]
            answers |= zip(rows, self._answers_of_one_model(model, users), strict=True)
        return [answers[row] for row in range(len(asked))]

    def _key(self, asked: _Asked) -> int | None:
        """Return the key of a user, which decides on the model while a canary is running."""
        if not asked.is_named:
            return None
        try:
            return candidate_keys(self._settings.secret(), asked.user)[0]
        except DataError:  # it is no id, which the answer says
            return None

    def _answers_of_one_model(self, model: LiveModel, users: list[UserEvents]) -> list[ScoreAnswer | Exception]:
        try:
            mapping = Mapping.read(self._settings.events_mapping)
        except Exception as error:
            return [error] * len(users)
        score = partial(score_users, self._settings, model, self._items, mapping=mapping)
        return [
            result if isinstance(result, Exception) else _answer(result, model.version)
            for result in _scored(score, users)
        ]


def _scored(score: Callable[[list[UserEvents]], list[Scored]], users: list[UserEvents]) -> list[Scored | Exception]:
    """Return the result or the error of each user: one that cannot be read does not fail the others."""
    try:
        return [*score(users)]
    except Exception as error:
        if len(users) == 1:
            return [error]
        half = len(users) // 2
        return [*_scored(score, users[:half]), *_scored(score, users[half:])]


def _answer(scored: Scored, version: ModelVersion) -> ScoreAnswer | Exception:
    if any(problem.field == "user" for problem in scored.rejected):
        return ConfigurationError("user: it is no id, but a word or a sign for a missing one. Leave it out.")
    return ScoreAnswer(
        label_set=version.label_set,
        model_version=version.id or 0,
        segment=scored.segment,
        probabilities=scored.probabilities,
        events=scored.events,
        problems=[Problem.of(*problem) for problem in scored.rejected],
        corrected=scored.corrected,
    )


def _read(body: bytes, encodings: list[str]) -> _Asked:
    """Return what a body asks for; numbers of events keep their notation, as those of ``POST /v1/events`` do.

    Raises:
        HTTPException: 413 if it is too large; 400 if it cannot be decompressed; 422 if it is not as described.
    """
    from segadmin.events.cells import readable
    from segadmin_plugins.sources.jsonl import frame_of, posted_records

    try:
        request = ScoreRequest.model_validate(decode(unpack(body, encodings, _MOST_BYTES).decode()))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise HTTPException(422, f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"the body: Invalid JSON: {error}.") from None
    try:
        lines = [encode(event).encode() for event in request.events]
    except UnicodeEncodeError:
        raise HTTPException(422, "events: there is half of a surrogate pair in a text, which is not Unicode.") from None
    frame = readable(frame_of(list(posted_records(iter(lines)))))
    return _Asked(
        request.user or uuid.uuid4().hex, frame, request.labels, request.as_of, is_named=request.user is not None
    )


@router.post(
    "/score",
    response_model=ScoreAnswer,
    responses=_RESPONSES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ScoreRequest.model_json_schema()}},
        },
    },
)
async def score(request: Request, key: Annotated[str, Depends(Requires(Scope.SEGMENTS))]) -> ScoreAnswer:
    """Score a user by the events in the request: the same answer as a snapshot's for the same events.

    Nothing is stored. Requests that come at the same time are read by the model together.
    """
    state, encodings = request.app.state, encodings_of(request)
    with state.body_memory.lease() as take:
        body = await read_body(request, take)
        async with state.reading:
            asked = await state.threads.run(_read, body, encodings)
    scoring: Scoring = state.scoring
    try:
        answer = await scoring.answer(asked)
    except TooBusy:
        raise HTTPException(429, "Too many users are waiting to be scored. Try again.", {"Retry-After": "1"}) from None
    except ModelIsLoading as error:
        raise HTTPException(503, str(error), {"Retry-After": "5"}) from None
    except TimeoutError:
        raise HTTPException(503, "Scoring took too long. Try again.", {"Retry-After": "1"}) from None
    except ConfigurationError as error:
        raise HTTPException(422, str(error)) from None
    else:
        return answer


@router.get("/users/{user:path}/segment", response_model=SegmentAnswer, responses=_RESPONSES)
async def segment(
    request: Request,
    user: str,
    key: Annotated[str, Depends(Requires(Scope.SEGMENTS))],
    labels: Annotated[str | None, Query(description="Label set; needed if several have a snapshot.")] = None,
) -> SegmentAnswer:
    """Return the segment of a user, given as the shop's id or a pseudonym, in the current snapshot."""
    lookup: SegmentLookup = request.app.state.lookup
    threads: ServiceThreads = request.app.state.threads

    def find() -> SegmentAnswer | None:
        current = lookup.find(candidate_keys(request.app.state.settings.secret(), user), labels)
        if current is None:
            return None
        facts = {"snapshot": current.snapshot_id, "as_of": current.as_of, "model_version": current.model_version_id}
        facts |= {"probabilities": current.probabilities, "corrected": current.corrected}
        return SegmentAnswer(label_set=current.label_set, segment=current.segment, **facts)

    try:
        answer = await threads.run(find)
    except (ConfigurationError, DataError) as error:
        raise HTTPException(422, str(error)) from None
    if answer is None:
        raise HTTPException(404, "The user is not in the current snapshot.")
    return answer
