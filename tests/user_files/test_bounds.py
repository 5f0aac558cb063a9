"""What a small file announces or expands to is refused before memory is taken for it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consilience.bounds import MOST_ATOMS, MOST_RESIDUES, MOST_SMILES
from consilience.checks import MalformedDataError, structure_fault
from consilience.user_files import open_file

CELL = b"x\n1.0\n1 0 0\n0 1 0\n0 0 1\nH\n1000000000\nDirect\n0 0 0\n"
SDF = (
    b"x\n  RDKit          3D\n\n  0  0  0  0  0  0  0  0  0  0999 V3000\nM  V30 BEGIN CTAB\n"
    b"M  V30 COUNTS 1000000000 0 0 0 0\nM  V30 BEGIN ATOM\nM  V30 1 C 0 0 0 0\nM  V30 END ATOM\nM  V30 END CTAB\n"
    b"M  END\n$$$$\n"
)
#: Name, content, and what the refusal says.
TEXTS: list[tuple[str, bytes, str]] = [
    ("atoms.xyz", b"1000000000\n\nH 0 0 0\n", "item 1.*announces 1000000000 atoms, 2 lines follow"),
    ("digits.xyz", b"9" * 5000 + b"\n\nH 0 0 0\n", "item 1.*announces 9+ atoms"),
    ("second.xyz", b"1\n\nH 0 0 0\n7\n\nH 0 0 0\n", "item 2.*line 4 announces 7 atoms, 2 lines follow"),
    ("columns.extxyz", b"1\nProperties=species:S:1:pos:R:3:x:R:1000000000\nH 0 0 0 1\n", "1,000,000,004 columns"),
    ("quoted.extxyz", b'1\n"Properties" = "species:S:1:pos:R:1000000000"\nH 0 0 0\n', "1,000,000,001 columns"),
    ("long.smi", b"C" * (MOST_SMILES + 1) + b"\n", "line 1.*characters, at most"),
    ("line.smi", b"C" * 3_000_000, "line 1.*more than 2,000,000 characters"),
    ("columns.csv", b"smiles" + b"," * 20_000 + b"\nC\n", "columns, at most 10,000"),
    ("chain.fasta", b">a\n" + (b"A" * 60 + b"\n") * (MOST_RESIDUES // 60 + 1), "residues, at most"),
    ("v3000.sdf", SDF, "item 1"),
    ("deep.json", b"[" * 100_000, "item 1"),
    ("POSCAR", CELL, "more memory than its size"),
    ("crystal.vasp", CELL, "more memory than its size"),
    ("grid.cube", b"a\nb\n1 0 0 0\n9999 1 0 0\n9999 0 1 0\n9999 0 0 1\n1 1 0 0 0\n", "grid.cube"),
]


@pytest.mark.parametrize(("name", "content", "says"), TEXTS, ids=[name for name, _, _ in TEXTS])
def test_announced_counts_are_held_against_the_size(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MalformedDataError, match=says) as caught:
        open_file(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("kind", [".xyz", ".cif", ".pdb"])
def test_what_a_compressed_file_expands_to_is_bounded(tmp_path: Path, kind: str, suffix: str) -> None:
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
    path = tmp_path / f"a{kind}{suffix}"
    path.write_bytes(compress(b" " * 2**20) * 250)
    with pytest.raises(MalformedDataError, match="expands to more than 200,000,000"):
        open_file(path)


def test_a_damaged_compressed_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz.gz"
    path.write_bytes(gzip.compress(b"1\n\nH 0 0 0\n" * 100)[:-9])
    with pytest.raises(MalformedDataError, match="not a whole gz file"):
        open_file(path)


def _repeated_text() -> pa.Table:
    text = pa.array(["C" * 9_000])
    indices = pa.array(np.zeros(60_000, np.int32))
    ids = pa.array([f"item-{i}" for i in range(60_000)])
    return pa.table({"id": ids, "smiles": pa.DictionaryArray.from_arrays(indices, text)})


def _long_lists() -> pa.Table:
    places = pa.array(np.arange(0, 40_000_001, 4_000_000), pa.int32())
    return pa.table({"numbers": pa.ListArray.from_arrays(places, pa.array(np.zeros(40_000_000, np.int64)))})


def _many_rows() -> pa.Table:
    return pa.table({"smiles": pa.DictionaryArray.from_arrays(pa.array(np.zeros(9_000_000, np.int8)), pa.array(["C"]))})


def _many_columns() -> pa.Table:
    return pa.table({f"c{i}": [1] for i in range(10_001)})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_repeated_text, "expands to more than"),
        (_long_lists, "expands to more than"),
        (_many_rows, "announces 9,000,000 rows"),
        (_many_columns, "10,001 columns"),
    ],
)
def test_parquet_is_bounded(tmp_path: Path, make: Callable[[], pa.Table], says: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(make(), path, compression="zstd", store_schema=False, row_group_size=10_000_000)
    with pytest.raises(MalformedDataError, match=says):
        open_file(path)


def test_parquet_with_texts_that_are_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    smiles = pa.array([b"C", b"C\xff"]).view(pa.string())
    pq.write_table(pa.table({"id": ["a", "b"], "smiles": smiles}), path)
    with pytest.raises(MalformedDataError, match=r"not a whole parquet file.*UTF8"):
        open_file(path)


@pytest.mark.slow
def test_bounds_hold_with_little_memory(tmp_path: Path) -> None:
    """All of the above with 500 MiB above the level at start; a process that takes more ends with MemoryError."""
    for name, content, _ in TEXTS:
        (tmp_path / name).write_bytes(content)
    pq.write_table(_repeated_text(), tmp_path / "text.parquet", compression="zstd", store_schema=False)
    pq.write_table(_long_lists(), tmp_path / "lists.parquet", compression="zstd", store_schema=False)
    (tmp_path / "a.xyz.gz").write_bytes(gzip.compress(bytes(2**20)) * 1000)
    code = (
        "import json, os, resource, sys, pathlib\n"
        "import ase.io, gemmi, pyarrow.parquet, rdkit.Chem, scipy.spatial\n"
        "from consilience.user_files import open_file\n"
        "pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])\n"
        "most = pages * os.sysconf('SC_PAGE_SIZE') + 500 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "said = {}\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        open_file(path)\n"
        "    except Exception as error:\n        said[path.name] = [type(error).__name__, str(error)]\n"
        "print(json.dumps(said))\n"
    )
    if not sys.platform.startswith("linux"):
        pytest.skip("limits of memory are Linux's")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert set(said) == {path.name for path in tmp_path.iterdir()}
    assert {kind for kind, _ in said.values()} == {"MalformedDataError"}, said
    assert not [text for _, text in said.values() if "MemoryError" in text or "llocat" in text]


def test_many_atoms_in_one_place_are_refused_without_their_pairs() -> None:
    n = 50_000
    column, reason = structure_fault(np.ones(n), np.zeros((n, 3)), np.zeros((3, 3)), [False] * 3) or ("", "")
    assert column == "positions"
    assert reason.startswith("atoms 1 (H) and 2 (H) are 0.000 Angstrom apart")
    flat = np.diag([5.0, 5.0, 0.01])
    column, reason = structure_fault(np.ones(n), np.random.default_rng(0).random((n, 3)), flat, [True] * 3) or ("", "")
    assert column == "cell"
    too_many = MOST_ATOMS + 1
    column, _ = structure_fault(np.ones(too_many), np.zeros((too_many, 3)), np.zeros((3, 3)), [False] * 3) or ("", "")
    assert column == "numbers"


@pytest.mark.parametrize(("scale", "cell", "column"), [(1e200, 0.0, "positions"), (1.0, 1e200, "cell")])
def test_distances_that_overflow_are_a_fault_of_the_item(scale: float, cell: float, column: str) -> None:
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, scale]])
    found = structure_fault([1, 1], positions, np.eye(3) * (cell or 5.0), [cell > 0] * 3)
    assert found is not None
    assert found[0] == column
