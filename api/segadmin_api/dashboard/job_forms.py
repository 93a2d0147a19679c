"""The pages on which jobs are asked for: the kinds, and the form of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from segadmin.jobs.estimate import Estimate
from segadmin.jobs.registry import Workflow
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import name_of, sentence_of, served, text_of
from segadmin_api.estimates import estimate_sentences
from segadmin_api.request_forms import FormField, form_of, split_fields


@dataclass(frozen=True)
class NewJob:
    """A form as it is filled, and what is known about it."""

    workflow: Workflow
    fields: Sequence[FormField]
    key: str  #: of idempotency: whatever sends this form again gets the same job
    priority: str = "5"
    problem: str = ""  #: with the form as a whole
    earlier: int | None = None  #: the job that was asked for by this form before
    cost: Estimate | None = None
    suggestions: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: field → values that there are


def kinds_page(kinds: Sequence[tuple[Workflow, bool]], reader: Reader = ENGLISH) -> str:
    """Return the page of the kinds of jobs, each with whether the reader may ask for it."""
    return served("new_jobs.html", text_of(reader, "enqueue a job"), "/jobs", reader, kinds=kinds)


def form_page(new: NewJob, reader: Reader = ENGLISH) -> str:
    """Return the form of a kind of job."""
    new = replace(new, fields=[replace(each, error=message_text(reader.language, each.error)) for each in new.fields])
    initial = {each.name: each.value for each in form_of(new.workflow.request)}
    lines = [] if new.cost is None else [sentence_of(reader, line) for line in estimate_sentences(new.cost)]
    return served(
        "new_job.html",
        text_of(reader, "new job: %(kind)s", kind=name_of(reader, new.workflow.kind, "job")),
        "/jobs",
        reader,
        new=new,
        kind=new.workflow.kind,
        summary=new.workflow.summary,
        groups=split_fields(new.fields),
        wrong=[each for each in new.fields if each.error],
        is_open=any(not each.common and (each.error or each.value != initial.get(each.name)) for each in new.fields),
        estimate=lines,
    )
