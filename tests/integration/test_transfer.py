"""A version moves from one planted shop to another, whose categories have other names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlmodel import select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import BackboneUnavailable, DataError, StorageError
from segadmin.inference.predictor import load_predictor
from segadmin.jobs.requests import check_request
from segadmin.models.export import export_file
from segadmin.models.importing import JOB_KIND, import_version
from segadmin.models.manifest import MANIFEST_VERSION, manifest_of
from segadmin.models.model_file import FORMAT, Contents, list_files, open_model_file, write_model_file
from segadmin.models.signature import Signer
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.audit import entries
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, ModelState, ModelVersion
from tests.conftest import Cli
from tests.models import make_model
from tests.planted import CATEGORIES, LABELS, Run, label_future_spend, plant, planted_users, retrain
from tests.unit.models.test_model_file import private_key

TINY = {"max_tokens": 24, "epochs": 1, "batch_size": 32, "words": 300, "width": 64, "head_steps": 100}


@pytest.fixture(scope="session")
def homes(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the home of a shop with a language model (version 2), and of another shop without models."""
    folder = tmp_path_factory.mktemp("shops")
    shutil.copytree(trained_home, folder / "there")
    there, here = Settings(home=folder / "there"), Settings(home=folder / "here")
    retrain(there, backbone="tiny", backbone_options=TINY, baselines=[]).until("gate")
    plant(here, users=120, seed=5)
    lake = Lake.of(here)
    renamed = pl.concat_str(pl.lit("zu "), pl.col("category"))
    lake.overwrite("items", lake.scan("items").with_columns(category=renamed, title=renamed).collect())
    label_future_spend(here)
    for settings in (there, here):
        database.engine(settings).dispose()
    return folder


@pytest.fixture
def shops(homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Settings, Settings]]:
    """The shop that exports, and the one that imports, in which commands run."""
    shutil.copytree(homes, tmp_path / "shops")
    there, here = (Settings(home=tmp_path / "shops" / name) for name in ("there", "here"))
    yield there, here
    for settings in (there, here):
        database.engine(settings).dispose()


def version_of(settings: Settings, number: int) -> ModelVersion:
    with transaction(settings) as session:
        return session.get_one(ModelVersion, number)


def exported(there: Settings, path: Path, signer: Signer | None = None) -> Path:
    export_file(there, version_of(there, 2), path, signer)
    return path


def rewritten(there: Settings, tmp_path: Path, tokenizer: str | None = None, **changes: Any) -> Path:
    """Return an unsigned file of version 2 with another manifest, and perhaps another tokenizer."""
    original, folder, path = tmp_path / "original.segmodel", tmp_path / "rewritten", tmp_path / "rewritten.segmodel"
    with open_model_file(exported(there, original)) as file:
        file.extract(folder, 0o077)
    manifest = json.loads((folder / "manifest.json").read_text())
    changes = {name: manifest[name] | value if isinstance(value, dict) else value for name, value in changes.items()}
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer)
    write_model_file(path, folder, Contents(format=FORMAT, files=list_files(folder)), None, 0o077)
    return path


def test_an_imported_version_answers_as_before(shops: tuple[Settings, Settings], tmp_path: Path) -> None:
    there, here = shops
    imported = import_version(here, exported(there, tmp_path / "a.segmodel"), allow_unsigned=True)
    assert (imported.created, imported.version.state) == (True, ModelState.CHALLENGER)
    run = Run(there, "score", check_request(there, "score", {"model": "2"})).until("score")
    texts = pl.concat([run.read(output["scoring"]) for output in run.inputs["textualize"]])
    answers = []
    for settings, version in ((there, version_of(there, 2)), (here, imported.version)):
        model = load_predictor(settings, load_plugins(settings), version)
        answers.append(model.probabilities(model.examples(texts)))
    assert np.array_equal(*answers)
    assert answers[0].std() > 0.01
    # And it scores this shop's users, by its own recipe.
    scored = Run(here, "score", check_request(here, "score", {"model": str(imported.version.id)})).until("publish")
    assert sum(scored.read(output["scores"]).height for output in scored.inputs["score"]) == 120


