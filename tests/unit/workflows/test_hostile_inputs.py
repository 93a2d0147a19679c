"""Damaged or newer records, and requests that make no sense, are named and change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from segadmin.errors import ConfigurationError, JobNotFound, ModelNotFound, StorageError
from segadmin.files import folder_digest
from segadmin.jobs import control
from segadmin.jobs.attempt import StageResult
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.registry import Request, Stage, Workflow, register, workflows
from segadmin.jobs.requests import parse_request
from segadmin.models.artifact import MANIFEST, Saved, read_manifest
from segadmin.models.manifest import ModelManifest
from segadmin.models.versions import find_version, list_lines
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import ModelVersion
from segadmin.workflows.retrain import FinetuneOutput
from segadmin.workflows.textualize import TextOutput
from segadmin.workflows.training_data import PreparedTraining
from tests.planted import LABELS

RECIPE = {"textualizer": "mixed", "textualizer_version": "1"}


def nothing(_: Any) -> StageResult:
    return StageResult()


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((), "has no stages"),
        ((Stage("a", nothing), Stage("a", nothing)), "two stages called 'a'"),
        ((Stage("a", nothing, after=("b",)), Stage("b", nothing)), "comes after 'b', which is no earlier stage"),
    ],
)
def test_a_workflow_whose_stages_do_not_fit_is_refused(stages: tuple[Stage, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        register(Workflow("mine", Request, stages))
    assert "mine" not in workflows()


def test_a_kind_is_registered_once() -> None:
    with pytest.raises(ConfigurationError, match="'retrain' is registered already"):
        register(Workflow("retrain", Request, (Stage("a", nothing),)))


def test_a_job_that_cannot_be_saved_is_not_taken_for_another_one(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Workflow("broken", Request, (Stage("a", nothing), Stage("a", nothing)))
    monkeypatch.setitem(workflows(), "broken", broken)
    with pytest.raises(IntegrityError):
        enqueue(shop, lambda _messages: None, "broken", {})


@pytest.mark.parametrize("version", [2, "1", None])
@pytest.mark.parametrize("kind", [TextOutput, FinetuneOutput, PreparedTraining])
def test_a_result_of_a_newer_version_is_not_read(kind: Any, version: object) -> None:
    with pytest.raises(StorageError, match=rf"stage '{kind.stage}' has version {version!r}.*jobs retry"):
        kind.read({"version": version, "buckets": [0, 1]})


def test_a_result_that_lacks_something_is_named() -> None:
    with pytest.raises(StorageError, match=r"stage 'prepare' cannot be read \(KeyError: 'label_set'\)"):
        PreparedTraining.read({"recipe": RECIPE})


@pytest.mark.parametrize(
    "content",
    [b"no JSON", b"[]", b"{}", b'{"backbone": "tiny"}', b'{"backbone": "tiny", "recipe": null}', b"\xff\xfe"],
)
def test_a_manifest_that_cannot_be_read_is_named(settings: Settings, content: bytes) -> None:
    folder = settings.store_path / "models" / "damaged"
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(StorageError, match=r"manifest in .*damaged cannot be read.*enqueue retrain"):
        read_manifest(settings, Saved("models/damaged", folder_digest(folder)))


@pytest.mark.parametrize(
    "facts",
    [
        {"calibration": {"temperature": 0}},
        {"calibration": {"temperature": float("nan")}},
        {"segments": ["a", "b"], "thresholds": [0.5]},
        {"features": ["a", "b"], "feature_limits": [[0, 1]]},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 validation error"):
        ModelManifest.model_validate({"backbone": "tiny", "recipe": RECIPE, **facts})


def test_one_damaged_version_hides_no_other(shop: Settings) -> None:
    with transaction(shop) as session:
        session.get_one(ModelVersion, 1).manifest = {"backbone_options": None}
    assert [line.name for line in list_lines(shop)] == ["tabular"]


@pytest.mark.parametrize("number", ["²", "99999999999999999999999", "-1", "１"])
def test_a_number_that_no_row_can_have(shop: Settings, number: str) -> None:
    with transaction(shop) as session, pytest.raises(ModelNotFound, match="There is no model version"):
        find_version(session, number)


def test_a_job_number_that_no_row_can_have(shop: Settings) -> None:
    with pytest.raises(JobNotFound, match="There is no job 99999999999999999999999"):
        control.view(shop, 99999999999999999999999)


@pytest.mark.parametrize(
    "options", [{"window_days": float("inf")}, {"window_days": 1e300}, {"seed": -1}, {"seed": 2**40}]
)
def test_values_that_no_fit_could_use(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="A job of the kind retrain cannot use"):
        parse_request("retrain", {"labels": LABELS, **options})


def test_an_option_that_every_kind_has_is_no_option_of_one() -> None:
    class Clashing(Request):
        config: str = ""

    with pytest.raises(ConfigurationError, match="has an option 'config', which every kind has"):
        register(Workflow("mine", Clashing, (Stage("a", nothing),)))


def test_an_old_and_a_new_name_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"'also' and 'auxiliary_labels', its new name\. Give one"):
        parse_request("retrain", {"also": ["a"], "auxiliary_labels": ["b"]})
