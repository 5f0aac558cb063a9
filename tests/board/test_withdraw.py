"""Withdrawing rows: nothing of them stays but a line that says so, and the name is free again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from consilience.board.board import read_records
from consilience.board.groups import read_pairs
from consilience.board.publish import publish
from consilience.board.remarks import FILE as REMARKS
from consilience.board.submission import taken
from consilience.board.verify import verify_board
from consilience.board.withdraw import withdraw
from consilience.cli import main
from consilience.registry import get_target


def test_rows_and_pairs_go_and_the_page_says_why(board: Path) -> None:
    (board / REMARKS).write_text("Of the publisher.\n")
    publish(board)
    before = {record.target: record for record in read_records(board / "results")}
    reason = "wrong <b>weights</b>,\nnew ones follow"
    result = CliRunner().invoke(main, ["leaderboard", "withdraw", str(board), "sevennet-0", "--reason", reason])
    assert result.exit_code == 0, result.output
    assert "sevennet-0 is withdrawn from mof-500" in result.output
    after = {record.target: record for record in read_records(board / "results")}
    assert after == {name: record for name, record in before.items() if name != "sevennet-0"}
    pairs = read_pairs(board, "mof-500")
    assert pairs is not None
    assert pairs.pairs
    assert not any("sevennet-0" in (pair.first, pair.second) for pair in pairs.pairs)
    page = (board / "leaderboard.md").read_text("utf-8")
    assert page.index("Of the publisher.") < page.index("Withdrawn from this board")
    assert "mof-500): wrong &lt;b>weights&lt;/b>, new ones follow" in page
    assert "| sevennet-0" not in page
    assert not verify_board(board).findings  # the page is rebuilt with what was withdrawn
    assert not taken(board, get_target("sevennet-0"), ["mof-500"])


def test_what_others_rest_on_stays(board: Path) -> None:
    before = {path: path.read_bytes() for path in board.rglob("*.json")}
    for name, words in (("chgnet-0.3.0", "a reference or control"), ("composition", "a reference or control")):
        result = CliRunner().invoke(main, ["leaderboard", "withdraw", str(board), name, "--reason", "x"])
        assert result.exit_code == 2
        assert words in result.output
    result = CliRunner().invoke(main, ["leaderboard", "withdraw", str(board), "sevennet-1", "--reason", "x"])
    assert result.exit_code == 2
    assert "did you mean sevennet-0" in result.output
    result = CliRunner().invoke(main, ["leaderboard", "withdraw", str(board), "sevennet-0", "--reason", " "])
    assert result.exit_code == 2
    assert {path: path.read_bytes() for path in board.rglob("*.json")} == before


def test_one_that_was_stopped_goes_on(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("consilience.board.withdraw.publish_within", stop)
        with pytest.raises(KeyboardInterrupt):
            withdraw(board, "sevennet-0", "first")
    publish(board)  # the next publication ends it
    assert not verify_board(board).findings
    assert [one["target"] for one in json.loads((board / "withdrawn.json").read_text())["withdrawn"]] == ["sevennet-0"]
    assert "Withdrawn from this board" in (board / "leaderboard.md").read_text("utf-8")
