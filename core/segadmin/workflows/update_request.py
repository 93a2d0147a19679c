"""What can be asked of ``refresh`` about the model itself: whether, how and when it is trained again."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.jobs.registry import Option, Request
from segadmin.settings import Settings
from segadmin.storage.records import ModelVersion
from segadmin.workflows.option_values import Days


class UpdatePolicy(StrEnum):
    """What a refresh may do about a model that is out of date."""

    SCORE_ONLY = "score-only"  #: nothing
    UPDATE = "update"  #: train the champion further, on what is new and a part of what it has learnt
    RETRAIN = "retrain"  #: train a model like the champion on everything, from the backbone's own weights


class UpdateRequest(Request):
    """Whether a job trains another model after it has scored, and what makes it do so."""

    policy: UpdatePolicy = Field(
        UpdatePolicy.SCORE_ONLY,
        description="What to do when a trigger fires: nothing, train the champion further on new labelled rows, or "
        "train a model like it on all rows. The gate decides whether it becomes champion.",
    )
    max_age_days: Annotated[Days | None, Option("max-age", metavar="30d", default="no such trigger")] = Field(
        None, gt=0, description="Trigger: the newest event is this much newer than those the champion was trained with."
    )
    on_drift: bool = Field(False, description="Trigger: the drift report found drift.")
    max_loss: Annotated[float | None, Option(metavar="0.02", default="no such trigger")] = Field(
        None, gt=0, lt=1, description="Trigger: AUROC, measured or estimated, is this much below the champion's test."
    )

    def triggers(self) -> Iterator[str]:
        """Yield the options of the triggers that are set."""
        if self.max_age_days is not None:
            yield "--max-age"
        if self.on_drift:
            yield "--on-drift"
        if self.max_loss is not None:
            yield "--max-loss"


def check_policy(settings: Settings, request: UpdateRequest, version: ModelVersion, *, is_champion: bool) -> None:
    """Check that the policy and its triggers fit together, and the version that scores.

    Raises:
        ConfigurationError: they do not.
    """
    policy, triggers = request.policy, list(request.triggers())
    if policy == UpdatePolicy.SCORE_ONLY:
        if triggers:
            raise ConfigurationError(
                f"{' and '.join(triggers)} would trigger nothing. Add --policy update or --policy retrain, or leave "
                f"{'them' if len(triggers) > 1 else 'it'} out."
            )
        return
    if not triggers:
        raise ConfigurationError(
            f"--policy {policy} needs a trigger. Add one or more of --max-age 30d, --on-drift and --max-loss 0.02."
        )
    if not is_champion:
        raise ConfigurationError(
            f"--policy {policy} follows the champion, but the job scores with model version {version.id}. "
            "Leave out --model and --backbone."
        )
    backbone = load_plugins(settings).find("backbone", version.backbone).load()
    if policy == UpdatePolicy.UPDATE and not backbone.supports_warm_start:
        raise ConfigurationError(
            f"The champion, model version {version.id}, is of {version.backbone!r}, which cannot be trained further; "
            "language models can. Use --policy retrain"
        )
