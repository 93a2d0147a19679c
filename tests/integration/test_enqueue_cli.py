"""``segadmin enqueue`` as a user types it: what is accepted, what is said, what is kept."""

from __future__ import annotations

import json

import pytest

from segadmin.jobs import control
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import JobState, LabelSet
from tests.conftest import Cli
from tests.servers import redis_server
from tests.stores import empty_store


@pytest.fixture
def store(settings: Settings) -> Settings:
    """A store that has events and two segments' labels, as far as SQL knows."""
    empty_store(settings)
    with transaction(settings) as session:
        session.add(LabelSet(name="spend3", labeler="table", segments=["low", "high"], rows=10))
    return settings


def jobs(settings: Settings) -> list[control.JobView]:
    return control.list_jobs(settings)


def test_trackers_come_from_the_options_or_the_settings(store: Settings, cli: Cli) -> None:
    words = ("enqueue", "retrain", "--backbone", "tabular", "--json")
    tracker_words = ("--tracker", "wandb", "--tracker", "mlflow", "--tracker-option", "mlflow.experiment=shop")
    options = json.loads(cli(*words, *tracker_words, SEGADMIN_TRACKERS="tensorboard").stdout)["options"]
    assert (options["trackers"], options["tracker_options"]) == (["wandb", "mlflow"], {"mlflow.experiment": "shop"})
    assert json.loads(cli(*words, SEGADMIN_TRACKERS="tensorboard").stdout)["options"]["trackers"] == ["tensorboard"]
    assert json.loads(cli(*words, SEGADMIN_LANGUAGE="zh").stdout)["options"]["language"] == "zh", "who asks decides"
    none = cli(*words, "--tracker", "none", SEGADMIN_TRACKERS="tensorboard")
    assert json.loads(none.stdout)["options"]["trackers"] == []
    assert json.loads(cli(*words).stdout)["options"]["trackers"] == []


def test_the_language_decides_what_reads_the_text_where_that_is_left_open(store: Settings, cli: Cli) -> None:
    def asked(kind: str, *words: str) -> tuple[str, dict[str, str]]:
        options = json.loads(cli("enqueue", kind, "--json", *words).stdout)["options"]
        return options["backbone"], options["backbone_options"]

    assert asked("retrain") == ("minilm", {})
    assert asked("retrain", "--language", "zh") == ("e5", {})
    assert asked("pretrain", "--language", "zh") == ("e5", {})
    assert asked("retrain", "--language", "zh", "--backbone", "minilm") == ("minilm", {})
    assert asked("retrain", "--language", "zh", "--backbone", "cascade") == ("cascade", {"text": "e5"})
    other = ("--backbone", "stacked", "--backbone-option", "text=tiny")
    assert asked("retrain", "--language", "zh", *other) == ("stacked", {"text": "tiny"})
    assert asked("retrain", "--backbone", "stacked") == ("stacked", {})


def test_an_engine_that_does_not_exist_is_refused_before_anything_is_saved(store: Settings, cli: Cli) -> None:
    for words in (("retrain", "--backbone", "tabular"), ("tune", "--backbone", "tabular"), ("score",), ("refresh",)):
        done = cli("enqueue", *words, check=False, SEGADMIN_ENGINE="nonsense")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "There is no engine 'nonsense'. There are: onnxruntime, openvino, torch, transformers." in done.stderr
    assert jobs(store) == []


def test_without_a_broker_the_job_is_saved_and_the_fix_is_shown(store: Settings, cli: Cli) -> None:
    done = cli("enqueue", "retrain", "--backbone", "tabular")
    assert done.returncode == 0
    assert "Saved as job 1 (retrain); it starts when the broker is back." in done.stdout
    assert "segadmin up --detach" in done.stderr
    assert [view.job.state for view in jobs(store)] == [JobState.QUEUED]


def test_a_remote_broker_that_does_not_answer_is_shown_without_its_password(store: Settings, cli: Cli) -> None:
    done = cli("enqueue", "retrain", "--backbone", "tabular", SEGADMIN_BROKER_URL="redis://:hidden@127.0.0.1:1/0")
    assert done.returncode == 0
    assert "127.0.0.1:1" in done.stderr
    assert "segadmin doctor" in done.stderr
    assert "hidden" not in done.stdout + done.stderr


