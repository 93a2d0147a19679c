"""Completes the OpenAPI description of the application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from segadmin_api.schemas.problems import HttpProblem

_TEMPLATE = "#/components/schemas/{model}"


def complete(app: FastAPI) -> None:
    """Add what FastAPI does not know: the objects of errors, which are in no signature."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        description = describe()
        schemas = description.setdefault("components", {}).setdefault("schemas", {})
        if HttpProblem.__name__ not in schemas:
            problem = HttpProblem.model_json_schema(ref_template=_TEMPLATE)
            schemas |= problem.pop("$defs")
            schemas[HttpProblem.__name__] = problem
        return description

    app.openapi = described  # type: ignore[method-assign]
