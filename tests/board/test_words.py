"""What a run says of a target in plain words, against the published board."""

from __future__ import annotations

from pathlib import Path

import pytest

from consilience.board.words import in_words, published
from consilience.records.migrations import read_record
from consilience.records.record import Record
from consilience.scoring.presets import RANKED

RECORDS = Path(__file__).resolve().parents[2] / "leaderboard" / "v1" / "results" / "qm9-1k"

pytestmark = pytest.mark.skipif(not RECORDS.is_dir(), reason="needs the repository")


def record_of(name: str) -> Record:
    return read_record(RECORDS / f"{name}.json")


def test_a_strong_model_is_placed_and_set_against_the_controls() -> None:
    record = record_of("so3lr")
    words = "\n".join(in_words(record, published()["qm9-1k"]))
    pairs = record.scores[RANKED].pairs
    best = max(pairs, key=lambda name: pairs[name].calibrated or 0)
    assert f"closest to {best}" in words
    assert "place 1 of" in words
    assert "(so3lr@untrained, " in words
    assert " above its untrained twin" in words
    assert "BELOW" not in words


def test_a_model_without_a_twin_is_set_against_the_best_untrained_network() -> None:
    assert "the best untrained network (chgnet-0.3.0@untrained" in "\n".join(
        in_words(record_of("minimol"), published()["qm9-1k"])
    )


def test_a_weak_model_is_told_so() -> None:
    words = "\n".join(in_words(record_of("soltrannet"), published()["qm9-1k"]))
    assert " BELOW the best untrained" in words


def test_without_a_table_or_on_other_data_only_the_run_speaks() -> None:
    record = record_of("minimol")
    assert len(in_words(record, None)) == 1
    other = record.model_copy(update={"revision": "0" * 64})
    assert len(in_words(other, published()["qm9-1k"])) == 1


def test_a_failed_cell_has_no_place() -> None:
    record = record_of("minimol").model_copy(update={"state": "failed", "scores": {}})
    assert in_words(record, published()["qm9-1k"]) == []
