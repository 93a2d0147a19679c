"""The page of a model version: its card, how it learnt, what it confuses, and the forms that change the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segadmin.models.card import ModelCard
from segadmin.models.champion_changes import ChampionChange
from segadmin.storage.records import Canary, Evaluation, ModelVersion, Step
from segadmin_api.dashboard import model_card
from segadmin_api.dashboard.assets import ECHARTS
from segadmin_api.dashboard.curves import learning_curves
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of


@dataclass(frozen=True)
class ModelView:
    """A version with what its page shows beside the card."""

    card: ModelCard
    version: ModelVersion
    tested: Evaluation | None
    steps: Sequence[Step]  #: of the job that trained it
    champion: ChampionChange | None  #: of its label set
    before: int | None  #: the champion before, to which a rollback leads
    canary: Canary | None  #: of its label set, running

    @property
    def is_champion(self) -> bool:
        """Whether the version is the champion."""
        return self.champion is not None and self.champion.version == self.version.id


@dataclass(frozen=True)
class Refused:
    """A form that could not be done: shown again, with what was written in it."""

    action: str  #: ``promote`` or ``rollback``
    problem: str
    reason: str = ""


def page(view: ModelView, reader: Reader, refused: Refused | None = None) -> str:
    """Return the page of a version."""
    confusion = view.tested.confusion if view.tested else []
    content: dict[str, object] = {"view": view, "refused": refused}
    content |= {"confusion": confusion, "heatmap": heatmap(view, confusion), **model_card.content(view.card, reader)}
    content["curves"] = [chart for step in view.steps for chart in learning_curves(step, reader)]
    title = text_of(reader, "model %(number)s", number=view.version.id)
    return served("model.html", title, "/models", reader, assets=ECHARTS, **content)


def heatmap(view: ModelView, confusion: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the data of the chart of a confusion matrix: rows are true segments."""
    segments = list(view.version.segments)
    cells = [[x, y, rows] for y, line in enumerate(confusion) for x, rows in enumerate(line)]
    return {"kind": "heatmap", "rows": segments, "columns": segments, "cells": cells}


def changed_meanwhile(change: ChampionChange | None, reader: Reader) -> str:
    """Return what a form that came too late has to say: who made which version champion, and why."""
    if change is None:
        return text_of(reader, "The champion has changed since this page was shown: there is none now. Decide again.")
    moment = reader.formats.moment(change.at)
    facts = {"version": change.version, "moment": moment, "actor": change.actor, "job": change.job}
    if not change.actor:
        return text_of(
            reader,
            "The champion has changed since this page was shown. The gate of job %(job)s made version %(version)s "
            "champion on %(moment)s. Decide again.",
            **facts,
        )
    return text_of(
        reader,
        "The champion has changed since this page was shown. %(actor)s made version %(version)s champion on "
        "%(moment)s, with the reason: %(reason)s. Decide again.",
        **facts,
        reason=change.reason or "–",
    )
