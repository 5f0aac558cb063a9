"""Tables made part by part of real rows: order, what is left out, and what a killed build leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from consilience.building import make
from consilience.building.draft import Draft, DroppedError
from consilience.building.make import Made, make_table
from consilience.building.schemas import CHAINS, CRYSTALS
from consilience.cards import DatasetCard
from consilience.datasets.tables import DATA
from consilience.registry import get_dataset

COUNT = 40
ROWS = {row["id"]: row for row in pq.read_table(DATA / "mp-1k.parquet").slice(0, COUNT).to_pylist()}
KEYS = list(ROWS)


def card(**changes: Any) -> DatasetCard:
    return get_dataset("mp-1k").card.model_copy(update={"name": "few", "items": None, "revision": None} | changes)


def made(folder: Path, row: Callable[[str], dict[str, Any]] = ROWS.__getitem__, keys: list[str] = KEYS) -> Made:
    folder.mkdir(exist_ok=True)
    return make_table(Draft(CRYSTALS, keys, row), card(), folder, "code")


def changed(fields: dict[str, dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """Rows of which those named here have other fields."""
    return lambda one: ROWS[one] | fields.get(one, {})


def test_rows_come_in_the_order_of_the_keys(tmp_path: Path) -> None:
    found = made(tmp_path, keys=KEYS[::-1])
    assert found.path == tmp_path / "few.parquet"
    assert found.items == COUNT
    assert pq.read_table(found.path).to_pylist() == [ROWS[one] for one in KEYS[::-1]]
    assert found.dropped == found.duplicates == {}
    assert [path.name for path in tmp_path.iterdir()] == ["few.parquet"]  # no parts are left


def test_one_process_and_several_make_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = made(tmp_path / "one")
    pids = tmp_path / "pids"
    monkeypatch.setattr(make, "PART", 7)

    def row(one: str) -> dict[str, Any]:
        with pids.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return ROWS[one]

    shared = made(tmp_path / "several", row)
    assert str(os.getpid()) not in pids.read_text().split()
    assert shared.sha256 == alone.sha256
    assert shared.path.read_bytes() == alone.path.read_bytes()


def test_progress_counts_up_to_all(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    make_table(Draft(CRYSTALS, KEYS, ROWS.__getitem__), card(), tmp_path, "code", lambda *now: told.append(now))
    assert told == [(done, COUNT) for done in range(COUNT + 1)]


# Makes `few` in parts of 8; each call of `row` leaves its key in a file. From the 21st on, rows wait for `go`.
BUILD = """
import sys, time
from pathlib import Path
import pyarrow.parquet as pq
from consilience.building import make
from consilience.building.draft import Draft
from consilience.building.schemas import CRYSTALS
from consilience.datasets._tables import DATA
from consilience.registry import get_dataset
folder, code, calls = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
rows = {row["id"]: row for row in pq.read_table(DATA / "mp-1k.parquet").slice(0, 40).to_pylist()}
keys = list(rows)
def row(one):
    with calls.open("a") as file:
        file.write(one + "\\n")
    while keys.index(one) >= 20 and not (folder / "go").exists():
        time.sleep(0.01)
    return rows[one]
