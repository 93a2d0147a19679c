"""The page of a model card."""

from __future__ import annotations

from typing import Any

from segadmin.models.card import ModelCard
from segadmin_api.dashboard.card_lines import card_lines
from segadmin_api.dashboard.charts import reliability_diagram
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import render, text_of
from segadmin_api.formatting import MEMBERSHIP_ADVICE


def page(card: ModelCard, *, reader: Reader = ENGLISH) -> str:
    """Return the page of ``card`` as one file; :mod:`segadmin_api.dashboard.model` has the one with forms."""
    title = text_of(reader, "model %(number)s", number=card.version)
    return render("model_card.html", title=title, here="/models", reader=reader, **content(card, reader))


def content(card: ModelCard, reader: Reader = ENGLISH) -> dict[str, Any]:
    """Return the values of the template of a card."""
    diagram = reliability_diagram(card.test.calibration.bins, reader) if card.test else ""
    return {
        "card": card,
        "reliability": diagram,
        "membership_advice": MEMBERSHIP_ADVICE if card.membership and card.membership.is_high else "",
        **card_lines(card, reader),
    }
