"""Job files: what is asked for, written down, and asked for again."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from segadmin.events.mapping import Mapping
from segadmin.jobs import control
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import LabelSet
from tests.conftest import Cli
from tests.stores import empty_store

RETRAIN = """
backbone = "stacked"
labels = "spend3"
split = "user"
baselines = []
seed = 5

[backbone_options]
text = "tfidf"
beside = ["tabular", "linear"]
folds = 2

[textualizer_options]
recent = 8
"""


@pytest.fixture
def store(settings: Settings) -> Settings:
    """A store that has events and two segments' labels, as far as SQL knows."""
    empty_store(settings)
    with transaction(settings) as session:
        session.add(LabelSet(name="spend3", labeler="table", segments=["low", "high"], rows=10))
    return settings


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """A file that asks for a retrain."""
    path = tmp_path / "retrain.toml"
    path.write_text(RETRAIN)
    return path


def test_the_command_line_overrides_a_job_file(store: Settings, cli: Cli, job_file: Path) -> None:
    words = ("--seed", "6", "--backbone-option", "folds=3", "--baseline", "tabular", "--json")
    options = json.loads(cli("enqueue", "retrain", "--config", str(job_file), *words).stdout)["options"]
    assert options["backbone_options"] == {"text": "tfidf", "beside": ["tabular", "linear"], "folds": "3"}
    assert options["textualizer_options"] == {"recent": 8}
    assert (options["split"], options["seed"], options["baselines"]) == ("user", 6, ["tabular"])
    [job] = control.list_jobs(store)
    assert job.job.options == options


def test_a_printed_job_file_is_equivalent_and_nothing_is_enqueued(
    store: Settings, cli: Cli, job_file: Path, tmp_path: Path
) -> None:
    printed = cli("enqueue", "retrain", "--config", str(job_file), "--seed", "6", "--print-config").stdout
    assert control.list_jobs(store) == []
    assert tomllib.loads(printed) == tomllib.loads(RETRAIN) | {"seed": 6}
    assert "# Augmented copies per training row.\n# augment = 0\n" in printed
    (tmp_path / "again.toml").write_text(printed)
    assert cli("enqueue", "retrain", "--config", str(tmp_path / "again.toml"), "--print-config").stdout == printed


def test_a_schedule_takes_a_job_file(store: Settings, cli: Cli, job_file: Path) -> None:
    cli("schedule", "add", "weekly", "--cron", "0 3 * * 1", "retrain", "--config", str(job_file), "--seed", "9")
    [schedule] = json.loads(cli("schedule", "list", "--json").stdout)
    assert (schedule["options"]["backbone"], schedule["options"]["seed"]) == ("stacked", 9)


def test_paths_in_a_job_file_are_relative_to_it(store: Settings, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "sentences.toml").write_text('[en.summary]\nphrase = "{item}"\n')
    (tmp_path / "job.toml").write_text('templates = "sentences.toml"\n')
    printed = cli("enqueue", "textualize", "--config", str(tmp_path / "job.toml"), "--print-config").stdout
    assert tomllib.loads(printed) == {"templates": {"en": {"summary.phrase": ["{item}"]}}}
    (tmp_path / "ingest.toml").write_text('where = "redis://broker/0"\nmapping = "taobao"\n')
    printed = cli("enqueue", "ingest", "--config", str(tmp_path / "ingest.toml"), "--print-config").stdout
    assert Mapping.of(tomllib.loads(printed)["mapping"]) == Mapping.read(Path("taobao"))


def test_a_required_option_may_be_in_the_file(store: Settings, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "retain.toml").write_text('keep_days = "2y"\n')
    done = cli("enqueue", "retain", "--config", str(tmp_path / "retain.toml"), "--json")
    assert json.loads(done.stdout)["options"] == {"keep_days": 730.0}
    missing = cli("enqueue", "retain", check=False)
    assert missing.returncode == 2
    assert "Missing option '--keep'." in missing.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('bakbone = "tiny"', "a job of the kind retrain has no option 'bakbone'. Did you mean 'backbone'?"),
        ("from = 7", "a job of the kind retrain has no option 'from'. Did you mean 'start_from'?"),
        ('tracker = ["wandb"]', "a job of the kind retrain has no option 'tracker'. Did you mean 'trackers'?"),
        ("seed = 1\nheld_out = 0.9", "A job of the kind retrain cannot use held_out=0.9: Input should be less than"),
        ('split = "moon"', "A job of the kind retrain cannot use split='moon'"),
        ('[tracker_options]\n"mlflow.uri" = "http://me:hidden@mlflow"', "passwords are not. Write $SHOP_PASSWORD"),
        ("seed = ", "The job file {path} is not TOML in UTF-8: Invalid value"),
    ],
)
def test_errors_name_the_file(store: Settings, cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text(text)
    done = cli("enqueue", "retrain", "--config", str(path), check=False)
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert message.format(path=path) in done.stderr
    assert "hidden" not in done.stderr
    assert control.list_jobs(store) == []


def test_an_option_that_a_kind_does_not_use_is_refused(store: Settings, cli: Cli, job_file: Path) -> None:
    done = cli("enqueue", "tune", "--config", str(job_file), check=False)
    assert f"{job_file}: a job of the kind tune has no option 'baselines'." in done.stderr


def test_a_missing_job_file(store: Settings, cli: Cli, tmp_path: Path) -> None:
    done = cli("enqueue", "retrain", "--config", str(tmp_path / "no.toml"), check=False)
    assert done.stderr == f"Error: The job file {tmp_path / 'no.toml'} cannot be read: No such file or directory.\n"


def test_a_kind_that_a_plugin_registers_has_a_command(store: Settings, cli: Cli, tmp_path: Path) -> None:
    plugin = tmp_path / "shop.py"
    plugin.write_text(
        "from pydantic import Field\n"
        "from segadmin.jobs.registry import Request, Stage, Workflow, register\n"
        "class Greet(Request):\n"
        "    name: str = Field('you', description='Whom to greet.')\n"
        "register(Workflow('greet', Greet, (Stage('prepare', print),), 'Greet somebody.'))\n"
    )
    segadmin = ("--plugin-file", str(plugin))
    assert "Greet somebody." in cli(*segadmin, "enqueue", "--help").stdout
    assert "Whom to greet." in cli(*segadmin, "enqueue", "greet", "--help").stdout
    enqueued = cli(*segadmin, "enqueue", "greet", "--name", "Ada", "--json")
    assert json.loads(enqueued.stdout)["options"] == {"name": "Ada"}
    cli(*segadmin, "schedule", "add", "daily", "--cron", "0 8 * * *", "greet", "--name", "Bo")
    assert json.loads(cli("schedule", "list", "--json").stdout)[0]["options"] == {"name": "Bo"}
