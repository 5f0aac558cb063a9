"""Records of every schema version that was ever published are read; what can't be is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consilience.board.verify import differences
from consilience.records.migrations import RECORD_MIGRATIONS, as_version, read_record
from consilience.records.record import RECORD_VERSION
from consilience.records.schema import to_json

GOLDEN = Path(__file__).parent / "golden"
PUBLISHED = Path(__file__).resolve().parents[2] / "leaderboard" / "v1"


def altered(tmp_path: Path, **fields: Any) -> Path:
    path = tmp_path / "so3lr.json"
    path.write_text(json.dumps(json.loads((GOLDEN / "record.v1.json").read_text()) | fields))
    return path


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("results/qm9-1k/*.json")), ids=lambda path: path.stem)
def test_a_record_of_schema_1_is_written_back_as_it_was(path: Path) -> None:
    assert to_json(as_version(read_record(path), 1)) == path.read_text()


@pytest.mark.parametrize("version", range(1, RECORD_VERSION + 1))
def test_a_published_record_of_each_version_is_read(version: int) -> None:
    """The files are as they were published; one is added, and none is ever changed, with each version."""
    record = read_record(GOLDEN / f"record.v{version}.json")
    assert record.schema_version == RECORD_VERSION
    assert record.target == "so3lr"
    assert record.scores["beyond_composition"].alignment.value == 0.484248
    assert record.card.weights_sha256 is not None
    assert len(record.scores["paper"].pairs) == 4
    score = record.ranking_score
    assert score == record.scores["beyond_composition"]
    # What schema 1 cut off or left out is stated, or derived on the way in.
    assert score.centre == pytest.approx(0.484248, abs=1e-6)
    assert score.deviation == pytest.approx((score.alignment.high - score.centre) / 1.959964, rel=1e-4)
    assert record.provenance.presets == {"paper": 1, "standardized": 1, "beyond_composition": 1}


def test_the_newest_golden_record_loses_nothing() -> None:
    text = (GOLDEN / f"record.v{RECORD_VERSION}.json").read_text()
    old, new = json.loads(text), json.loads(to_json(read_record(GOLDEN / f"record.v{RECORD_VERSION}.json")))
    assert [one for one in differences(old, new, 0) if one[1] != "(absent)"] == []  # fields were added, none changed


def test_every_older_version_has_a_way_on() -> None:
    assert sorted(RECORD_MIGRATIONS) == list(range(1, RECORD_VERSION))


def test_a_migration_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECORD_MIGRATIONS, 0, lambda old: {**old, "schema_version": 1, "target": old["target"][:-4]})
    assert read_record(altered(tmp_path, schema_version=0, target="so3lr-old")).target == "so3lr"


def test_a_newer_version_is_refused_with_its_reason(tmp_path: Path) -> None:
    path = altered(tmp_path, schema_version=RECORD_VERSION + 1, hitherto="unheard of")
    with pytest.raises(ValueError, match=r"written by a newer consilience: its schema version is 3.*reads up to 2"):
        read_record(path)


@pytest.mark.parametrize("version", [0, "1", None])
def test_an_unknown_version_is_refused(tmp_path: Path, version: object) -> None:
    with pytest.raises(ValueError, match=r"so3lr\.json is not a record of schema version 1"):
        read_record(altered(tmp_path, schema_version=version))


def test_an_unknown_field_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)confidence\n.*Extra inputs are not permitted"):
        read_record(altered(tmp_path, confidence=0.9))


def test_what_is_undefined_is_null_in_the_file(tmp_path: Path) -> None:
    """JSON has no NaN; figures put into a record after its validation may be one."""
    record = read_record(altered(tmp_path)).model_copy(update={"items_per_second": float("nan")})
    assert json.loads(to_json(record), parse_constant=pytest.fail)["items_per_second"] is None
