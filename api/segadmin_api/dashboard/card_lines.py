"""Sentences of a model card in the language of the reader."""

from __future__ import annotations

from segadmin.evaluation.bootstrap import LEAST_USERS
from segadmin.evaluation.membership import MembershipAttack
from segadmin.labels.parts import EqualTexts, Part
from segadmin.models.card import Cascade, ModelCard
from segadmin_api import formatting
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of


def card_lines(card: ModelCard, reader: Reader) -> dict[str, str]:
    """Return the sentences of a card by their name in the template; those that do not apply are empty."""
    origin = card.origin
    if reader.language == "en":  # with singular and plural
        return {
            "membership": formatting.membership_line(card.membership),
            "corrections": formatting.corrections_line(origin.parts),
            "equal_texts": formatting.equal_texts_line(origin.equal_texts),
            "cascade": formatting.cascade_line(origin.cascade),
        }
    return {
        "membership": _membership(card.membership, reader),
        "corrections": _corrections(origin.parts.get(Part.CORRECTED, 0), reader),
        "equal_texts": _equal_texts(origin.equal_texts, reader),
        "cascade": _cascade(origin.cascade, reader),
    }


def _membership(attack: MembershipAttack | None, reader: Reader) -> str:
    if attack is None:
        return ""
    rows = {"trained": f"{attack.trained:,}", "held_out": f"{attack.held_out:,}", "part": text_of(reader, attack.part)}
    value, low, high = attack.auc.value, attack.auc.low, attack.auc.high
    if low is None or high is None:
        return text_of(
            reader,
            "AUC %(value)s (%(trained)s training rows, %(held_out)s %(part)s rows; an interval needs %(users)s users "
            "of each)",
            value=f"{value:.4f}",
            users=LEAST_USERS,
            **rows,
        )
    return text_of(
        reader,
        "AUC %(value)s %(interval)s (95 %%; %(trained)s training rows, %(held_out)s %(part)s rows)",
        value=f"{value:.4f}",
        interval=f"[{low:.4f}, {high:.4f}]",
        **rows,
    )


def _corrections(rows: int, reader: Reader) -> str:
    if not rows:
        return ""
    return text_of(
        reader, "%(rows)s training rows by people; no corrected user is in validation or test", rows=f"{rows:,}"
    )


def _equal_texts(counts: EqualTexts | None, reader: Reader) -> str:
    if counts is None:
        return ""
    if not counts.texts and not counts.common_texts:
        return text_of(reader, "none: no two users have the same text")
    numbers = {name: f"{value:,}" for name, value in vars(counts).items() if isinstance(value, int)}
    parts = [
        text_of(
            reader,
            "%(texts)s texts of several users in %(rows)s rows; %(left_out)s rows left out because another part has "
            "the text",
            **numbers,
        )
    ]
    if counts.repeated:
        parts.append(
            text_of(reader, "%(repeated)s test rows repeat the text of another user's training row", **numbers)
        )
    if counts.common_texts:
        parts.append(text_of(reader, "%(common_texts)s common texts in %(common_rows)s rows not separated", **numbers))
    return text_of(reader, "; ").join(parts)


def _cascade(cascade: Cascade | None, reader: Reader) -> str:
    if cascade is None:
        return ""
    return text_of(
        reader,
        "fast models decide from a probability of %(threshold)s; the language model reads %(share)s of the validation "
        "users",
        threshold=f"{cascade.threshold:.3f}",
        share=f"{cascade.language_model_fraction:.1%}",
    )
