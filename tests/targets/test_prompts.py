"""What language models are asked."""

from __future__ import annotations

import pytest
from ase import Atoms

from consilience.targets._prompts import LONG, SHORT, describe


def test_an_item_is_described_by_its_smiles_or_its_atoms() -> None:
    assert describe("CCO") == "SMILES: CCO"
    with pytest.raises(ValueError, match="empty"):
        describe("")
    water = Atoms("OH2", [[0, 0, 0.123456], [0, 0.76, -0.5], [0, -0.76, -0.5]])
    text = describe(water)
    for part in ("'H2O'", "numbers=[8, 1, 1]", "[0.0, 0.0, 0.1235]", "cell=[[0.0", "pbc=[False, False, False]"):
        assert part in text


def test_one_style_is_a_sentence_and_the_other_is_long() -> None:
    assert SHORT.count(".") == 1
    assert len(LONG) > 5 * len(SHORT)
