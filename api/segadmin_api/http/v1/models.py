"""``/v1/models``: model versions, and which of them is champion."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Body, Path, Query, Request, Response
from sqlmodel import Session

from segadmin.models import registry
from segadmin.models.aliases import champion, pointed
from segadmin.models.card import ModelCard, card_of
from segadmin.models.versions import VersionLine, evaluations_of, find_version, list_lines
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import ModelState, Scope
from segadmin.urls import mask_secrets
from segadmin.workflows.follow_promotion import complete
from segadmin_api.http.v1.etags import IfMatch, champion_etag, expected_champion
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.models import (
    Comparison,
    Evaluation,
    ModelDetails,
    ModelVersion,
    Promotion,
    PromotionRequest,
    RollbackRequest,
)
from segadmin_api.schemas.pages import Page
from segadmin_worker.client import dispatcher

models = router("/models", "models")
Version = Annotated[str, Path(max_length=200, description="The number of a version, or `champion`.")]
Labels = Annotated[Name | None, Query(description="The label set of a `champion`; needed if several have one.")]
_CONDITIONAL = changes(more={412: "Another version is champion than `If-Match` says.", 428: "`If-Match` is missing."})


@models.get("", dependencies=[allow(Scope.VIEWER)])
def list_models(
    request: Request,
    pages: Pages,
    labels: Annotated[Name | None, Query(description="Only of this label set.")] = None,
    state: Annotated[ModelState | None, Query(description="Only in this state.")] = None,
) -> Page[ModelVersion]:
    """List model versions, newest first."""
    position = pages.after(int)
    before = None if position is None else position[0]
    lines = list_lines(settings_of(request), labels, state=state, before=before, limit=pages.limit + 1)
    return pages.page(lines, lambda line: ModelVersion(**_facts(line)), lambda line: [line.version.id])


@models.post("/rollback", dependencies=[allow(Scope.OPERATOR)], responses=_CONDITIONAL)
def rollback(
    request: Request, if_match: IfMatch = None, wanted: Annotated[RollbackRequest | None, Body()] = None
) -> Promotion:
    """Make the champion before this one champion again, and its newest snapshot current."""
    wanted = wanted or RollbackRequest()
    expected = expected_champion(if_match, registry.ANY)
    changed = registry.roll_back_champion(settings_of(request), wanted.labels, wanted.reason, expected=expected)
    return _completed(settings_of(request), changed)


@models.get("/{version}", dependencies=[allow(Scope.VIEWER)])
def show_model(request: Request, response: Response, version: Version, labels: Labels = None) -> ModelDetails:
    """Show a model version. Its `ETag` changes when another version becomes champion of its label set."""
    with reading(settings_of(request)) as session:
        line, current = _find(session, version, labels)
    response.headers["ETag"] = champion_etag(current)
    return ModelDetails(**_facts(line), champion=current)


@models.get("/{version}/card", dependencies=[allow(Scope.VIEWER)])
def show_card(request: Request, version: Version, labels: Labels = None) -> ModelCard:
    """Show the data of the model card: origin, metrics with confidence intervals, and limitations."""
    return card_of(settings_of(request), version, labels)


@models.get("/{version}/compare", dependencies=[allow(Scope.VIEWER)])
def compare(
    request: Request,
    version: Version,
    other: Annotated[str, Query(max_length=200)] = "champion",
    labels: Labels = None,
) -> Comparison:
    """Compare two versions on their common test rows, with a 95 % bootstrap interval over users."""
    settings = settings_of(request)
    compared = registry.compare_versions(settings, version, other, labels)
    with reading(settings) as session:
        first = find_version(session, version, labels)
        second = find_version(session, other, labels or first.label_set)
    facts = asdict(compared)
    return Comparison(
        one=first.id or 0,
        other=second.id or 0,
        one_auroc=facts.pop("one"),
        other_auroc=facts.pop("other"),
        lead=compared.lead.value,
        low=compared.lead.low,
        high=compared.lead.high,
        **{name: facts[name] for name in ("rows", "users", "erased")},
    )


@models.post("/{version}/promote", dependencies=[allow(Scope.OPERATOR)], responses=_CONDITIONAL)
def promote(
    request: Request,
    version: Annotated[str, Path(max_length=200, description="The number of a version.")],
    if_match: IfMatch = None,
    wanted: Annotated[PromotionRequest | None, Body()] = None,
) -> Promotion:
    """Make a version champion regardless of the gate, and its newest snapshot current."""
    expected = expected_champion(if_match, registry.ANY)
    reason = wanted.reason if wanted else ""
    changed = registry.promote_version(settings_of(request), version, reason, expected=expected)
    return _completed(settings_of(request), changed)


def _completed(settings: Settings, changed: registry.Promotion) -> Promotion:
    """Do what follows a change of the champion, and return both."""
    followed = complete(settings, changed, dispatcher(settings))
    feed = {"records": followed.records, "deliveries": list(followed.deliveries)}
    facts = (
        asdict(changed) | feed | {"corrected_snapshot": followed.corrected, "trouble": mask_secrets(followed.trouble)}
    )
    return Promotion.model_validate(facts)


def _find(session: Session, version: str, labels: str | None) -> tuple[VersionLine, int | None]:
    """Return a version, and the champion of its label set."""
    model = find_version(session, version, labels)
    return VersionLine(model, evaluations_of(session, model)), pointed(session, champion(model.label_set))


def _facts(line: VersionLine) -> dict[str, Any]:
    evaluations = [Evaluation.model_validate(row) for row in line.evaluations]
    more = {"name": line.name, "evaluations": evaluations, "canary": line.canary}
    return line.version.model_dump() | more
