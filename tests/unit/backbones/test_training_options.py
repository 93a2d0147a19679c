"""Options of fine-tuning: those that depend on the data, and what values they take."""

from __future__ import annotations

import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin_plugins.backbones.tiny import Tiny


@pytest.mark.parametrize(
    ("rows", "epochs", "patience"),
    [
        (48, 34, 34),  # three steps an epoch
        (1600, 3, 3),
        (0, 100, 100),
    ],
)
def test_few_rows_are_read_in_more_epochs(rows: int, epochs: int, patience: int) -> None:
    options = Tiny(epochs=3, least_steps=100, batch_size=16, patience=3).for_rows(rows)
    assert (options.epochs, options.patience) == (epochs, patience)


def test_epochs_stay_without_a_least_number_of_steps() -> None:
    assert Tiny(epochs=3).for_rows(1) == Tiny(epochs=3)
    assert Tiny(epochs=0, batch_size=8).for_rows(1).epochs == 0


@pytest.mark.parametrize("name", ["hf", "minilm", "e5", "tiny"])
@pytest.mark.parametrize(
    ("option", "refused", "taken"),
    [
        ("max_tokens", ("0", "-1"), "1"),
        ("epochs", ("-1",), "0"),
        ("least_steps", ("-1",), "0"),
        ("batch_size", ("0", "-8"), "1"),
        ("learning_rate", ("0", "-1e-5", "nan", "inf", "1.5"), "1"),
        ("warmup", ("-0.1", "1.1", "nan"), "1"),
        ("weight_decay", ("-0.1", "inf", "nan"), "0"),
        ("patience", ("-1",), "0"),
        ("frozen_layers", ("-1",), "0"),
        ("also_weight", ("-1", "inf"), "0"),
    ],
)
def test_values_that_cannot_work_are_refused_in_one_line(
    settings: Settings, name: str, option: str, refused: tuple[str, ...], taken: str
) -> None:
    make = load_plugins(settings).make
    for value in refused:
        with pytest.raises(ConfigurationError, match=rf"^The backbone '{name}' cannot use {option}='{value}': .*\.$"):
            make("backbone", name, {option: value})
    assert getattr(make("backbone", name, {option: taken}), option) == float(taken)


@pytest.mark.parametrize(
    ("tuner", "option", "most"),
    [
        ("lora", "rank", 1024),
        ("adalora", "rank", 1024),
        ("adalora", "start_rank", 1024),
        ("prefix", "tokens", 512),
        ("houlsby", "width", 4096),
    ],
)
def test_sizes_of_tuners_are_bounded(settings: Settings, tuner: str, option: str, most: int) -> None:
    make = load_plugins(settings).make
    assert getattr(make("tuner", tuner, {option: str(most)}), option) == most
    for value in (most + 1, 0):
        with pytest.raises(ConfigurationError, match=rf"^The tuner '{tuner}' cannot use {option}={value}: .*\.$"):
            make("tuner", tuner, {option: value})


def test_a_model_from_nothing_has_no_base_to_keep(settings: Settings) -> None:
    for tuner in ("lora", "full"):
        backbone = load_plugins(settings).make("backbone", "tiny", {"tuner": tuner, "store": "adapter"})
        with pytest.raises(
            ConfigurationError, match=r"'tiny' starts from nothing, so there is no base. Leave store out\.$"
        ):
            backbone.check(settings)
