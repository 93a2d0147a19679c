"""The page of a model card."""

from __future__ import annotations

from segadmin.models.card import ModelCard
from segadmin_api.dashboard.charts import reliability_diagram
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import render, text_of
from segadmin_api.formatting import (
    MEMBERSHIP_ADVICE,
    cascade_line,
    corrections_line,
    equal_texts_line,
    membership_line,
)


def page(card: ModelCard, *, online: bool = False, reader: Reader = ENGLISH) -> str:
    """Return the page of ``card``; if ``online``, it links to other pages."""
    diagram = reliability_diagram(card.test.calibration.bins, reader) if card.test else ""
    return render(
        "model_card.html",
        title=text_of(reader, "model %(number)s", number=card.version),
        here="/models",
        online=online,
        reader=reader,
        card=card,
        reliability=diagram,
        membership=membership_line(card.membership),
        membership_advice=MEMBERSHIP_ADVICE if card.membership and card.membership.is_high else "",
        corrections=corrections_line(card.origin.parts),
        equal_texts=equal_texts_line(card.origin.equal_texts),
        cascade=cascade_line(card.origin.cascade),
    )