def test_with_a_broker_it_is_enqueued(store: Settings, cli: Cli) -> None:
    with redis_server(store):
        done = cli("enqueue", "retrain", "--backbone", "tabular")
        assert done.stdout.strip() == "Enqueued job 1 (retrain). Watch it: segadmin jobs watch 1"
        again = json.loads(cli("enqueue", "retrain", "--backbone", "tabular", "--json").stdout)
    assert (again["job"], again["created"], again["rung"]) == (2, True, True)
    assert again["options"]["labels"] == "spend3"


def test_the_same_key_makes_one_job(store: Settings, cli: Cli) -> None:
    words = ("enqueue", "textualize", "--key", "monday")
    cli(*words)
    assert "Job 1 has the key 'monday' already" in cli(*words).stdout
    job = json.loads(cli(*words, "--json").stdout)
    assert (job["job"], job["created"], job["kind"]) == (1, False, "textualize")
    assert len(jobs(store)) == 1


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (("retain", "--keep", "4000d"), "its keep_days is 400.0, not 4000.0"),
        (("textualize",), "its kind is retain, not textualize"),
        (("textualize", "--wait"), "its kind is retain, not textualize"),
        (("retain", "--keep", "4000d", "--json"), "its keep_days is 400.0, not 4000.0"),
    ],
)
def test_a_key_of_another_request_is_refused(
    store: Settings, cli: Cli, words: tuple[str, ...], difference: str
) -> None:
    cli("enqueue", "retain", "--keep", "400d", "--key", "nightly")
    done = cli("enqueue", *words, "--key", "nightly", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"Error: Job 1 (retain) has the key 'nightly', and was asked for something else: {difference}. "
        "Nothing was enqueued. Take another key, or look: segadmin jobs show 1\n"
    )
    assert len(jobs(store)) == 1


def test_changed_defaults_do_not_change_a_request(store: Settings, cli: Cli) -> None:
    words = ("enqueue", "retrain", "--backbone", "tabular", "--key", "week 31")
    cli(*words)
    with transaction(store) as session:  # now it would be ambiguous which labels are meant
        session.add(LabelSet(name="other", labeler="table", segments=["low", "high"], rows=10))
    assert "Job 1 has the key 'week 31' already" in cli(*words, SEGADMIN_LANGUAGE="zh").stdout
    done = cli(*words, "--language", "zh", check=False)
    assert "its language is the default, not zh" in done.stderr


