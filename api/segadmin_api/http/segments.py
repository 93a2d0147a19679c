"""``POST /v1/score`` and ``GET /v1/users/{user}/segment``: the segment of one user, for services."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.event_limits import LARGEST_EVENT, MOST_EVENTS
from segadmin.events.keys import candidate_keys
from segadmin.events.mapping import Mapping
from segadmin.inference.online import Scored, UserEvents, champion, score_users
from segadmin.settings import Settings
from segadmin.snapshots.lookup import SegmentLookup
from segadmin_api.http.batching import MicroBatches, TooBusy
from segadmin_api.http.bodies import encodings_of, read_body, unpack
from segadmin_api.http.events import Problem, problem_responses
from segadmin_api.http.security import require_segments_key

#: Users that are scored together.
_MOST_TOGETHER = 64
router = APIRouter(prefix="/v1", tags=["segments"])
_REFUSALS = {
    401: "The key is missing or unknown, or it does not open this.",
    404: "The user is not in the current snapshot.",
    422: "The request is not as described, or there is no such label set, model or snapshot.",
    429: "More requests are waiting than can be answered in time; `Retry-After` gives the seconds to wait.",
    503: "The answer took too long, or the model cannot be read now.",
}
_RESPONSES = problem_responses(_REFUSALS)


class ScoreRequest(BaseModel):
    """A user to be scored by the events of the request."""

    model_config = ConfigDict(extra="forbid")

    events: list[dict[str, Any]] = Field(
        max_length=MOST_EVENTS, description="The user's events, as `POST /v1/events` takes them, without `user`."
    )
    user: str | None = Field(None, min_length=1, max_length=1024, description="The shop's id of the user, if known.")
    labels: str | None = Field(None, description="Label set; needed if several have a champion.")
    as_of: AwareDatetime | None = Field(None, description="The moment to score at, with a time zone; default: now.")


class ScoreAnswer(BaseModel):
    """The segment of a user."""

    label_set: str
    model_version: int
    segment: str | None = Field(description="`null` if too little is known of the user.")
    probabilities: dict[str, float] = Field(description="By segment.")
    events: int = Field(description="Events in the model's window; the others are too old, or after `as_of`.")
    problems: list[Problem] = Field(description="Events that cannot be used.")


class SegmentAnswer(BaseModel):
    """The segment of a user in the current snapshot."""

    label_set: str
    snapshot: int
    as_of: datetime
    model_version: int
    segment: str | None = Field(description="`null` if too little is known of the user.")
    probabilities: dict[str, float] = Field(description="By segment.")


@dataclass(frozen=True)
class _Asked:
    request: ScoreRequest
    received: datetime


def batches(settings: Settings) -> MicroBatches[_Asked, ScoreAnswer]:
    """Return the queue of users to be scored."""

    def work(asked: Sequence[_Asked]) -> list[ScoreAnswer | Exception]:
        answers: dict[int, ScoreAnswer | Exception] = {}
        for labels in dict.fromkeys(each.request.labels for each in asked):
            rows = [row for row, each in enumerate(asked) if each.request.labels == labels]
            answers |= zip(rows, _score(settings, labels, [asked[row] for row in rows]), strict=True)
        return [answers[row] for row in range(len(asked))]

    return MicroBatches(work, most=_MOST_TOGETHER, waiting=settings.web_scores_waiting)


def _score(settings: Settings, labels: str | None, asked: Sequence[_Asked]) -> list[ScoreAnswer | Exception]:
    """Return the answer to each request, or its error: one that cannot be read does not fail the others."""
    try:
        version = champion(settings, labels)
        mapping = Mapping.read(settings.events_mapping)
        users = [_user(each) for each in asked]
        try:
            scored: list[Scored | Exception] = [*score_users(settings, version, users, mapping)]
        except Exception:
            scored = [_alone(settings, version, user, mapping) for user in users]
    except Exception as error:
        return [error] * len(asked)
    return [
        result
        if isinstance(result, Exception)
        else ScoreAnswer(
            label_set=version.label_set,
            model_version=version.id or 0,
            segment=result.segment,
            probabilities=result.probabilities,
            events=result.events,
            problems=[
                Problem(index=index, reason=reason, field=field, value=None) for index, reason, field in result.rejected
            ],
        )
        for result in scored
    ]


def _alone(settings: Settings, version: Any, user: UserEvents, mapping: Mapping) -> Scored | Exception:
    try:
        return score_users(settings, version, [user], mapping)[0]
    except Exception as error:
        return error


def _user(asked: _Asked) -> UserEvents:
    from segadmin.events.cells import readable
    from segadmin_plugins.sources.jsonl import frame_of, posted_records

    lines = (json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass") for event in asked.request.events)
    frame = readable(frame_of(list(posted_records(lines))))
    return UserEvents(asked.request.user or uuid.uuid4().hex, frame, asked.request.as_of or asked.received)


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
async def score(request: Request, key: Annotated[str, Depends(require_segments_key)]) -> ScoreAnswer:
    """Score a user by the events in the request: the same answer as a snapshot's for the same events.

    Nothing is stored. Requests that come at the same time are read by the model together.
    """
    state, encodings = request.app.state, encodings_of(request)
    with state.body_memory.lease() as take:
        body = await read_body(request, take)
        try:
            asked = ScoreRequest.model_validate_json(unpack(body, encodings))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise HTTPException(422, f"{where}: {first['msg']}.") from None
    if len(body) > len(asked.events) * LARGEST_EVENT + LARGEST_EVENT:
        raise HTTPException(413, f"An event may have at most {LARGEST_EVENT >> 10} KiB.")
    waiting = state.scores.result_of(_Asked(asked, datetime.now(UTC)), state.settings.web_score_seconds)
    try:
        answer: ScoreAnswer = await waiting
    except TooBusy:
        raise HTTPException(429, "Too many users are waiting to be scored. Try again.", {"Retry-After": "1"}) from None
    except TimeoutError:
        raise HTTPException(503, "Scoring took too long. Try again.", {"Retry-After": "1"}) from None
    except ConfigurationError as error:
        raise HTTPException(422, str(error)) from None
    else:
        return answer


@router.get("/users/{user}/segment", response_model=SegmentAnswer, responses=_RESPONSES)
async def segment(
    request: Request,
    user: str,
    key: Annotated[str, Depends(require_segments_key)],
    labels: Annotated[str | None, Query(description="Label set; needed if several have a snapshot.")] = None,
) -> SegmentAnswer:
    """Return the segment of a user, given as the shop's id or a pseudonym, in the current snapshot."""
    lookup: SegmentLookup = request.app.state.lookup

    def find() -> SegmentAnswer | None:
        current = lookup.find(candidate_keys(request.app.state.settings.secret(), user), labels)
        if current is None:
            return None
        facts = {"snapshot": current.snapshot_id, "as_of": current.as_of, "model_version": current.model_version_id}
        return SegmentAnswer(
            label_set=current.label_set, segment=current.segment, probabilities=current.probabilities, **facts
        )

    try:
        answer = await run_in_threadpool(find)
    except (ConfigurationError, DataError) as error:
        raise HTTPException(422, str(error)) from None
    if answer is None:
        raise HTTPException(404, "The user is not in the current snapshot.")
    return answer
