"""Completes the OpenAPI description of the application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from segadmin.jobs.registry import workflows
from segadmin_api.schemas.problems import HttpProblem

_TEMPLATE = "#/components/schemas/{model}"


def complete(app: FastAPI) -> None:
    """Add what FastAPI does not know: the objects of errors, and the options of each kind of job."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        description = describe()
        schemas = description.setdefault("components", {}).setdefault("schemas", {})
        if HttpProblem.__name__ not in schemas:
            problem = HttpProblem.model_json_schema(ref_template=_TEMPLATE)
            schemas |= problem.pop("$defs")
            schemas[HttpProblem.__name__] = problem
            _add_options(schemas)
        return description

    app.openapi = described  # type: ignore[method-assign]


def _add_options(schemas: dict[str, Any]) -> None:
    """Describe the options of jobs by the request models of their kinds, as the command line does."""
    references = []
    for kind, workflow in sorted(workflows().items()):
        options = workflow.request.model_json_schema(ref_template=_TEMPLATE)
        for name, schema in options.pop("$defs", {}).items():
            schemas.setdefault(name, schema)
        schemas[f"{kind}.options"] = options
        references.append({"$ref": _TEMPLATE.format(model=f"{kind}.options")})
    for request in ("JobRequest", "ScheduleRequest"):
        field = schemas[request]["properties"]["options"]
        field.pop("additionalProperties", None)
        field.pop("type", None)
        field["anyOf"] = references
