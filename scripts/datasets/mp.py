# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "pip==26.3", "pyarrow==26.0.1", "spglib==2.8.0"]
# ///
"""Make `mp-1k.parquet` from the Materials Project crystals inside the source archive of matminer 0.4.1.

Usage: ``uv run --script scripts/datasets/mp.py [--output DIR]``. Downloads 8 MB; same bytes each time.
The archive is only unpacked: installing that version asks for dependencies of its day.
"""

from __future__ import annotations

import ast
import csv
import io
import math
import string
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import spglib
from _build import CRYSTALS, choose, fetch, hill, output_folder, write

ARCHIVE = "matminer==0.4.1"
SHA256 = "26d7e6c023e19bbd7ba5e87b9d4d299c92a523197a8490541fe524d5c5f39459"
MEMBER = "matminer-0.4.1/matminer/datasets/flla_2015.csv"
RECORDS = 3_938
SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr
Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir
Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
"""
NUMBER = {symbol: number for number, symbol in enumerate(SYMBOLS.split(), start=1)}
SYMPREC = 0.01  # Angstrom; the Materials Project's own tolerance is of this order


def records(archive: Path) -> list[dict[str, str]]:
    """Rows of `flla_2015.csv`, whose first line is a comment naming the paper."""
    csv.field_size_limit(2**31 - 1)
    with tarfile.open(archive) as tar:
        raw = tar.extractfile(MEMBER)
        if raw is None:
            raise SystemExit(f"{archive.name} has no {MEMBER}")
        lines = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def prototype(symbols: list[str], cell: Any, fractional: Any) -> str:
    """Anonymous reduced formula and space group, such as ``AB2-164``: letters by rising count."""
    counts = sorted(Counter(symbols).values())
    divisor = math.gcd(*counts)
    formula = "".join(
        letter + (str(count // divisor) if count > divisor else "")
        for letter, count in zip(string.ascii_uppercase, counts, strict=False)
    )
    found = spglib.get_symmetry_dataset((cell, fractional, [NUMBER[symbol] for symbol in symbols]), symprec=SYMPREC)
    return f"{formula}-{found.number}"


def row_of(record: dict[str, str]) -> dict[str, Any]:
    """One item; the structure is the Python repr of a pymatgen dictionary."""
    structure = ast.literal_eval(record["structure"])
    sites = structure["sites"]
    if any(len(site["species"]) != 1 or site["species"][0]["occu"] != 1 for site in sites):
        raise SystemExit(f"{record['material_id']}: partly occupied sites")
    symbols = [site["species"][0]["element"] for site in sites]
    cell = np.array(structure["lattice"]["matrix"], dtype=float)
    fractional = np.array([site["abc"] for site in sites], dtype=float)
    per_atom = float(record["formation_energy_per_atom"])
    return {
        "id": record["material_id"],
        "numbers": [NUMBER[symbol] for symbol in symbols],
        "positions": [site["xyz"] for site in sites],
        "cell": cell.tolist(),
        "pbc": [True] * 3,
        "energy": per_atom * len(symbols),
        "charge": 0,
        "spin": 1,  # the source states no magnetic moments
        "formula": hill(Counter(symbols)),
        "n_atoms": len(symbols),
        "energy_per_atom": per_atom,
        "prototype": prototype(symbols, cell, fractional),
    }


def main() -> None:
    """Fetch, draw, write."""
    folder = output_folder(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        table = {record["material_id"]: record for record in records(fetch(ARCHIVE, SHA256, Path(scratch)))}
    if len(table) != RECORDS:
        raise SystemExit(f"{ARCHIVE}: {len(table)} crystals, expected {RECORDS}")
    drawn = sorted(choose(table, 1000, seed="mp-1k/0"), key=lambda one: int(one.removeprefix("mp-")))
    write([row_of(table[one]) for one in drawn], CRYSTALS, folder / "mp-1k.parquet")


if __name__ == "__main__":
    main()
