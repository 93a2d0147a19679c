"""The mutants of the fault tests change code that there is."""

from __future__ import annotations

import pytest

from tests.faults.mutants import MUTANTS, Mutant
from tests.servers import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.before) == 1