make.PART = 8
card = get_dataset("mp-1k").card.model_copy(update={"name": "few", "items": None, "revision": None})
make.make_table(make.Draft(CRYSTALS, keys, row), card, folder, code)
"""


def begin(folder: Path, calls: Path, code: str = "code") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", BUILD, str(folder), code, str(calls)], start_new_session=True)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """Folder of a build that was killed in its third part, with whatever processes it had."""
    folder = tmp_path / "building"
    folder.mkdir()
    process = begin(folder, tmp_path / "first")
    try:
        waiting = KEYS[20]
        while not (tmp_path / "first").exists() or waiting not in (tmp_path / "first").read_text().split():
            assert process.poll() is None, "the build ended before it could be killed"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(list(folder.glob("parts-*/*.parquet"))) == 2
    (folder / "go").touch()
    return folder


def test_a_killed_build_goes_on_where_it_was(killed: Path, tmp_path: Path) -> None:
    assert begin(killed, tmp_path / "second").wait(300) == 0
    assert sorted((tmp_path / "second").read_text().split()) == sorted(KEYS[16:])  # two parts of 8 stood
    assert (killed / "few.parquet").read_bytes() == made(tmp_path / "whole").path.read_bytes()
    assert not list(killed.glob("parts-*"))


def test_parts_of_another_recipe_are_not_used(killed: Path, tmp_path: Path) -> None:
    assert begin(killed, tmp_path / "second", code="another").wait(300) == 0
    assert sorted((tmp_path / "second").read_text().split()) == sorted(KEYS)
    assert not list(killed.glob("parts-*"))


def test_parts_of_another_source_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "PART", 8)

    def stops(one: str) -> dict[str, Any]:
        if KEYS.index(one) >= 20:
            raise OSError("the network is gone")
        return ROWS[one]

    old = Draft(CRYSTALS, KEYS, stops, metadata={"source": "commit 1"})
    with pytest.raises(OSError, match="the network is gone"):
        make_table(old, card(), tmp_path, "code")
    assert len(list(tmp_path.glob("parts-*/*.parquet"))) == 2
    other = {one: row | {"energy": row["energy"] + 1} for one, row in ROWS.items()}
    found = make_table(
        Draft(CRYSTALS, KEYS, other.__getitem__, metadata={"source": "commit 2"}), card(), tmp_path, "code"
    )
    table = pq.read_table(found.path)
    assert table["energy"].to_pylist() == [row["energy"] for row in other.values()]
    assert table.schema.metadata[b"source"] == b"commit 2"


def test_broken_structures_are_left_out_and_counted_without_their_figures(tmp_path: Path) -> None:
    first, second, third, fourth, fifth = KEYS[:5]
    stray = {"positions": [[float("nan"), 0.0, 0.0]]}
    iron = {"numbers": [26, 26], "cell": [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]]}
    broken = {
        first: stray | {"numbers": [26]},
        second: stray | {"numbers": [29]},
        third: iron | {"positions": [[0.0] * 3, [0.0, 0.0, 0.123]]},
        fourth: iron | {"positions": [[0.0] * 3, [0.0, 0.0, 2.9]]},
        fifth: {"cell": [[0.0] * 3] * 3},
    }
    found = made(tmp_path, changed(broken))
    assert found.items == COUNT - 5
    assert pq.read_table(found.path)["id"].to_pylist() == KEYS[5:]
    assert found.dropped == {
        "positions: atom # lies at [nan, #, #], which is not finite": 2,
        "two atoms closer than half the sum of their covalent radii": 2,
        "cell: a direction repeats (pbc) whose lattice vector is zero": 1,
    }


def test_reasons_of_the_recipe_are_counted_with_those_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(one: str) -> dict[str, Any]:
        if KEYS.index(one) % 10 == 3:
            raise DroppedError("no energy")
        return ROWS[one]

    for part in (7, 4096):  # several processes and one
        monkeypatch.setattr(make, "PART", part)
        draft = Draft(CRYSTALS, KEYS, row, dropped={"too large": 9, "no energy": 1})
        found = make_table(draft, card(), tmp_path, "code")
        assert found.dropped == {"too large": 9, "no energy": 5}
        assert found.items == COUNT - 4


def test_sequences_with_other_letters_are_left_out(tmp_path: Path) -> None:
    rows = pq.read_table(DATA / "proteins-500.parquet").slice(0, 5).to_pylist()
    rows[1]["sequence"] = rows[1]["sequence"][:-1] + "*"
    found = make_table(Draft(CHAINS, range(5), rows.__getitem__), card(), tmp_path, "code")
    assert found.dropped == {"sequence: residue # is '*', which is no amino acid": 1}
    assert found.items == 4


def test_items_alike_are_kept_and_told(tmp_path: Path) -> None:
    same = {name: ROWS[KEYS[0]][name] for name in ("numbers", "positions", "cell")}
    found = made(tmp_path, changed(dict.fromkeys(KEYS[7:10], same)))
    assert found.items == COUNT
    assert found.duplicates == {"structure": 3}


def test_ids_have_to_be_unique(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"few: ids are not unique, '{KEYS[0]}' for one"):
        made(tmp_path, changed({KEYS[5]: {"id": KEYS[0]}}))
    assert not (tmp_path / "few.parquet").exists()


def test_the_card_is_to_be_right_about_the_number_of_items(tmp_path: Path) -> None:
    draft = Draft(CRYSTALS, KEYS, ROWS.__getitem__)
    with pytest.raises(ValueError, match="few: 40 items were made, its card says 41"):
        make_table(draft, card(items=41), tmp_path, "code")
    assert make_table(draft, card(items=40), tmp_path, "code").items == 40


def test_an_empty_table_is_an_error(tmp_path: Path) -> None:
    def row(one: str) -> dict[str, Any]:
        raise DroppedError("no energy")

    with pytest.raises(ValueError, match=r"few: no item is left \(no energy: 40\)"):
        made(tmp_path, row)
    with pytest.raises(ValueError, match=r"few: no item is left$"):
        made(tmp_path, keys=[])
    assert not (tmp_path / "few.parquet").exists()


def test_a_table_that_could_not_be_made_does_not_stand_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its card says 41"):
        make_table(Draft(CRYSTALS, KEYS, ROWS.__getitem__), card(items=41), tmp_path, "code")
    calls: list[str] = []

    def row(one: str) -> dict[str, Any]:
        calls.append(one)
        return ROWS[one]

    assert made(tmp_path, row).items == COUNT
    assert not calls  # rows were sound, and are not made again
