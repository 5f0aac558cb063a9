from __future__ import annotations

from pathlib import Path

import pytest

from consilience.records import DEFAULT_BOARD
from consilience.records.spec import DEFAULT_SPEC, read_spec
from consilience.registry import get_target

from ..boards import ROOT  # noqa: TID252


def test_the_shipped_spec_is_that_of_the_default_board_and_names_registered_targets_only() -> None:
    assert DEFAULT_SPEC.read_text("utf-8") == (ROOT / "leaderboard" / DEFAULT_BOARD / "spec.toml").read_text("utf-8")
    spec = read_spec(DEFAULT_SPEC)
    assert spec.board == DEFAULT_BOARD
    for name in {*spec.controls, *(name for entry in spec.datasets for name in entry.references)}:
        assert get_target(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("k = 25", "k = 0", "settings.k"),
        ("permutations = 200", "permutation = 200", "settings.permutation"),
        ('revision = "', 'revision = "x', "revision"),
        ("[settings]", "[settings", "spec.toml"),
    ],
)
def test_a_broken_spec_is_an_error_naming_file_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(DEFAULT_SPEC.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_spec(path)
    assert "spec.toml" in str(caught.value)


def test_an_unknown_data_set_is_named() -> None:
    with pytest.raises(LookupError, match="has no data set 'qm8'"):
        read_spec(DEFAULT_SPEC).dataset("qm8")
