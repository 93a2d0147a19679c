"""Calls about model versions, the champion and canaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segadmin.storage.records import CanaryState
from segadmin_api.client.call import Call, part
from segadmin_api.schemas.models import Canary, Comparison, ModelDetails, ModelVersion, Promotion
from segadmin_api.schemas.pages import Page

if TYPE_CHECKING:
    from segadmin.models.card import ModelCard

#: Any champion may be replaced.
ANY = -1


def list_models(*, labels: str | None = None, limit: int = 50, cursor: str | None = None) -> Call[Page[ModelVersion]]:
    """Return a page of model versions, newest first."""
    return Call("GET", "/v1/models", Page[ModelVersion], {"labels": labels, "limit": limit, "cursor": cursor})


def show_model(version: int | str = "champion", *, labels: str | None = None) -> Call[ModelDetails]:
    """Return a model version: its number, or ``champion`` (of ``labels``)."""
    return Call("GET", f"/v1/models/{part(version)}", ModelDetails, {"labels": labels})


def compare_models(version: int | str, other: int | str = "champion", *, labels: str | None = None) -> Call[Comparison]:
    """Compare two versions on their common test rows."""
    query = {"other": other, "labels": labels}
    return Call("GET", f"/v1/models/{part(version)}/compare", Comparison, query)


def promote_model(version: int | str, *, champion: int | None, reason: str = "") -> Call[Promotion]:
    """Make a version champion, if ``champion`` still is (``None``: if there is none; :data:`ANY`: whichever is).

    Raises :class:`segadmin.errors.Stale` if another version is champion by now.
    """
    body, headers = {"reason": reason}, _if_champion(champion)
    return Call("POST", f"/v1/models/{part(version)}/promote", Promotion, body=body, headers=headers)


def roll_back_model(*, champion: int, labels: str | None = None, reason: str = "") -> Call[Promotion]:
    """Make the champion before ``champion`` champion again, if that still is (:data:`ANY`: whichever is)."""
    body, headers = {"labels": labels, "reason": reason}, _if_champion(champion)
    return Call("POST", "/v1/models/rollback", Promotion, body=body, headers=headers)


def list_canaries(
    *, labels: str | None = None, state: CanaryState | str | None = None, limit: int = 50, cursor: str | None = None
) -> Call[Page[Canary]]:
    """Return a page of canaries, newest first."""
    query = {"labels": labels, "state": state and str(state), "limit": limit, "cursor": cursor}
    return Call("GET", "/v1/models/canary", Page[Canary], query)


def show_canary(number: int) -> Call[Canary]:
    """Return a canary with its newest comparison."""
    return Call("GET", f"/v1/models/canary/{number}", Canary)


def stop_canary(number: int, *, reason: str = "") -> Call[Canary]:
    """Stop a canary; the champion scores its users again from the next refresh on."""
    return Call("POST", f"/v1/models/canary/{number}/stop", Canary, body={"reason": reason})


def _if_champion(champion: int | None) -> dict[str, str]:
    if champion == ANY:
        return {"If-Match": "*"}
    return {"If-Match": f'"champion-{"none" if champion is None else champion}"'}


def show_model_card(version: int | str = "champion", *, labels: str | None = None) -> Call[ModelCard]:
    """Return the data of the model card: origin, metrics with confidence intervals, and limitations."""
    from segadmin.models.card import ModelCard  # not above: it imports Polars

    return Call("GET", f"/v1/models/{part(version)}/card", ModelCard, {"labels": labels})
