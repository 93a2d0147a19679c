"""The plan of a job's textualization: windows, users and recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from segadmin.text.recipe import Recipe, Window


class OutcomePlan(BaseModel):
    """What is read of the time after earlier cut-offs: what models of unlabelled users learn to predict."""

    model_config = ConfigDict(frozen=True)

    recipe: Recipe  #: its features, of the time after, are the outcomes
    windows: tuple[Window, ...]  #: each begins at a cut-off and ends before the first test row


class TextPlan(BaseModel):
    """The windows to textualize, and how."""

    model_config = ConfigDict(frozen=True)

    recipe: Recipe
    training: tuple[Window, ...] = ()  #: windows of labelled users, for training and evaluation
    scoring: Window | None = None  #: window of all users, for scoring
    outcomes: OutcomePlan | None = None  #: of unlabelled users, for backbones that use them
    copies: int = 0  #: augmented copies of each training row
    drop_events: float = 0.0  #: fraction of the events that a copy omits
    lake: dict[str, int] | None = None  #: table versions to read, so that later imports do not change the texts
