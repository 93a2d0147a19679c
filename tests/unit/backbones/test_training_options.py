"""Options of fine-tuning that depend on the data."""

from __future__ import annotations

import pytest

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
