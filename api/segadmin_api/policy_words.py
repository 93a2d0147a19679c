"""Update policies of schedules in words, for the command line, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segadmin.workflows.update_policies import ScheduledPolicy


def policy_line(policy: ScheduledPolicy) -> str:
    """Return a sentence such as ``nightly: retrain (--max-age 30d, --on-drift)``."""
    paused = ", paused" if policy.paused else ""
    return f"update policy of {policy.schedule}: {policy.policy} ({', '.join(policy.triggers) or 'no trigger'}){paused}"


def policy_facts(policy: ScheduledPolicy) -> dict[str, Any]:
    """Return an update policy as JSON."""
    return asdict(policy)