def test_what_travels_says_nothing_about_users(shops: tuple[Settings, Settings], tmp_path: Path) -> None:
    there, _ = shops
    content = exported(there, tmp_path / "a.segmodel").read_bytes()
    assert content == exported(there, tmp_path / "b.segmodel").read_bytes()
    users = planted_users(there)
    with transaction(there) as session:
        version = session.get_one(ModelVersion, 2)
    digest = version.manifest["data"]["training_keys_sha256"]
    traces = [*users["user"], *map(str, users["user_key"]), digest, "planted", str(there.root)]
    assert [trace for trace in traces if trace.encode() in content] == []
    with open_model_file(tmp_path / "a.segmodel") as file:
        file.extract(tmp_path / "out", 0o077)
        assert file.contents.tested["rows"] > 100
        assert 0.5 < file.contents.tested["auroc"] < 1
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "predictions" in version.manifest
    assert "predictions" not in manifest
    assert (manifest["job"], manifest["started_from"]) == (None, None)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_commands_check_who_made_the_file(shops: tuple[Settings, Settings], tmp_path: Path, cli: Cli) -> None:
    there, here = (str(settings.home) for settings in shops)
    key, path = private_key(tmp_path / "key.pem"), str(tmp_path / "a.segmodel")
    unsigned = str(tmp_path / "unsigned.segmodel")
    public = Signer.read(key).public
    exporting = cli("models", "export", "2", "--out", path, "--sign", str(key), SEGADMIN_HOME=there)
    assert f"The receiver runs: segadmin models import a.segmodel --trust {public}" in exporting.stdout
    without = cli("models", "export", "2", "--out", unsigned, SEGADMIN_HOME=there)
    assert "Not signed, so the receiver has to add --allow-unsigned." in without.stdout
    again = cli("models", "export", "2", "--out", path, SEGADMIN_HOME=there, check=False)
    assert (again.returncode, again.stderr.count("exists already. Name another: --out")) == (1, 1)
    folder = cli(
        "models", "export", "2", "--out", str(tmp_path / "f"), "--sign", str(key), SEGADMIN_HOME=there, check=False
    )
    assert f"A folder cannot be signed. Write a file: --out {tmp_path / 'f'}.segmodel" in folder.stderr

    other = Signer.read(private_key(tmp_path / "other.pem")).public
    damaged = tmp_path / "damaged.segmodel"
    content = Path(path).read_bytes()
    damaged.write_bytes(content.replace(b'"version": 2', b'"version": 3'))  # in the signed table of contents
    for words, message in (
        ((path,), f"is signed with {public}, which is no key that you trust. If the sender confirms"),
        ((path, "--trust", other), f"--trust {public}"),
        ((unsigned,), "is not signed, so nobody can tell who made it. Ask for a signed one"),
        ((unsigned, "--trust", public), "or accept it as it is: --allow-unsigned"),
        ((str(damaged), "--trust", public), "its signature is not of its contents"),
        ((str(damaged), "--allow-unsigned"), "its signature is not of its contents"),
        ((path, "--trust", public, "--labels", "none"), "There are no labels 'none'."),
    ):
        refused = cli("models", "import", *words, SEGADMIN_HOME=here, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert message in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert cli("models", "list", SEGADMIN_HOME=here).stdout.startswith("No models yet.")
    assert not list((shops[1].store_path / "models").glob("*"))
    both = cli("models", "import", path, "--trust", public, "--allow-unsigned", SEGADMIN_HOME=here, check=False)
    assert (both.returncode, "Leave one out." in both.stderr) == (2, True)

    done = cli("models", "import", path, "--trust", public, SEGADMIN_HOME=here).stdout
    assert f"Stored as model version 1, challenger of '{LABELS}': tiny on mixed" in done
    assert f"from version 2 of another store, signed by {public}; AUROC there 0." in done
    assert f"features: {len(CATEGORIES)} of " in done
    assert "do not exist in this shop: share:" in done
    assert "vocabulary: " in done
    assert "distinct words are in pieces, such as " in done
    assert "zu" in done
    assert f"Next: segadmin enqueue retrain --from 1 --labels {LABELS} --wait" in done
    again = cli("models", "import", path, "--trust", public, SEGADMIN_HOME=here)
    assert "Stored before as model version 1" in again.stdout
    facts = json.loads(cli("models", "import", path, "--trust", public, "--json", SEGADMIN_HOME=here).stdout)
    assert (facts["id"], facts["created"], facts["origin"]["signed_by"]) == (1, False, public)
    assert sorted(facts["match"]["missing_features"]) == sorted(f"share:{category}" for category in CATEGORIES)
    shown = cli("models", "show", "1", SEGADMIN_HOME=here).stdout
    assert f"imported: version 2 of another store, signed by {public}" in shown
    assert JOB_KIND in cli("jobs", "list", SEGADMIN_HOME=here).stdout
    assert "succeeded" in cli("jobs", "show", str(facts["job_id"]), SEGADMIN_HOME=here).stdout
    page = tmp_path / "job.html"
    cli("jobs", "show", str(facts["job_id"]), "--out", str(page), SEGADMIN_HOME=here)
    assert JOB_KIND in page.read_text()
    card = json.loads(cli("models", "card", "1", "--json", SEGADMIN_HOME=here).stdout)
    assert card["test_missing"].startswith("Version 1 was imported and has not been tested on users of this store.")


def test_the_same_content_is_stored_once(shops: tuple[Settings, Settings], tmp_path: Path) -> None:
    there, here = shops
    path = exported(there, tmp_path / "a.segmodel")
    first, again = (import_version(here, path, allow_unsigned=True) for _ in range(2))
    assert (first.created, again.created, again.version.id) == (True, False, first.version.id)
    assert [entry.subject for entry in entries(here, "models.import")] == [f"model {first.version.id}"]
    with transaction(here) as session:
        assert len(session.exec(select(Job).where(Job.kind == JOB_KIND)).all()) == 1
    stored = list((here.store_path / "models").iterdir())
    assert [path.name for path in stored] == [first.version.sha256[:12]]
    (stored[0] / "config.json").write_text("{}")
    with pytest.raises(StorageError, match=r"is damaged\. Remove it, and import the file again"):
        import_version(here, path, allow_unsigned=True)


def test_a_fit_starts_from_what_matches(shops: tuple[Settings, Settings], tmp_path: Path) -> None:
    """Features of equal names begin as they were, the labels' weeks may be the same, and all rows are new."""
    there, here = shops
    imported = import_version(here, exported(there, tmp_path / "a.segmodel"), allow_unsigned=True)
    options = {"start_from": str(imported.version.id), "baselines": [], "margin": -1, "seed": 5}
    run = Run(here, "retrain", check_request(here, "retrain", options)).until("gate")
    prepared = run.inputs["prepare"][0]
    assert prepared["request"]["seed"] == 5
    assert "learnt" not in prepared["data"]["parts"]
    tuned = version_of(here, run.inputs["evaluate"][0]["model_version_id"])
    old, new = manifest_of(imported.version).features, manifest_of(tuned).features
    assert set(new) - set(old) == {f"share:zu {category}" for category in CATEGORIES}
    assert tuned.manifest["report"]["features_inherited"] == len(set(new) & set(old)) > 10
    assert tuned.manifest["started_from"] == imported.version.id
    assert "imported" not in tuned.manifest
    kept, begun = (here.store_path / each.folder / "tokenizer.json" for each in (tuned, imported.version))
    assert kept.read_text() == begun.read_text()


def test_a_fit_needs_no_base_that_is_missing_here(shops: tuple[Settings, Settings], tmp_path: Path) -> None:
    there, here = shops
    base, path = make_model("bert", tmp_path / "bert"), tmp_path / "a.segmodel"
    options = {"model": str(base), "max_tokens": 16, "epochs": 1, "head_steps": 20}
    retrain(there, backbone="hf", backbone_options=options, baselines=[]).until("gate")
    export_file(there, version_of(there, 3), path)
    base.rename(tmp_path / "gone")
    imported = import_version(here, path, allow_unsigned=True)
    advice = f"--backbone-option model={here.store_path / imported.version.folder}"
    [line] = [line for line in imported.match.problems if "cannot be had" in line]
    assert line.endswith(advice)
    request = {"start_from": str(imported.version.id), "baselines": [], "margin": -1}
    with pytest.raises(BackboneUnavailable, match="cannot be had"):
        check_request(here, "retrain", request)
    request["backbone_options"] = {"model": advice.partition("model=")[2]}
    tuned = Run(here, "retrain", check_request(here, "retrain", request)).until("gate").inputs["finetune"][0]
    assert tuned["report"]["features_inherited"] > 10


def test_a_version_that_comes_home_is_no_other_shops(shops: tuple[Settings, Settings], tmp_path: Path) -> None:
    there, _ = shops
    imported = import_version(there, exported(there, tmp_path / "a.segmodel"), allow_unsigned=True)
    assert not imported.origin.elsewhere
    assert imported.match.missing_features == ()
    options = {"start_from": str(imported.version.id), "labels": LABELS, "baselines": [], "margin": -1}
    with pytest.raises(DataError, match="Nothing is new since that version was trained"):
        Run(there, "retrain", check_request(there, "retrain", options)).stage("prepare")


def test_what_is_missing_here_is_reported(shops: tuple[Settings, Settings], tmp_path: Path) -> None:
    there, here = shops
    recipe = version_of(there, 2).manifest["recipe"] | {"textualizer": "sonnets", "language": "zh"}
    changes = {"backbone": "unheard", "backbone_distribution": "unheard-of 1.2", "segments": ["low", "mid", "top"]}
    path = rewritten(there, tmp_path, recipe=recipe, **changes)
    match = import_version(here, path, allow_unsigned=True).match
    assert match.lacking_segments == ("top",)
    assert match.unknown_segments == ("high",)
    assert any("There is no textualizer 'sonnets'" in line for line in match.problems)
    assert any("There is no backbone 'unheard'" in line and "It is of unheard-of 1.2." in line for line in match.lines)
    assert any(line.startswith("language: the version reads 'zh'") for line in match.lines)


def test_a_tokenizer_that_cannot_be_read_is_reported(shops: tuple[Settings, Settings], tmp_path: Path) -> None:
    there, here = shops
    match = import_version(here, rewritten(there, tmp_path, tokenizer="{}"), allow_unsigned=True).match
    assert match.vocabulary is None
    [line] = [line for line in match.lines if line.startswith("vocabulary: not compared")]
    assert "cannot be read" in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifest_version": MANIFEST_VERSION + 1}, r"manifest of version \d+, and this segadmin reads up to"),
        ({"recipe": 1}, "The manifest in .* cannot be read"),
        ({"label_set": "a\nb"}, "The name of a label set"),
        ({"recipe": {"parts": 10**9}}, "parts of its text is 1e\\+09, not between 0 and 1,000"),
        ({"recipe": {"window_days": -5}}, "window_days of its text is -5, not between 0 and 36,500"),
        ({"recipe": {"max_phrases": 0}}, "max_phrases of its text is 0, not between 0 and 10,000"),
        ({"created": "0001-01-01T00:00:00+14:00"}, "outside the calendar"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(
    shops: tuple[Settings, Settings], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    there, here = shops
    with pytest.raises(DataError, match=message):
        import_version(here, rewritten(there, tmp_path, **changes), allow_unsigned=True)
    assert not list((here.store_path / "models").glob("*"))


def test_a_pretrained_version_moves_too_and_has_no_labels(
    shops: tuple[Settings, Settings], tmp_path: Path, cli: Cli
) -> None:
    there, here = shops
    request = check_request(there, "pretrain", {"backbone": "tiny", "backbone_options": TINY, "window_days": 28})
    run = Run(there, "pretrain", request).all()
    path = tmp_path / "a.segmodel"
    export_file(there, version_of(there, run.inputs["pretrain"][0]["model_version_id"]), path)
    refused = cli(
        "models", "import", str(path), "--allow-unsigned", "--labels", LABELS, SEGADMIN_HOME=str(here.home), check=False
    )
    assert "was pretrained, without labels. Leave out --labels." in refused.stderr
    imported = import_version(here, path, allow_unsigned=True)
    assert (imported.version.state, imported.version.label_set) == (ModelState.PRETRAINED, "")
    request = check_request(here, "retrain", {"start_from": str(imported.version.id), "baselines": [], "margin": -1})
    tuned = Run(here, "retrain", request).until("gate").inputs["finetune"][0]
    assert tuned["report"]["features_inherited"] == 0


def test_a_store_without_events_cannot_import(
    shops: tuple[Settings, Settings], settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="There are no events yet"):
        import_version(settings, exported(shops[0], tmp_path / "a.segmodel"), allow_unsigned=True)