@pytest.mark.parametrize("key", ["", "schedule:nightly:2026-01-01", "inbox:1"])
def test_empty_and_reserved_keys_are_refused(store: Settings, cli: Cli, key: str) -> None:
    done = cli("enqueue", "textualize", "--key", key, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The key ")
    assert jobs(store) == []


@pytest.mark.parametrize(
    "where",
    [
        "postgresql://shop:hid{den@db.example/x",
        "postgresql://shop:hid#den@db.example/x",
        "redis://:hid@den@broker/0",
        "postgresql://db.example/x?user=me&password=hid-den",
        "s3://AKIA:hidden@bucket/table",
    ],
)
def test_a_password_is_never_stored_with_a_job_or_a_schedule(store: Settings, cli: Cli, where: str) -> None:
    for before in (("enqueue",), ("schedule", "add", "nightly", "--cron", "0 3 * * *")):
        done = cli(*before, "ingest", where, "--source", "sql", "--source-option", "query=SELECT 1", check=False)
        assert done.returncode == 1, done.stderr
        assert "Write $SHOP_PASSWORD (in single quotes) for the password" in done.stderr
        assert "hid" not in done.stderr
        assert "den" not in done.stderr
    assert jobs(store) == []
    kept = ("postgresql://shop:$SHOP_PASSWORD@db.example/x", "--source", "sql", "--source-option", "query=SELECT 1")
    cli("enqueue", "ingest", *kept)
    assert jobs(store)[0].job.options["where"] == kept[0]
    assert b"den@" not in b"".join(path.read_bytes() for path in store.root.glob("segadmin.db*"))


def test_unexpected_arguments_are_shown_without_passwords(cli: Cli) -> None:
    url = "postgresql://shop:hidden@db.example/x"
    for words in (("jobs", "list", url), ("enqueue", "compact", url), ("data", "preview", "x", "-o", url)):
        done = cli(*words, check=False)
        assert done.returncode == 2
        assert "hidden" not in done.stdout + done.stderr
        assert "shop:***@db.example" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("retrain", "--backbone", "minilmm"), "There is no backbone 'minilmm'. Did you mean 'minilm'?"),
        (("retrain", "--textualizer", "mixd"), "There is no textualizer 'mixd'. Did you mean 'mixed'?"),
        (("retrain", "--baseline", "tabul"), "There is no backbone 'tabul'. Did you mean 'tabular'?"),
        (("retrain", "--tracker", "tensorbord"), "There is no tracker 'tensorbord'. Did you mean 'tensorboard'?"),
        (
            ("retrain", "--tracker", "wandb", "--tracker-option", "wandb.projct=shop"),
            "The tracker 'wandb' has no option 'projct'. Did you mean 'project'?",
        ),
        (
            ("retrain", "--tracker-option", "mlflow.uri=http://mlflow:5000"),
            "The tracker option 'mlflow.uri' is not TRACKER.OPTION=VALUE, of one of the trackers (there are none).",
        ),
        (("retrain", "--labels", "spend"), "There are no labels 'spend'. Did you mean 'spend3'?"),
        (("retrain", "--split", "moon"), "A job of the kind retrain cannot use split='moon'"),
        (("retrain", "--language", "fr"), "A job of the kind retrain cannot use language='fr'"),
        (("retrain", "--window-days", "-3"), "A job of the kind retrain cannot use window_days=-3.0"),
        (("retrain", "-t", "mixed", "--textualizer-option", "nope=1"), "The textualizer 'mixed' has no option 'nope'."),
        (("score",), "There is no champion model yet. Train one: segadmin enqueue retrain --wait"),
        (("refresh",), "There is no champion model yet."),
        (("score", "--model", "77"), "There is no model version '77'. See: segadmin models list"),
    ],
)
def test_invalid_requests_are_refused_before_anything_is_saved(
    store: Settings, cli: Cli, words: tuple[str, ...], message: str
) -> None:
    done = cli("enqueue", *words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {message}"), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert jobs(store) == []


def test_unavailable_weights_are_reported_before_any_work(store: Settings, cli: Cli) -> None:
    done = cli("enqueue", "retrain", "--backbone", "bert-base-chinese", check=False)
    assert done.returncode == 1
    assert "bert-base-chinese" in done.stderr
    assert "SEGADMIN_WEIGHTS" in done.stderr
    assert jobs(store) == []


def test_an_empty_store_is_reported(settings: Settings, cli: Cli) -> None:
    done = cli("enqueue", "retrain", check=False)
    assert done.returncode == 1
    assert "There are no events yet. Import some: segadmin data import events FILE" in done.stderr


def test_several_label_sets_need_a_choice(store: Settings, cli: Cli) -> None:
    with transaction(store) as session:
        session.add(LabelSet(name="churn", labeler="table", segments=["stay", "go"], rows=10))
    done = cli("enqueue", "retrain", "--backbone", "tabular", check=False)
    assert "Which labels? Add --labels; there are: churn, spend3." in done.stderr


def test_missing_labels_are_reported_with_the_command_that_makes_them(store: Settings, cli: Cli) -> None:
    with transaction(store) as session:
        session.delete(session.get_one(LabelSet, "spend3"))
    done = cli("enqueue", "retrain", check=False)
    assert "There are no labels to learn from." in done.stderr
    assert "segadmin data label NAME --labeler future-spend" in done.stderr


def test_jobs_that_do_not_exist_and_empty_lists(settings: Settings, cli: Cli) -> None:
    assert "No jobs yet. Enqueue one: segadmin enqueue retrain" in cli("jobs", "list").stdout
    assert json.loads(cli("jobs", "list", "--json").stdout) == []
    for verb in ("show", "watch", "cancel", "retry"):
        done = cli("jobs", verb, "7", check=False)
        assert (done.returncode, done.stderr) == (1, "Error: There is no job 7. List them: segadmin jobs list\n")


def test_cancel_and_retry(store: Settings, cli: Cli) -> None:
    cli("enqueue", "textualize")
    assert "Job 1 is cancelled." in cli("jobs", "cancel", "1").stdout
    again = cli("jobs", "cancel", "1", check=False)
    assert "Job 1 is cancelled: there is nothing to cancel." in again.stderr
    assert cli("jobs", "watch", "1", check=False).returncode == 1
    assert "Job 1 continues." in cli("jobs", "retry", "1").stdout
    assert jobs(store)[0].job.state == JobState.QUEUED


def test_schedules_are_added_listed_and_removed(store: Settings, cli: Cli) -> None:
    assert "No schedules yet." in cli("schedule", "list").stdout
    added = cli("schedule", "add", "nightly", "--cron", "0 3 * * *", "textualize", "--timezone", "Asia/Shanghai")
    assert "nightly: textualize at '0 3 * * *' (Asia/Shanghai); next" in added.stdout
    [schedule] = json.loads(cli("schedule", "list", "--json").stdout)
    assert schedule["next_slot"][11:16] == "19:00"
    assert "Removed nightly." in cli("schedule", "remove", "nightly").stdout
    assert json.loads(cli("schedule", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x", "--cron", "3 o'clock", "refresh"), "is not a cron expression that ever comes"),
        (("x", "--cron", "0 3 31 2 *", "refresh"), "is not a cron expression that ever comes"),
        (("x", "--cron", "0 3 * * *", "refrsh"), "There is no job kind 'refrsh'. Did you mean 'refresh'?"),
        (("x", "--cron", "0 3 * * *", "refresh", "--timezone", "Shanghai"), "There is no time zone 'Shanghai'."),
        (("x", "--cron", "0 3 * * *", "compact", "--timezone", "localtime"), "There is no time zone 'localtime'."),
        (("x", "--cron", "0 3 * * *", "compact", "--timezone", "Europe"), "There is no time zone 'Europe'."),
        (("x", "--cron", "0 0 3 * * *", "compact"), "'0 0 3 * * *' has 6 fields instead of 5. Give minute, hour,"),
        (("x", "--cron", "0 3 * * *", "refresh", "-o", "modle=1"), "has no option 'modle'. Did you mean 'model'?"),
    ],
)
def test_an_invalid_schedule_is_refused(store: Settings, cli: Cli, words: tuple[str, ...], message: str) -> None:
    done = cli("schedule", "add", *words, check=False)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("refresh",),
        ("score", "--model", "7"),
        ("retrain", "--labels", "nosuch"),
        ("retrain", "--backbone", "no-such-backbone"),
        ("textualize", "--textualizer", "mixd"),
        ("textualize", "--textualizer", "summary", "--textualizer-option", "x=1"),
        ("ingest", "orders.csv", "--source", "cvs"),
    ],
)
def test_a_schedule_is_checked_as_its_job_is(store: Settings, cli: Cli, words: tuple[str, ...]) -> None:
    enqueued = cli("enqueue", *words, check=False)
    added = cli("schedule", "add", "nightly", "--cron", "0 3 * * *", *words, check=False)
    assert (enqueued.returncode, added.returncode) == (1, 1)
    assert added.stderr == enqueued.stderr
    assert json.loads(cli("schedule", "list", "--json").stdout) == []


def test_removing_an_unknown_schedule_lists_the_known_ones(store: Settings, cli: Cli) -> None:
    cli("schedule", "add", "nightly", "--cron", "0 3 * * *", "compact")
    done = cli("schedule", "remove", "nightl", check=False)
    assert done.stderr == "Error: There is no schedule 'nightl'. Did you mean 'nightly'?\n"
