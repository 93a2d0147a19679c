"""What is to be read for a job: which windows, of which users, as which text."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from segadmin.text.recipe import Recipe, Window


class TextPlan(BaseModel):
    """What is to be read, and how."""

    model_config = ConfigDict(frozen=True)

    recipe: Recipe
    training: tuple[Window, ...] = ()  #: where labelled users are read, to train and evaluate
    scoring: Window | None = None  #: where every user is read, to be put in a segment
    copies: int = 0  #: augmented copies of each training row
    drop_events: float = 0.0  #: share of the events that a copy leaves out
    lake: dict[str, int] | None = None  #: versions of the tables as they are read, whatever is imported meanwhile
