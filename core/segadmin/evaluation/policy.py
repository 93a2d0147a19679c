"""Whose probabilities a user gets, decided on validation rows by how long a history is."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Answer = Literal["prior", "model"]


class Policy(BaseModel):
    """Whose probabilities are given, by history length: see :mod:`segadmin.evaluation.abstention`."""

    model_config = ConfigDict(frozen=True)

    prior: tuple[float, ...] = ()  #: how common each segment is
    answers: tuple[Answer, ...] = ()  #: of each history length
