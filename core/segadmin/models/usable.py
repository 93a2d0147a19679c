"""Whether a model version can score users here."""

from __future__ import annotations

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, PluginError, StorageError
from segadmin.models.artifact import Saved, read_manifest
from segadmin.settings import Settings
from segadmin.storage.records import ModelVersion
from segadmin.text.recipes import check_recipe


def why_unusable(settings: Settings, version: ModelVersion) -> str | None:
    """Return why a version cannot score: its folder is damaged, or a plugin is missing; ``None`` if it can.

    The model itself is not loaded.
    """
    plugins = load_plugins(settings)
    try:
        manifest = read_manifest(settings, Saved(version.folder, version.sha256))
        check_recipe(plugins, manifest.recipe, f"Model version {version.id}")
        plugins.find("backbone", version.backbone)
    except (ConfigurationError, PluginError, StorageError) as error:
        return str(error)
    return None
