"""The policy that selects the source of a user's probabilities by length of history."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Answer = Literal["prior", "model"]


class Policy(BaseModel):
    """The source of the probabilities by history length; see :mod:`segadmin.evaluation.abstention`."""

    model_config = ConfigDict(frozen=True)

    prior: tuple[float, ...] = ()  #: smoothed fraction of the training rows in each segment
    answers: tuple[Answer, ...] = ()  #: by history length
