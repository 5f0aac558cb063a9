"""A publisher's remarks: on the page, wherever it is built, and never on a data set that the board does not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from consilience.board.markdown import render
from consilience.board.publish import publish, read_board
from consilience.board.remarks import EVERY_TABLE, FILE, GENERAL, read_remarks
from consilience.board.verify import Report, _verify_pages, verify_board
from consilience.cli import main
from consilience.records.spec import read_spec

from ..boards import V1_SPEC  # noqa: TID252

PUBLISHED = Path(__file__).resolve().parents[2] / "leaderboard" / "v1"
SPEC = read_spec(V1_SPEC)
REMARKS = """\
The board has **limits**.

## mof-500

One item
is odd.

### Why

It is.

## every table

Intervals are too narrow.
"""


def sections(page: str) -> dict[str, str]:
    """The parts of a page by their headings."""
    first, *rest = re.split(r"(?m)^## (.*)$", page)
    return {"": first} | dict(zip(rest[::2], rest[1::2], strict=True))


def test_remarks_of_the_published_board_are_shown_where_they_belong() -> None:
    board = read_board(PUBLISHED)
    remarks = read_remarks(PUBLISHED, board.spec)
    shown = sections(render(board, remarks))
    assert remarks[GENERAL] in shown["Remarks"]
    assert list(shown).index("Remarks") == 1  # before any table
    for table in board.datasets:
        own = remarks.get(table.name, "")
        for text in (own, remarks[EVERY_TABLE]):
            # Below the data set's main table, above all else that is said of it.
            assert text in re.split(r"(?m)^\(c\) control", shown[table.name])[0].rsplit("|\n", 1)[1]
        assert not any(remarks[name] in shown[table.name] for name in remarks if name not in (table.name, EVERY_TABLE))
    for told in ("LIWFOM_clean", "33 of the 900", "0.62 instead of", "2 to 3 times too narrow", "NAGL 0.319"):
        assert told in (PUBLISHED / "leaderboard.md").read_text("utf-8")
    report = Report()
    _verify_pages(PUBLISHED, report)
    assert not report.findings


def test_a_board_without_remarks_has_no_place_for_them() -> None:
    board = read_board(PUBLISHED)
    assert "## Remarks" not in render(board)
    assert "too narrow" not in render(board)


@pytest.mark.slow
def test_publish_build_and_verify_show_the_same_remarks(board: Path) -> None:
    plain = (board / "leaderboard.md").read_text("utf-8")
    figures = (board / "leaderboard.json").read_bytes()
    (board / FILE).write_text(REMARKS, "utf-8")
    report = Report()
    _verify_pages(board, report)  # the page was built before there were remarks
    assert {one.file for one in report.findings} == {"leaderboard.md"}
    publish(board)
    page = (board / "leaderboard.md").read_text("utf-8")
    assert "The board has **limits**." in sections(page)["Remarks"]
    assert "One item\nis odd.\n\n### Why\n\nIt is.\n\nIntervals are too narrow.\n" in sections(page)["mof-500"]
    assert (board / "leaderboard.json").read_bytes() == figures
    assert CliRunner().invoke(main, ["leaderboard", "build", str(board)]).exit_code == 0
    assert (board / "leaderboard.md").read_text("utf-8") == page
    assert not verify_board(board).findings
    (board / FILE).unlink()
    publish(board)
    assert (board / "leaderboard.md").read_text("utf-8") == plain


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"## qm8\n\nText.\n", "section 'qm8' is no data set of board v1 (every table, mof-500)"),
        (b"## mof-500\n\nOne.\n\n## mof-500\n\nTwo.\n", "section 'mof-500' stands twice"),
        (b"caf\xe9", "can't decode byte 0xe9"),
    ],
)
def test_remarks_that_belong_nowhere_are_refused_in_one_line(board: Path, text: bytes, told: str) -> None:
    (board / FILE).write_bytes(text)
    before = {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}
    for command in (["leaderboard", "build", str(board)], ["run", "--board", str(board), "--targets", "size"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert told in result.output.splitlines()[-1]
        assert str(board / FILE) in result.output.splitlines()[-1]
    assert {path: path.read_bytes() for path in board.rglob("*") if path.is_file()} == before
    report = Report()
    _verify_pages(board, report)
    (finding,) = report.findings
    assert finding.file == FILE
    assert told in finding.published


def test_headings_are_names_of_data_sets_only(tmp_path: Path) -> None:
    assert read_remarks(tmp_path, SPEC) == {}
    (tmp_path / FILE).write_text("## qm9-1k  \nA.\n#### Deeper\n##no heading\n")
    assert read_remarks(tmp_path, SPEC) == {GENERAL: "", "qm9-1k": "A.\n#### Deeper\n##no heading"}
