"""What every stage that makes a model version writes of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from segadmin.jobs.attempt import Attempt
from segadmin.models.artifact import Saved, save_artifact
from segadmin.models.manifest import ModelManifest
from segadmin.storage.records import utcnow
from segadmin.workflows.prepared import Prepared

if TYPE_CHECKING:
    from segadmin.contracts.backbone import SavableModel


def model_facts(
    attempt: Attempt, prepared: Prepared, backbone: str, options: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Return the fields of a manifest that say what made the model."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.training.records import library_versions

    return {
        "backbone": backbone,
        "backbone_options": options,
        "backbone_distribution": load_plugins(attempt.settings).find("backbone", backbone).distribution,
        "recipe": prepared.recipe,
        "seed": seed,
        "versions": library_versions(),
        "job": attempt.job_id,
        "created": utcnow().replace(microsecond=0),
    }


def save_model(attempt: Attempt, model: SavableModel, manifest: ModelManifest) -> Saved:
    """Keep a fitted or pretrained model as an artifact, named by its content."""
    draft = attempt.folder / "artifact"
    shutil.rmtree(draft, ignore_errors=True)
    return save_artifact(attempt.settings, draft, model, manifest)
