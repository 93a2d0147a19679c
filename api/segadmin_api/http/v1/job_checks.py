"""Refuses jobs and schedules to keys that may not ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from segadmin.storage.records import Job, Schedule, Scope
from segadmin_api.http.v1.routing import check_scope, scope_problem
from segadmin_api.job_scopes import ADMIN_KINDS, admin_options


def check_kind(request: Request, kind: str) -> None:
    """Refuse a kind of job that reads files and addresses of the workers, or deletes events, to all but admins."""
    if kind in ADMIN_KINDS:
        check_scope(request, Scope.ADMIN, _of_kind(kind))


def check_options(request: Request, options: Mapping[str, Any]) -> None:
    """Refuse options that let workers connect to any address, or write any file, to all but admins."""
    for name in admin_options(options):
        check_scope(request, Scope.ADMIN, _of_option(name))


def check_asked(request: Request, asked: Job | Schedule | None) -> None:
    """Refuse to run a job or a schedule again, or to replace it, to keys that may not ask for the same."""
    if asked is not None:
        check_kind(request, asked.kind)
        check_options(request, asked.options)


def kind_problem(request: Request, kind: str) -> str:
    """Return why a key may not ask for a kind of job; empty if it may."""
    return scope_problem(request, Scope.ADMIN, _of_kind(kind)) if kind in ADMIN_KINDS else ""


def option_problems(request: Request, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that a key may not set, each with the reason."""
    problems = {name: scope_problem(request, Scope.ADMIN, _of_option(name)) for name in admin_options(options)}
    return {name: problem for name, problem in problems.items() if problem}


def retry_problem(request: Request, job: Job) -> str:
    """Return why a key may not retry a job; empty if it may."""
    return kind_problem(request, job.kind) or next(iter(option_problems(request, job.options).values()), "")


def _of_kind(kind: str) -> str:
    return f"A job of the kind {kind}"


def _of_option(name: str) -> str:
    return f"The option {name}"
