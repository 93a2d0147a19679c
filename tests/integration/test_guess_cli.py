"""From a file that nobody described to events in the lake, by the commands that are printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import polars as pl
import pytest

from segadmin.events.mapping import Mapping
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from tests.conftest import Cli
from tests.unit.events.test_guess import FILES, STORED

LOG = """\
shopper;what;article;when;how_many;price_each
u1;Viewed;lamp;31.01.2026 10:00;;
u1;Order Placed;lamp;31.01.2026 10:05;2;19,90
u2;Order Placed;chair;01.02.2026 11:00;1;49,00
u2;sneezed;chair;01.02.2026 11:01;;
"""


def stored(settings: Settings) -> list[tuple[object, ...]]:
    lake = Lake.of(settings)
    events = lake.scan("events").join(lake.scan("users"), on="user_key")
    return sorted(events.select("user", "kind", "item", "quantity", pl.col("price").round(2)).collect().rows(), key=str)


def printed(text: str) -> list[list[str]]:
    """Return the commands behind ``To import:``, without ``segadmin``."""
    [line] = [line for line in text.splitlines() if line.startswith("Nothing was imported.")]
    return [shlex.split(command)[1:] for command in line.partition("To import: ")[2].split(" && ")]


@pytest.mark.parametrize("name", ["taobao", "shopify-orders"])
def test_a_known_layout(cli: Cli, settings: Settings, tmp_path: Path, name: str) -> None:
    file, text = FILES[name]
    (tmp_path / file).write_text(text, encoding="utf-8")
    looked = cli("data", "preview", str(tmp_path / file), "--guess").stdout
    assert f"The mapping, shipped as {name}:" in looked
    [command] = printed(looked)
    assert command[-2:] == ["--mapping", name]
    cli(*command)
    assert stored(settings) == sorted(STORED[name], key=str)


def test_a_file_of_unknown_layout(cli: Cli, settings: Settings, tmp_path: Path) -> None:
    path, mapping = tmp_path / "my log.csv", tmp_path / "shop.toml"
    path.write_text(LOG, encoding="utf-8")
    saving, _ = printed(cli("data", "preview", str(path), "--guess").stdout)
    assert saving[-3:] == ["--guess", "--save", "mapping.toml"]
    assert not Path("mapping.toml").exists()
    looked = cli("data", "preview", str(path), "--guess", "--save", str(mapping))
    assert f"Wrote the mapping to {mapping}." in looked.stderr
    assert Mapping.read(mapping).kinds == {"Viewed": "view", "Order Placed": "purchase"}
    assert '# "sneezed" = "ignore"' in mapping.read_text()
    assert 'Note: 1 row has the kind "sneezed"' in looked.stdout
    again = cli("data", "preview", str(path), "--guess", "--save", str(mapping), check=False)
    assert (again.returncode, again.stderr.strip()) == (
        1,
        f"Error: {mapping} exists already. Remove it, or name another file: --save FILE.toml",
    )

    mapping.write_text(mapping.read_text().replace('# "sneezed"', '"sneezed"'))
    [command] = printed(looked.stdout)
    done = json.loads(cli(*command, "--json").stdout)
    assert [done[f"rows_{name}"] for name in ("read", "kept", "quarantined", "ignored")] == [4, 3, 0, 1]
    assert stored(settings) == [
        ("u1", "purchase", "lamp", 2.0, 39.8),
        ("u1", "view", "lamp", None, None),
        ("u2", "purchase", "chair", 1.0, 49.0),
    ]


def test_items_are_imported_from_the_same_file(cli: Cli, settings: Settings, tmp_path: Path) -> None:
    file, text = FILES["kaggle-ecommerce"]
    (tmp_path / file).write_text(text, encoding="utf-8")
    preview = json.loads(cli("data", "preview", str(tmp_path / file), "--guess", "--json").stdout)
    assert (preview["layout"], preview["sure"]) == ("kaggle-ecommerce", "certain")
    cli(*shlex.split(preview["items_command"])[1:])
    items = Lake.of(settings).scan("items").select("item", "category", "brand").sort("item").collect()
    assert items.rows() == [("1003461", None, "xiaomi"), ("5000088", None, "janome")]


def test_the_list_of_shipped_mappings(cli: Cli) -> None:
    listed = json.loads(cli("data", "mappings", "--json").stdout)
    assert {mapping["name"] for mapping in listed} == set(FILES)
    assert all(mapping["name"] in cli("data", "mappings").stdout for mapping in listed[:1])
    assert cli("data", "mappings", "show", "taobao").stdout == Path(listed[-1]["path"]).read_text()
    wrong = cli("data", "mappings", "show", "taobo", check=False)
    assert "Did you mean 'taobao'?" in wrong.stderr


def test_guess_excludes_a_mapping(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(LOG, encoding="utf-8")
    for words, message in (
        (("--guess", "--map", "user=shopper"), "Leave out --map."),
        (("--save", "x.toml"), "Only --guess has a mapping to save."),
    ):
        done = cli("data", "preview", str(path), *words, check=False)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
