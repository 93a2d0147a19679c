"""The ``prepare`` stage of ``score``, ``refresh`` and ``textualize``: which model reads, and how."""

from __future__ import annotations

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.labels.label_sets import after, latest_event
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.models.artifact import Saved, read_manifest
from segadmin.models.versions import find_version
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion
from segadmin.text.recipe import Recipe
from segadmin.workflows.prepare_training import check_recipe, new_recipe
from segadmin.workflows.prepared import Prepared
from segadmin.workflows.requests import Score, Textualize


def prepare(attempt: Attempt) -> Outcome:
    """Find the model and check that it is whole and that what it needs is installed here."""
    plugins = load_plugins(attempt.settings)
    versions = Lake.of(attempt.settings).current_versions()
    latest = after(latest_event(Lake.of(attempt.settings, versions)))
    if attempt.job_kind == "textualize":
        recipe = new_recipe(attempt.settings, plugins, Textualize.model_validate(attempt.options))
        prepared = Prepared(recipe=recipe, label_set="", segments=(), scoring=recipe.window(latest), lake=versions)
        return Outcome(prepared.model_dump(mode="json"))
    wanted = Score.model_validate(attempt.options)
    with transaction(attempt.settings) as session:
        version = find_version(session, wanted.model, wanted.labels, wanted.made_with)
        previous = pointed(session, current_snapshot(version.label_set))
    recipe = _check_version(attempt.settings, plugins, version)
    prepared = Prepared(
        recipe=recipe,
        label_set=version.label_set,
        segments=tuple(version.segments),
        scoring=recipe.window(latest),
        lake=versions,
        backbone=version.backbone,
        backbone_options=version.manifest["backbone_options"],
        model_version_id=version.id,
        previous_snapshot_id=previous if attempt.job_kind == "refresh" else None,
    )
    return Outcome(prepared.model_dump(mode="json"))


def _check_version(settings: Settings, plugins: Plugins, version: ModelVersion) -> Recipe:
    """Return the version's recipe, when its files and its plugins are here.

    Raises:
        StorageError: the artifact is gone or damaged.
        PluginNotFound: a plugin that it was made with is not installed.
        ConfigurationError: the textualizer is another version, and would write other text.
    """
    manifest = read_manifest(settings, Saved(version.folder, version.sha256))
    check_recipe(plugins, recipe := Recipe.model_validate(manifest["recipe"]), f"Model version {version.id}")
    plugins.find("backbone", version.backbone)
    return recipe
