"""What became of a job, and what it waits for, in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

from segadmin.contracts.option_text import option_text
from segadmin.jobs.control import JobLine, JobView
from segadmin.storage.records import CanaryState, Job
from segadmin.text.coverage import coverage
from segadmin.urls import mask_url
from segadmin_api.sentences import Sentence, counted_sentence, sentence

Result = Mapping[str, Any]
#: What jobs hold while they change it.
LOCKED = ("model", "snapshot", "feed", "champion")


def waits_sentence(line: JobLine) -> Sentence | None:
    """Return which other job blocks this one, if any."""
    if line.waits_for is None:
        return None
    what, _, labels = line.waits_for.name.partition(":")
    return sentence(
        "waits for job %(job)s, which is changing the %(what)s of %(labels)s",
        job=line.waits_for.job_id,
        what=Sentence(what, {}),
        labels=repr(labels),
    )


def job_subject(job: Job) -> list[Sentence | str]:
    """Return what distinguishes a job from others of its kind: the model and the labels, the file or the snapshot."""
    options = job.options
    if job.kind == "export":
        return list(_export_subject(options))
    if job.kind in {"ingest", "import-upload"}:
        where = mask_url(str(options.get("where") or options.get("name") or ""))
        names = [options.get("table"), where if "://" in where else PurePath(where).name, options.get("label_set")]
    else:
        model = options.get("backbone_options", {}).get("model") or options.get("backbone") or options.get("model")
        names = [model, options.get("textualizer"), options.get("labels")]
    return [str(name) for name in names if name]


def _export_subject(options: Mapping[str, Any]) -> Iterator[Sentence | str]:
    yield sentence("snapshot %(number)s", number=options["snapshot"])
    if options.get("segment"):
        yield str(options["segment"])
    if options.get("moved_since"):
        yield sentence("who moved since snapshot %(number)s", number=options["moved_since"])
        if options.get("before") or options.get("after"):
            yield f"{options.get('before') or '*'} → {options.get('after') or '*'}"


def result_sentences(view: JobView) -> list[Sentence]:
    """Return the results of a job that succeeded, with the next command."""
    lines = [line for step in view.steps for line in _RESULTS.get(step.stage, _nothing)(step.result)]
    if view.job.kind == "textualize" and (text := coverage(view.steps)):
        lines.append(Sentence("%(text)s", {"text": text}))
    if view.job.has_warning:
        lines.append(
            sentence(
                "Warning: %(problem)s – the rest is done. Try it again: segadmin jobs retry %(job)s",
                problem=view.job.error,
                job=view.job.id,
            )
        )
    return lines


def _nothing(_: Result) -> Iterator[Sentence]:
    yield from ()


def _gate(result: Result) -> Iterator[Sentence]:
    if "promoted" not in result:
        return
    values = {"version": result["model_version_id"], "reason": result["reason"]}
    if result.get("canary"):
        yield sentence("Version %(version)s is a canary: %(reason)s.", **values)
        yield sentence("How it does beside the champion: segadmin models canary show")
    elif result["promoted"]:
        yield sentence("Version %(version)s is champion: %(reason)s.", **values)
    else:
        yield sentence("Version %(version)s stays a challenger: %(reason)s.", **values)


def _scored(result: Result) -> Iterator[Sentence]:
    if result.get("canary_failure"):
        yield sentence("The champion scored users of the canary too: %(failure)s", failure=result["canary_failure"])


def _canary(result: Result) -> Iterator[Sentence]:
    """Yield how a canary ended."""
    if not result.get("reason"):
        return
    values = {"version": result["challenger"], "reason": result["reason"]}
    if result["state"] == CanaryState.PROMOTED:
        yield sentence(
            "The canary, version %(version)s, is champion: %(reason)s. The next refresh scores everybody by it.",
            **values,
        )
    else:
        yield sentence(
            "The canary, version %(version)s, was stopped: %(reason)s.%(failure)s The next refresh gives its users "
            "back.",
            **values,
            failure=f" {result['failure']}" if result.get("failure") else "",
        )


def _pretrained(result: Result) -> Iterator[Sentence]:
    if "report" not in result:
        return
    report = result["report"]
    yield sentence(
        "Version %(version)s is pretrained: on texts of held-out users, the loss fell from %(before)s to %(after)s. "
        "Fine-tune it: segadmin enqueue retrain --from %(version)s",
        version=result["model_version_id"],
        before=format(report["held_out_loss_before"], ".3f"),
        after=format(report["held_out_loss"], ".3f"),
    )


def _published(result: Result) -> Iterator[Sentence]:
    """Yield what a snapshot changed, or that there is none because nothing changed."""
    if not result.get("snapshot_id"):
        return
    values = {"snapshot": result["snapshot_id"], "users": counted_sentence(result["users"], "user")}
    if result.get("overtaken"):
        yield sentence(
            "Nothing is published: snapshot %(snapshot)s became current since this job began, and stays current.",
            **values,
        )
        return
    if result.get("unchanged"):
        yield sentence(
            "Nothing changed since snapshot %(snapshot)s, which stays current: none of %(users)s was scored again.",
            **values,
        )
        return
    causes = tuple(
        Sentence("%(count)s %(cause)s", {"count": f"{count:,}", "cause": Sentence(cause, {})})
        for cause, count in result.get("rescored_by", {}).items()
    )
    yield sentence(
        "Snapshot %(snapshot)s has %(users)s: %(scored)s scored%(causes)s, %(carried)s carried forward, %(moved)s "
        "moved to another segment. See it: segadmin snapshots show %(snapshot)s",
        **values,
        scored=format(result["rescored"], ","),
        causes=sentence(" (%(causes)s)", causes=causes) if causes else "",
        carried=format(result["carried"], ","),
        moved=format(result["moved"], ","),
    )
    if result.get("went_back_from"):
        yield went_back_sentence(*(datetime.fromisoformat(result[name]) for name in ("as_of", "went_back_from")))


def went_back_sentence(as_of: datetime, before: datetime) -> Sentence:
    """Return that a snapshot is as of earlier than the one before."""
    return sentence(
        "It is as of %(as_of)s and the snapshot before was as of %(before)s: the newest events were removed since. See "
        "what is there: segadmin data list",
        as_of=f"{as_of:%Y-%m-%d %H:%M:%S}",
        before=f"{before:%Y-%m-%d %H:%M:%S}",
    )


def _follow_up(result: Result) -> Iterator[Sentence]:
    """Yield which job a refresh has enqueued because the champion is out of date, or why none."""
    if not result.get("policy"):
        return
    reason: Any = sentence(" Reason: %(reason)s.", reason=result["reason"]) if result["reason"] else ""
    if job := result.get("job_id"):
        yield sentence(
            "Job %(job)s (%(policy)s) was enqueued.%(reason)s Watch it: segadmin jobs watch %(job)s",
            job=job,
            policy=result["policy"],
            reason=reason,
        )
    else:
        yield sentence(
            "No model is trained (%(policy)s): %(note)s.%(reason)s",
            policy=result["policy"],
            note=result["note"],
            reason=reason,
        )


def _exported(result: Result) -> Iterator[Sentence]:
    if "file" in result:
        file = result["file"]
        yield sentence(
            "Wrote %(users)s to %(path)s in the store.", users=counted_sentence(file["rows"], "user"), path=file["path"]
        )


def _chosen(result: Result) -> Iterator[Sentence]:
    if "best" not in result:
        return
    best, options = result["best"], result["backbone_options"].items()
    words = [shlex.join(["--backbone-option", f"{name}={option_text(value)}"]) for name, value in options]
    yield sentence(
        "Trial %(trial)s of %(trials)s was best: validation log-loss %(loss)s. Train with it: segadmin enqueue retrain "
        "-b %(backbone)s %(options)s",
        trial=best["trial"],
        trials=len(result["trials"]),
        loss=format(best["value"], ".4f"),
        backbone=result["backbone"],
        options=" ".join(words),
    )


#: Stage → the sentences about its result.
_RESULTS: Mapping[str, Callable[[Result], Iterator[Sentence]]] = {
    "gate": _gate,
    "score": _scored,
    "canary": _canary,
    "pretrain": _pretrained,
    "publish": _published,
    "follow_up": _follow_up,
    "export": _exported,
    "choose": _chosen,
}
