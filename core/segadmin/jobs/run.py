"""Running one step: what a worker does with a message."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack

from segadmin.contracts.plugins import load_plugins
from segadmin.device_memory import release_memory
from segadmin.errors import Interrupt, PluginError, SegadminError, StepFenced
from segadmin.jobs.advance import Advanced, log_ended, unblock
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.dispatch import Dispatch, dispatch_messages
from segadmin.jobs.finish import fail, finish, release
from segadmin.jobs.lease import claim, heartbeat
from segadmin.jobs.registry import workflow_of
from segadmin.jobs.step_log import kept_log
from segadmin.logs import TRACE, log_context
from segadmin.settings import Settings
from segadmin.storage.import_lock import users_stay
from segadmin.storage.sealing import unseal

log = logging.getLogger(__name__)
#: Exit code of a process whose step had to be stopped; ``EX_SOFTWARE`` of sysexits.h.
_STOPPED = 70


class WorkerStopping(Interrupt):
    """Raised in the running step when its worker is told to stop."""


def run_step(settings: Settings, dispatch: Dispatch, step_id: int, worker: str) -> str | None:
    """Claim the step and run it. The result or the error is written to SQL; a failed step raises nothing.

    Returns:
        Where to read why the attempt failed, or ``None`` where it did not. The reason itself may quote data, and
        what is returned here is for monitors.

    Raises:
        WorkerStopping: the worker must stop; the step was returned.
    """
    attempt = claim(settings, step_id, worker)
    if attempt is None:
        log.info("nothing to do", extra={"action": "claim", "step": step_id, "worker": worker})
        return None
    with (
        log_context(
            job=attempt.job_id,
            kind=attempt.job_kind,
            stage=attempt.stage,
            step=attempt.step_id,
            attempt=attempt.number,
            worker=worker,
        ),
        kept_log(attempt),
    ):
        log.info("step claimed", extra={"action": "claim"})
        try:
            return _run(settings, dispatch, attempt)
        finally:  # between steps, a worker keeps no memory but that of warm models
            release_memory()


def _run(settings: Settings, dispatch: Dispatch, attempt: Attempt) -> str | None:
    started = time.monotonic()
    try:
        with ExitStack() as recorded:
            advanced, outcome = _work(attempt, started, recorded)
    except StepFenced as error:
        log.warning(str(error), extra={"action": "fenced"})
        return None
    if outcome is not None:
        rows = getattr(outcome.output, "rows", None)
        counted = {"rows": rows} if isinstance(rows, int) else {}
        log.info("step finished", extra={"action": "finish", "seconds": _since(started), **counted})
    attempt.reach("committed")
    dispatch_messages(settings, dispatch, advanced.ready + (unblock(settings) if advanced.freed else []))
    if outcome is not None:
        attempt.drop_checkpoints()
    _announce(settings, advanced, outcome)
    if outcome is None:
        return f"attempt {attempt.number} failed; why: segadmin jobs show {attempt.job_id}"
    return None


def _work(attempt: Attempt, started: float, recorded: ExitStack) -> tuple[Advanced, StageResult | None]:
    """Run the body of a step and record what came of it.

    No user is erased from when the body begins until ``recorded`` is closed: what a step returns, and why it failed,
    may quote users, and would be written after the erasure.
    """
    try:
        attempt.reach("claim")
        with heartbeat(attempt, lambda error: _give_up(attempt, error)):
            attempt.reach("compute")
            attempt.options = unseal(attempt.settings, attempt.options)
            recorded.enter_context(users_stay(attempt.settings))
            outcome = workflow_of(attempt.job_kind).stage(attempt.stage).run(attempt)
        return finish(attempt, outcome), outcome
    except StepFenced:
        raise
    except WorkerStopping:
        release(attempt, "the worker was stopped")
        log.info("step released", extra={"action": "release", "seconds": _since(started)})
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() in a plugin, a panic of Polars: the worker goes on
        if attempt.lost.is_set():
            why = f"step {attempt.step_id} was taken away while it failed: {type(error).__name__}"
            raise StepFenced(why) from error
        _log_failure(attempt, error, started)
        return fail(attempt, error), None


def _give_up(attempt: Attempt, error: SegadminError) -> None:
    """End this process, as nothing else stops every body; a step that is still this attempt's fails with ``error``."""
    if isinstance(error, StepFenced):
        log.warning(str(error), extra={"action": "fenced"})
        os._exit(_STOPPED)
    log.error(str(error), extra={"action": "limit"})
    try:
        if (ended := fail(attempt, error).ended) is not None:
            log_ended(ended)
    except SegadminError:  # the lease runs out, and another worker finds the same
        log.exception("the limit could not be recorded", extra={"action": "limit"})
    os._exit(_STOPPED)


def _announce(settings: Settings, advanced: Advanced, outcome: StageResult | None) -> None:
    """Tell plugins what is now a fact; one that fails cannot undo it, so its error is logged."""
    calls: list[Callable[[], None]] = [outcome.after] if outcome is not None and outcome.after is not None else []
    if (ended := advanced.ended) is not None:
        log_ended(ended)
        calls.append(lambda: load_plugins(settings).announce("job_finished", job=ended))
    for call in calls:
        try:
            call()
        except PluginError:  # logged by then, with its traceback
            continue
        except SegadminError:
            log.exception("a lifecycle hook could not be called", extra={"action": "announce"})


def _log_failure(attempt: Attempt, error: BaseException, started: float) -> None:
    """Log that an attempt failed; of the error only its class and the calls that led to it.

    What it says may quote data, and is in SQL.
    """
    trace = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    facts = {"action": "fail", "reason": type(error).__name__, "seconds": _since(started), TRACE: trace}
    log.error("step failed; why: segadmin jobs show %d", attempt.job_id, extra=facts)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
