"""``segadmin --server``: commands print of a server what they print of this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlmodel import col, select

from segadmin.jobs.quarantine import set_aside
from segadmin.jobs.run import run_step
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState, Scope, Step, StepState
from segadmin_api.cli import COMMANDS, app
from segadmin_api.cli.remote import LOCAL
from tests.api import Api
from tests.conftest import Cli
from tests.planted import LABELER, LABELS, nothing_runs

#: Commands that read, each run here and on a server.
READ = (
    "audit list --action models",
    "backbones list",
    "data list",
    "data merges",
    "data quarantine",
    "data quarantine --reason bad_time",
    "drift list",
    "drift show --all",
    "feeds list",
    "jobs list --limit 3",
    "jobs list --kind refresh --state failed",
    "jobs list --kind export",
    "jobs logs 1",
    "jobs quarantine",
    "jobs show 1",
    "keys list",
    "models card champion --json",
    "models compare 1 champion",
    "models canary list --labels none",
    "models list",
    "plugins list --kind textualizer",
    "plugins show textualizer timeline",
    "schedule list",
    "segments compare low high",
    "segments list",
    "segments show high",
    "snapshots list",
    "snapshots show",
    "snapshots show --at 2035-01-01",
    "users corrections --all",
    "users review --limit 3",
    "users show user-1",
    "users show user-1 --text --at 2035-01-01",
)
#: Commands that fail in the same way here and on a server: what there is not.
REFUSED = (
    "backbones check nothing",
    "data mappings show nothing",
    "data quarantine --import 99",
    "feeds show nothing",
    "jobs show 99",
    "enqueue retrain --backbone nothing",
    "jobs trials 1",
    "keys revoke nothing",
    "models canary show",
    "models canary stop",
    "models rollback",
    "models rollback --from 9",
    "models show 99",
    "plugins check nothing",
    "plugins check timeline --option nothing=1",
    "schedule show nothing",
    "schedule pause nothing",
    "schedule remove nothing",
    "schedule run nothing",
    "segments show nothing",
    "snapshots diff",
    "snapshots show --at 1990-01-01",
    "users show nobody",
    "users correct user-1 --segment nothing --reason x",
)
#: Commands that change something on the server, or write a file, each tested below or in ``test_v1_client``.
CHANGE = {
    *(
        "data forget",
        "data import events",
        "data import items",
        "data import labels",
        "data label",
        "data mappings",
        "data preview",
    ),
    *("data mappings save", "data mappings remove", "data merge", "data profile", "doctor", "enqueue", "feeds add"),
    *("feeds remove", "feeds deliver", "jobs cancel", "jobs retry", "jobs watch", "keys create", "models promote"),
    *("report", "schedule add", "schedule resume", "segments describe", "settings"),
    *("snapshots export", "users pin"),
}


def _commands(command: Any, words: str) -> Iterator[str]:
    subcommands = getattr(command, "commands", None)
    if not subcommands or words == "enqueue":
        yield words
        return
    if command.invoke_without_command:
        yield words
    for name, each in subcommands.items():
        yield from _commands(each, f"{words} {name}")


def test_every_command_works_on_a_server_or_says_why_not() -> None:
    group = typer.main.get_command(app)
    context = typer.Context(group)
    every = {words for name in COMMANDS for words in _commands(group.get_command(context, name), name)}  # type: ignore[attr-defined]
    local = {words for words in every if any(words == name or words.startswith(f"{name} ") for name in LOCAL)}
    tried = {words for words in every for line in (*READ, *REFUSED) if f"{line} ".startswith(f"{words} ")}
    assert local | tried | CHANGE == every
    assert not local & (tried | CHANGE)


@pytest.fixture
def both(api: Api, cli: Cli) -> Any:
    """Run a command here and on a server over the same home; return exit codes and outputs."""
    here = {"SEGADMIN_HOME": str(api.settings.home)}
    there = {"SEGADMIN_SERVER": api.url, "SEGADMIN_KEY": api.keys[Scope.ADMIN]}

    def run(line: str) -> list[tuple[int, str, str]]:
        # The server first: with it, the key is used for the first time today.
        done = [cli(*line.split(), check=False, **where) for where in (there, here)]
        return [(each.returncode, _plain(each.stdout), _plain(each.stderr)) for each in reversed(done)]

    return run


def _plain(text: str) -> str:
    """Return what a command printed, without what differs from second to second, and where files are."""
    text = re.sub(r"\d+ (s|min)\b( ago)?", "AGO", text)
    try:
        facts = json.loads(text)
    except ValueError:
        text = re.sub(r"  (/\S+|on the server)  \(sha", "  PATH  (sha", text)
        text = text.replace("on the server's machine", "on this machine").replace("on the server: segadmin", "segadmin")
        return re.sub("[ ─]+", " ", text)  # as wide as the longest time
    return json.dumps(facts, sort_keys=True, indent=1)


@pytest.mark.parametrize("line", READ)
def test_a_server_is_shown_as_this_machine_is(both: Any, line: str) -> None:
    for words in dict.fromkeys((line.removesuffix(" --json"), f"{line.removesuffix(' --json')} --json")):
        if words == "models card champion":
            continue  # it writes a file
        here, there = both(words)
        assert here[0] == 0, here
        assert there == here


@pytest.mark.parametrize("line", REFUSED)
def test_a_server_refuses_as_this_machine_does(both: Any, line: str) -> None:
    here, there = both(line)
    assert here[0] == 1, here
    assert there == here


@pytest.mark.parametrize("words", [name.split() for name in LOCAL])
def test_commands_of_this_machine_say_what_to_do(cli: Cli, words: list[str]) -> None:
    done = cli("--server", "http://127.0.0.1:9", "--key", "seg_x", *words, check=False)
    message = " ".join(done.stderr.replace("│", " ").split())
    assert (done.returncode, "does not work with --server (SEGADMIN_SERVER)." in message) == (2, True), message


@pytest.fixture
def there(api: Api, cli: Cli) -> Any:
    """Run a command on a server and return what it printed."""
    where = {"SEGADMIN_SERVER": api.url, "SEGADMIN_KEY": api.keys[Scope.ADMIN]}
    return lambda *words, **options: cli(*words, **where, **options)


def test_jobs_are_asked_for_and_ended(there: Any) -> None:
    asked = there("enqueue", "refresh", "--labels", LABELS, "--key", "remote-1").stdout
    number = asked.split()[3]
    assert f"Saved as job {number} (refresh); it starts when the server's broker is back." in asked
    again = there("enqueue", "refresh", "--labels", LABELS, "--key", "remote-1").stdout
    assert "nothing new was enqueued" in again
    assert "is cancelled" in there("jobs", "cancel", number).stdout
    watched = there("jobs", "watch", number, check=False)
    assert (watched.returncode, "cancelled on request" in watched.stderr) == (1, True)
    assert "continues" in there("jobs", "retry", number).stdout
    there("jobs", "cancel", number)
    facts = json.loads(there("enqueue", "compact", "--json").stdout)
    assert {"job", "kind", "created", "rung", "options"} == set(facts)
    there("jobs", "cancel", str(facts["job"]))


def test_users_are_corrected_pinned_and_released(there: Any, api: Api) -> None:
    done = there("users", "correct", "user-1", "--segment", "high", "--reason", "called").stdout
    assert f"high in {LABELS}, until" in done
    assert "called" in there("users", "corrections").stdout
    pinned = json.loads(there("users", "pin", "user-1", "--reason", "stays", "--json").stdout)
    assert (pinned["correction"]["expires_at"], pinned["correction"]["segment"]) == (None, "high")
    assert pinned["replaced"] is not None
    ended = there("users", "correct", "user-1", "--withdraw", "--reason", "over").stdout
    assert "is withdrawn" in ended
    entry = api.get("/v1/audit?action=users&limit=1")["items"][0]
    assert entry["actor"] == "key the admin"


def test_schedules_feeds_and_keys_are_kept(there: Any) -> None:
    added = there("schedule", "add", "nightly", "--cron", "0 3 * * *", "refresh", "--labels", LABELS).stdout
    assert "nightly: refresh at '0 3 * * *' (UTC)" in added
    again = there("schedule", "add", "nightly", "--cron", "0 4 * * *", "refresh").stdout
    assert "It replaces the schedule of the same name: refresh at '0 3 * * *' (UTC)." in again
    assert "is paused" in there("schedule", "pause", "nightly").stdout
    assert "goes on; next" in there("schedule", "resume", "nightly").stdout
    there("schedule", "remove", "nightly")
    assert (
        f"receives the changes of {LABELS}"
        in there("feeds", "add", "crm", "redis-stream", "-o", "url=redis://127.0.0.1:9/0", "-o", "stream=crm").stdout
    )
    assert json.loads(there("feeds", "show", "crm", "--json").stdout)["label_set"] == LABELS
    number = there("feeds", "deliver", "crm").stdout.split()[2]
    there("jobs", "cancel", number)
    assert "Removed crm." in there("feeds", "remove", "crm").stdout
    assert there("keys", "create", "bob", "--role", "viewer").stdout.startswith("seg_")
    assert "is revoked" in there("keys", "revoke", "bob").stdout


def test_segments_are_described_and_models_promoted(there: Any) -> None:
    written = there("segments", "describe", "high", "--text", "Call them.", "--owner", "CRM").stdout
    assert "what it is for: Call them." in written
    assert "Call them." in there("segments", "list").stdout
    assert len(json.loads(there("segments", "describe", "high", "--history", "--json").stdout)) == 1
    refused = there("models", "promote", "1", "--reason", "again", check=False)
    assert (refused.returncode, f"Version 1 is champion of '{LABELS}' already" in refused.stderr) == (1, True)


def test_mappings_labels_merges_and_erasures(there: Any, tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    file.write_text('[columns]\nuser = "customer"\n')
    assert "saved as ours" in there("data", "mappings", "save", "ours", str(file)).stdout
    refused = there("data", "mappings", "save", "ours", str(file), check=False)
    assert (refused.returncode, "There is a mapping 'ours' already" in refused.stderr) == (1, True)
    assert 'user = "customer"' in there("data", "mappings", "show", "ours").stdout
    assert "is removed" in there("data", "mappings", "remove", "ours", "--yes").stdout
    options = (word for name, value in LABELER.items() for word in ("-o", f"{name}={value}"))
    there("data", "label", "second", *options)
    slash = there("data", "label", "a/b", *options, check=False)
    assert (slash.returncode, "has a slash" in slash.stderr) == (1, True)
    assert "second" in there("data", "list").stdout
    merged = there("data", "merge", "user-7", "user-8", "--yes").stdout
    assert ", merged (" in merged
    assert ", already merged (" in there("data", "merge", "user-7", "user-8", "--yes").stdout
    number = merged.split()[1].rstrip(":")
    assert f"Merge {number} is undone." in there("data", "merge", "--undo", number, "--yes").stdout
    unknown = there("data", "merge", "user-7", "nobody", "--yes", check=False)
    assert (unknown.returncode, "nobody" in unknown.stderr) == (1, True)
    gone = there("data", "forget", "nobody", "--yes", check=False)
    assert (gone.returncode, "is not known; nothing was erased" in gone.stderr) == (1, True)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("report --language zh --html", ["out"]),
        ("report --charts", ["out/confidence.svg", "out/segments.svg"]),
        ("jobs show 1 --out", ["out"]),
        ("drift list --html", ["out"]),
    ],
)
def test_files_are_written_as_on_this_machine(
    there: Any, api: Api, cli: Cli, tmp_path: Path, line: str, names: list[str]
) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
    here, remote = (f"{line} {folder / 'out'}".split() for folder in folders)
    printed = [cli(*here, SEGADMIN_HOME=str(api.settings.home)).stdout, there(*remote).stdout]
    assert printed[0].replace(str(folders[0]), "") == printed[1].replace(str(folders[1]), "")
    for name in names:
        texts = [re.sub(r"\d\d:\d\d:\d\d", "TIME", (folder / name).read_text()) for folder in folders]
        assert texts[0] == texts[1]


def test_a_report_as_json_is_that_of_this_machine(both: Any) -> None:
    here, there = both("report --json")
    assert here[0] == 0
    assert there == here
    assert json.loads(here[1])["segments"]


def test_checks_run_on_the_machine_of_the_server(there: Any) -> None:
    checked = json.loads(there("doctor", "--backbone", "tabular", "--json", check=False).stdout)
    assert "its weights are here" in [each["detail"] for each in checked if each["what"] == "backbone tabular"]
    assert "'timeline' keeps its contract" in there("plugins", "check", "timeline", "--kind", "textualizer").stdout
    assert "tabular can be used" in there("backbones", "check", "tabular").stdout


def test_messages_that_are_not_ours_are_shown_and_deleted(both: Any, there: Any, api: Api) -> None:
    set_aside(api.settings, "cpu", "no task of this name", b"{}", "worker@here")
    here, remote = both("jobs quarantine --json")
    assert json.loads(here[1])[0]["reason"] == "no task of this name"
    assert remote == here
    assert "Deleted 1 message." in there("jobs", "quarantine", "--clear").stdout


def test_suggested_commands_are_for_the_same_server(api: Api, cli: Cli) -> None:
    done = cli("--server", api.url, "jobs", "list", "--limit", "1", SEGADMIN_KEY=api.keys[Scope.VIEWER]).stdout
    assert f"Older ones: segadmin --server {api.url} jobs list --before" in done
    admin = {"SEGADMIN_KEY": api.keys[Scope.ADMIN]}
    for words, command in (("doctor", "up --detach"), ("backbones list", "backbones pull bert-base-chinese")):
        done = cli("--server", api.url, *words.split(), check=False, **admin).stdout
        assert f"on the server: segadmin {command}" in done
        assert "on this machine" not in done


def test_a_key_without_the_scope_says_which_is_needed(api: Api, cli: Cli) -> None:
    where = {"SEGADMIN_SERVER": api.url, "SEGADMIN_KEY": api.keys[Scope.VIEWER]}
    done = cli("keys", "list", check=False, **where)
    assert (done.returncode, "segadmin keys create NAME --role admin" in done.stderr) == (1, True)
    assert cli("users", "show", "user-1", **where).stdout.startswith("user ")


@pytest.fixture
def worked(api: Api, there: Any) -> Any:
    """Run a command on a server while this process does what its workers would."""

    def run(*words: str, **options: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(there, *words, **options)
            while not done.done():
                with transaction(api.settings) as session:
                    going = select(Job.id).where(col(Job.state).in_([JobState.QUEUED, JobState.RUNNING]))
                    todo = select(Step.id).where(Step.state == StepState.READY, col(Step.job_id).in_(going))
                    ready = session.exec(todo).all()
                for step in ready:
                    run_step(api.settings, lambda _: None, step or 0, "me")
                wait([done], timeout=0.2)
            return done.result()

    return run


def test_files_are_imported_and_exported(worked: Any, there: Any, api: Api, tmp_path: Path) -> None:
    nothing_runs(api.settings)
    file = tmp_path / "more.csv"
    file.write_text("customer,kind,item,at\nuser-1,view,i1,2026-01-01T10:00:00Z\nuser-2,view,i1,never\n")
    mapped = ("--map", "user=customer")
    preview = there("data", "preview", str(file), *mapped)
    previewed = preview.stdout
    assert preview.stderr == "", "there is no terminal to draw the progress of the upload on"
    assert "more.csv: 1 of the first 2 rows can be used as events." in previewed
    assert "bad_time: 1 row" in previewed
    imported = worked("data", "import", "events", str(file), *mapped).stdout
    assert "events: 1 of 2 rows kept from more.csv." in imported
    number = imported.partition("--import ")[2].split()[0]
    assert "bad_time" in there("data", "quarantine", "--import", number).stdout
    assert "Deleted 1 row" in there("data", "quarantine", "--import", number, "--drop", "--yes").stdout
    again = worked("data", "import", "events", str(file), *mapped).stdout
    assert "more.csv was imported before" in again
    anew = worked("data", "import", "events", str(file), *mapped, "--again", "--source", "csv").stdout
    assert "of 2 rows kept from more.csv" in anew
    odd = there("data", "import", "events", str(file), "--source", "redis", check=False)
    assert (odd.returncode, "The source 'redis' reads no uploaded file" in odd.stderr) == (1, True)
    assert "1 of the first 1 row can" in there("data", "preview", str(file), *mapped, "--rows", "1").stdout
    missing = there("data", "import", "events", str(tmp_path / "none.csv"), check=False)
    assert (missing.returncode, "none.csv is no file of this machine" in missing.stderr) == (1, True)
    exported = worked("snapshots", "export", "--out", str(tmp_path / "high.csv"), "--segment", "high").stdout
    lines = (tmp_path / "high.csv").read_text(encoding="utf-8-sig").splitlines()
    assert f"Wrote {len(lines) - 1} users of snapshot" in exported
    assert lines[0].startswith("user,segment")
