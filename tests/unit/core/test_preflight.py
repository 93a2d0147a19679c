"""Settings that cannot be used are found before anything starts: each in a line with its value and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from segadmin import preflight
from segadmin.errors import InvalidSettings
from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from segadmin.storage.store import open_store


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("events_mapping", Path("nowhere.toml"), "The mapping nowhere.toml cannot be read: No such file or directory."),
        ("weights", Path("nowhere"), "SEGADMIN_WEIGHTS='nowhere': there is no such folder."),
        (
            "broker_ca",
            Path("nowhere.pem"),
            "SEGADMIN_BROKER_CA='nowhere.pem': it cannot be read: No such file or directory.",
        ),
        ("broker_ca", Path(__file__), "it holds no certificate in PEM form."),
        ("plugin_files", (Path("nowhere.py"),), "SEGADMIN_PLUGIN_FILES='nowhere.py': there is no such file."),
        ("trackers", ("tensorbord",), "SEGADMIN_TRACKERS='tensorbord': There is no tracker 'tensorbord'. Did you mean"),
        ("trackers", ("none", "wandb"), "SEGADMIN_TRACKERS='none': There is no tracker 'none'."),
        (
            "engine",
            "torsh",
            "SEGADMIN_ENGINE='torsh': There is no engine 'torsh'. Did you mean 'torch'? Correct or unset",
        ),
        (
            "engine",
            "",
            "There is no engine ''. There are: onnxruntime, openvino, torch, transformers. Correct or unset",
        ),
        ("heartbeat_seconds", 15.0, "is not less than SEGADMIN_LEASE_SECONDS='15.0'"),
        ("flower_user", "a,b", "SEGADMIN_FLOWER_USER='a,b': Flower splits it at the comma."),
        ("signing_certificate", Path("a.pem"), "SEGADMIN_SIGNING_KEY is not set, but SEGADMIN_SIGNING_CERTIFICATE is."),
        ("signing_trusted", "/nowhere/*.pem", "SEGADMIN_SIGNING_TRUSTED='/nowhere/*.pem': no file is called so."),
        ("signing_key", Path(__file__), "it is not in PEM form."),
        (
            "store",
            Path("/proc/store"),
            "SEGADMIN_STORE='/proc/store': it cannot be written: No such file",
        ),
        ("home", Path(__file__) / "home", "it cannot be written: Not a directory. Set SEGADMIN_HOME to a folder."),
        ("database_url", "sqlite:////proc/x/segadmin.db", "segadmin.db cannot be created: "),
    ],
)
def test_unusable_settings_are_named(settings: Settings, name: str, value: object, message: str) -> None:
    lines = preflight.problems(settings.model_copy(update={name: value}))
    assert any(message in line for line in lines), lines
    assert all("\n" not in line for line in lines)


def test_the_defaults_can_be_used_and_all_problems_are_reported_at_once(settings: Settings) -> None:
    assert preflight.problems(settings) == []
    changed = settings.model_copy(update={"weights": Path("nowhere"), "trackers": ("x",), "broker_ca": Path("no.pem")})
    assert [line.partition("=")[0] for line in preflight.problems(changed)] == [
        "SEGADMIN_WEIGHTS",
        "SEGADMIN_BROKER_CA",
        "SEGADMIN_TRACKERS",
    ]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            b"[kinds]\n'Product Viewed' = 'viewed'",
            "kinds.Product Viewed: there is no kind 'viewed'. Did you mean 'view'?",
        ),
        (b"[columns]\nuser_id = 'uid'", "events have no field 'user_id'"),
        (b"timezone = 'Asia/Beijing'", "There is no time zone 'Asia/Beijing'."),
        (b"[column]\nuser = 'uid'", "Did you mean 'columns'?"),
        (b"kinds = [", "is not TOML in UTF-8"),
        (b"# \xff", "is not TOML in UTF-8"),
    ],
)
def test_an_unusable_mapping_is_reported(settings: Settings, tmp_path: Path, mapping: bytes, message: str) -> None:
    path = tmp_path / "shop.toml"
    path.write_bytes(mapping)
    [line] = preflight.problems(settings.model_copy(update={"events_mapping": path}))
    assert line.startswith(f"SEGADMIN_EVENTS_MAPPING='{path}': ")
    assert message in line
    assert line.endswith("Correct the file, or unset SEGADMIN_EVENTS_MAPPING.")


def test_a_mapping_whose_columns_a_made_up_event_lacks_is_good(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(
        "extras = ['coupon']\n[columns]\nuser = 'uid'\nprice = 'paid'\n[kinds]\n'Product Viewed' = 'view'\n"
    )
    assert preflight.problems(settings.model_copy(update={"events_mapping": path})) == []


def test_the_secret_and_the_buckets_are_compared_with_the_store_and_nothing_is_made(settings: Settings) -> None:
    database.ensure_schema(settings)
    assert preflight.problems(settings) == []
    assert not (settings.root / "user_key_secret").exists()
    open_store(settings)
    assert preflight.problems(settings) == []
    other = Settings(home=settings.home, user_key_secret="another", buckets=32)  # type: ignore[arg-type]
    [line] = preflight.problems(other)
    assert line.startswith("The store was made with the user-key secret ")
    assert "another" not in line
    (settings.root / "user_key_secret").unlink()
    [line] = preflight.problems(settings)
    assert "which is not here" in line
    assert not (settings.root / "user_key_secret").exists()
    assert preflight.problems(settings, leave_out=("user_key_secret",)) == []


def test_unknown_variables_are_found_with_what_was_meant() -> None:
    names = {
        "SEGADMIN_HOME": "x",
        "SEGADMIN_FAILPOINT": "",
        "SEGADMIN_EVENT_MAPPING": "x",
        "SEGADMIN_XYZZY": "",
        "PATH": "",
    }
    assert preflight.unknown_variables(names) == {
        "SEGADMIN_EVENT_MAPPING": " Did you mean SEGADMIN_EVENTS_MAPPING?",
        "SEGADMIN_XYZZY": "",
    }


def test_malformed_values_are_all_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "USER_KEY_SECRET": " ",
        "WEB_PORT": "70000",
        "LEASE_SECONDS": "inf",
        "BROKER_URL": "redis://:hid@den@broker/0",
        "BUCKETS": "12",
    }.items():
        monkeypatch.setenv(f"SEGADMIN_{name}", value)
    get_settings.cache_clear()
    with pytest.raises(InvalidSettings) as error:
        get_settings()
    get_settings.cache_clear()
    lines = {line.partition("=")[0]: line for line in error.value.problems}
    assert set(lines) == {
        f"SEGADMIN_{name}" for name in ("USER_KEY_SECRET", "WEB_PORT", "LEASE_SECONDS", "BROKER_URL", "BUCKETS")
    }
    assert lines["SEGADMIN_BROKER_URL"].startswith("SEGADMIN_BROKER_URL='redis://:***@broker/0': it has several @.")
    assert "it is empty" in lines["SEGADMIN_USER_KEY_SECRET"]
    assert all(line.endswith(f"Change or unset {name}.") for name, line in lines.items())
