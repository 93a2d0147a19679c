"""Which schedules train the model again by themselves, and what makes them do so."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from segadmin.jobs.requests import current_names
from segadmin.jobs.schedules import list_schedules
from segadmin.settings import Settings
from segadmin.storage.records import Schedule
from segadmin.workflows.update_request import UpdatePolicy, UpdateRequest


@dataclass(frozen=True)
class ScheduledPolicy:
    """The update policy of a schedule."""

    schedule: str
    label_set: str  #: empty: that of the only champion
    policy: UpdatePolicy
    max_age_days: float | None  #: trigger: the newest event is so much newer than those the champion was trained with
    on_drift: bool  #: trigger: the drift report found drift
    max_loss: float | None  #: trigger: AUROC is so much below the champion's test
    paused: bool

    @property
    def triggers(self) -> list[str]:
        """The triggers, as options of the command line."""
        triggers = [f"--max-age {self.max_age_days:g}d"] if self.max_age_days is not None else []
        triggers += ["--on-drift"] if self.on_drift else []
        return triggers + ([f"--max-loss {self.max_loss:g}"] if self.max_loss is not None else [])


def update_policies(settings: Settings) -> list[ScheduledPolicy]:
    """Return the update policy of every schedule that has one, by name: those that only score have none."""
    policies = map(policy_of, list_schedules(settings))
    return sorted((policy for policy in policies if policy is not None), key=lambda policy: policy.schedule)


def policy_of(schedule: Schedule) -> ScheduledPolicy | None:
    """Return the update policy of a schedule; ``None`` if its jobs train nothing, or its options cannot be read."""
    options = current_names(schedule.kind, schedule.options) if schedule.kind == "refresh" else {}
    names = UpdateRequest.model_fields.keys()
    try:
        request = UpdateRequest.model_validate({name: value for name, value in options.items() if name in names})
    except ValidationError:  # of another version: the schedule is paused when its slot comes
        return None
    if request.policy == UpdatePolicy.SCORE_ONLY:
        return None
    return ScheduledPolicy(
        schedule.name,
        str(options.get("labels") or ""),
        request.policy,
        request.max_age_days,
        request.on_drift,
        request.max_loss,
        schedule.paused,
    )
