"""What is fitted on validation besides the temperature: the source of probabilities, and the margins of hysteresis."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Answer = Literal["prior", "model"]


class Policy(BaseModel):
    """The source of the probabilities by history length; see :mod:`segadmin.evaluation.abstention`."""

    model_config = ConfigDict(frozen=True)

    prior: tuple[float, ...] = ()  #: smoothed fraction of the training rows in each segment
    answers: tuple[Answer, ...] = ()  #: by history length


class Hysteresis(BaseModel):
    """By how much a segment must lead a user's present one; see :mod:`segadmin.evaluation.hysteresis`."""

    model_config = ConfigDict(frozen=True)

    margins: tuple[Annotated[float, Field(ge=0, le=1)], ...]  #: by segment
    rows: int = 0  #: validation rows that they were chosen on
    macro_f1: float = 0.0  #: on these rows, without hysteresis
    macro_f1_held: float = 0.0  #: if every user came from the second most probable segment, with these margins
