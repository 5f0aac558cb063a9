"""The ASV suite is importable, its signatures fit its parameters, and its trackers give one float each."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from consilience.asv import misalignment
from consilience.records.migrations import read_record

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_asv_accepts_the_suite(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("asv")), "check", "--python=same"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No problems found" in done.stdout


def test_misalignment_is_read_from_the_published_records() -> None:
    spec = importlib.util.spec_from_file_location("asv_alignment", REPOSITORY / "benchmarks" / "alignment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tracked = module.Alignment()
    tracked.setup("qm9-1k", "so3lr")
    value = tracked.track_misalignment_calibrated("qm9-1k", "so3lr")
    assert type(value) is float
    assert 0 < value < 1
    with pytest.raises(NotImplementedError):
        tracked.setup("mp-1k", "so3lr")


def test_series_of_two_boards_have_two_versions() -> None:
    results = REPOSITORY / "leaderboard" / "v1" / "results" / "qm9-1k"
    record = read_record(results / "so3lr.json")
    versions = {misalignment([record.model_copy(update={"board": board})]).track_misalignment_calibrated.version  # type: ignore[attr-defined]
                for board in ("v1", "v2", "mine")}  # fmt: skip
    assert versions == {"1", "v2", "mine"}  # ASV drops the history of another version, and v1's stays
    alone = misalignment(
        [record.model_copy(update={"scores": {"mine": record.scores["beyond_composition"]}, "ranked": "mine"})]
    )()
    alone.setup("qm9-1k", "so3lr")  # a board of one's own without the paper's preset
    with pytest.raises(NotImplementedError):
        alone.track_misalignment_paper("qm9-1k", "so3lr")
