"""``/v1/models/canary``: versions that score a share of the users, beside the champion. A ``retrain`` starts one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Path, Query, Request

from segadmin.models import canary as engine
from segadmin.storage import records
from segadmin.storage.database import reading
from segadmin.storage.records import Scope
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.models import Canary, StopRequest
from segadmin_api.schemas.pages import Page

canaries = router("/models/canary", "models")
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of a canary.")]
_CONDITIONAL = changes(more={412: "It ended already; the answer says how."})


@canaries.get("", dependencies=[allow(Scope.VIEWER)])
def list_canaries(
    request: Request,
    pages: Pages,
    labels: Annotated[Name | None, Query(description="Only of this label set.")] = None,
    state: Annotated[records.CanaryState | None, Query(description="Only in this state.")] = None,
) -> Page[Canary]:
    """List canaries, newest first."""
    position = pages.after(int)
    before = None if position is None else position[0]
    with reading(settings_of(request)) as session:
        rows = engine.list_canaries(session, labels, state=state, before=before, limit=pages.limit + 1)
    return pages.page(rows, Canary.model_validate, lambda row: [row.id])


@canaries.get("/{number}", dependencies=[allow(Scope.VIEWER)])
def show_canary(request: Request, number: Number) -> Canary:
    """Show a canary, and the newest comparison of its version with the champion."""
    with reading(settings_of(request)) as session:
        return Canary.model_validate(engine.find_canary(session, number))


@canaries.post("/{number}/stop", dependencies=[allow(Scope.OPERATOR)], responses=_CONDITIONAL)
def stop_canary(request: Request, number: Number, wanted: Annotated[StopRequest | None, Body()] = None) -> Canary:
    """Stop a canary: from the next refresh on, the champion scores its users again."""
    reason = wanted.reason if wanted else ""
    return Canary.model_validate(engine.stop_canary(settings_of(request), None, reason, number=number))
