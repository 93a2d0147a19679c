"""Answers that notebooks show as tables with pictures."""

from __future__ import annotations

import importlib

from pydantic import BaseModel


class InNotebooks(BaseModel):
    """An answer that shows itself in notebooks; see :mod:`segadmin_api.notebook`."""

    def _repr_html_(self) -> str:
        # By name: clients must not need templates, and notebooks know the answers.
        html: str = importlib.import_module("segadmin_api.notebook").html_of(self)
        return html
