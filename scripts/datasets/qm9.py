# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "pip==26.3", "pyarrow==26.0.1", "rdkit==2026.9.1"]
# ///
"""Make `qm9-1k.parquet` and `qm9-isomers-1k.parquet` from the QM9 tables inside the wheel qm9pack 1.0.3.

Usage: ``uv run --script scripts/datasets/qm9.py [--output DIR]``. Downloads 104 MB; same bytes each time.
"""

from __future__ import annotations

import ast
import csv
import io
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _build import MOLECULES, choose, fetch, hill, output_folder, write
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

WHEEL = "qm9pack==1.0.3"
SHA256 = "1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0"
RECORDS = 130_831
ISOMERS = 6_094
NUMBER = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
HARTREE = 27.211386245988  # eV, CODATA 2018
C7H10O2 = [10, 7, 0, 2, 0]  # the column counts H, C, N, O, F


def records(wheel: Path) -> Iterator[dict[str, str]]:
    """Rows of the three part files, which are ordered by molecule size: none may be left out."""
    with zipfile.ZipFile(wheel) as archive:
        for part in (1, 2, 3):
            with archive.open(f"qm9pack/data/qm9_part{part}.csv") as raw:
                yield from csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))


def row_of(record: dict[str, str]) -> dict[str, Any]:
    """One item; U0 includes the zero-point vibration, which is stored too so that it can be taken off."""
    symbols = ast.literal_eval(record["Elements"])
    values = [float(text) for text in re.sub(r"[\[\],]", " ", record["XYZ_Ang"]).split()]
    positions = [values[i : i + 3] for i in range(0, len(values), 3)]
    molecule = Chem.MolFromSmiles(record["SMILES"])
    if molecule is None or len(positions) != len(symbols):
        raise SystemExit(f"{record['XYZ_file']}: unreadable record")
    scaffold = MurckoScaffold.GetScaffoldForMol(molecule)
    return {
        "id": record["XYZ_file"].removesuffix(".xyz"),
        "smiles": Chem.MolToSmiles(molecule),
        "numbers": [NUMBER[symbol] for symbol in symbols],
        "positions": positions,
        "cell": [[0.0] * 3] * 3,
        "pbc": [False] * 3,
        "energy": float(record["InternalEnergy_0K_au"]) * HARTREE,
        "charge": 0,
        "spin": 1,
        "formula": hill(Counter(symbols)),
        "n_atoms": len(symbols),
        "zero_point_energy": float(record["ZPVE_au"]) * HARTREE,
        "scaffold": Chem.MolToSmiles(scaffold),
    }


def main() -> None:
    """Fetch, draw, write."""
    folder = output_folder(__doc__)
    rdBase.DisableLog("rdApp.*")
    with tempfile.TemporaryDirectory() as scratch:
        wheel = fetch(WHEEL, SHA256, Path(scratch), "--only-binary", ":all:")
        table = {record["XYZ_file"].removesuffix(".xyz"): record for record in records(wheel)}
    isomers = [one for one, record in table.items() if ast.literal_eval(record["Stoichiometry"]) == C7H10O2]
    if (len(table), len(isomers)) != (RECORDS, ISOMERS):
        raise SystemExit(f"{WHEEL}: {len(table)} records, {len(isomers)} isomers; expected {RECORDS}, {ISOMERS}")
    for name, pool in (("qm9-1k", table), ("qm9-isomers-1k", isomers)):
        rows = [row_of(table[one]) for one in sorted(choose(pool, 1000, seed=f"{name}/0"))]
        write(rows, MOLECULES, folder / f"{name}.parquet")


if __name__ == "__main__":
    main()
