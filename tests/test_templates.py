"""Target files to begin with work as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from consilience.cli import main
from consilience.templates import target_file
from consilience.testing import check_target


@pytest.mark.parametrize("modality", ["atoms", "string", "graph", "text", "protein_sequence", "protein_structure"])
def test_a_new_target_keeps_the_contract(tmp_path: Path, modality: str) -> None:
    path = tmp_path / "target_new.py"
    done = CliRunner().invoke(main, ["new", "target", f"new-{modality}", "--modality", modality, "--output", str(path)])
    assert done.exit_code == 0, done.output
    assert "consilience check" in done.output
    report = check_target(path, n=16)
    report.raise_for_failures()
    assert report.target == f"new-{modality}"
    assert "the untrained twin differs" in {check.name for check in report.checks}


def test_names_are_put_in() -> None:
    text = target_file("orb-9", "string", family="orb")
    assert '        name="orb-9",' in text
    assert '        family="orb",' in text
    assert "mymodel-1.2.3.pt" in text  # an example in a comment is left alone


def test_nothing_is_overwritten_and_bad_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "target_mine.py"
    path.write_text("precious")
    done = CliRunner().invoke(main, ["new", "target", "mine", "--output", str(path)])
    assert (done.exit_code, path.read_text()) == (2, "precious")
    done = CliRunner().invoke(main, ["new", "target", "Bad Name", "--output", str(tmp_path / "target_x.py")])
    assert done.exit_code == 2
    assert "name" in done.output
    assert not (tmp_path / "target_x.py").exists()
