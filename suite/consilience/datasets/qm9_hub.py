# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "huggingface-hub==2.4.0",
#     "numpy==2.4.6",
#     "pyarrow==26.0.1",
#     "rdkit==2026.9.1",
#     "scipy==1.17.1",
# ]
# ///
"""All of QM9 from the hub, those molecules included that `qm9` lacks because they changed as they were relaxed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import DroppedError, hill
from consilience.cards import Label

REPOSITORY = "yairschiff/qm9"
NUMBER = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
HARTREE = 27.211386245988  # eV, CODATA 2018; the repository repeats the hartrees of the original files
COLUMNS = ("atomic_symbols", "pos", "smiles", "zpve", "u0")

CARD = DatasetCard(
    name="qm9-hub",
    title="QM9 from the Hugging Face hub: all of its small organic molecules (H, C, N, O, F)",
    matter="molecule",
    views=("id", "smiles", "atoms"),
    energy=Label(
        name="energy",
        unit="eV",
        description=(
            "internal energy at 0 K (U0): total electronic energy plus zero-point vibration; "
            "the column zero_point_energy (eV) is what to subtract for the electronic part"
        ),
        level_of_theory="B3LYP/6-31G(2df,p)",
    ),
    strata=("formula", "n_atoms", "scaffold"),
    lineage=("qm9", "gdb-17"),
    licence="NOASSERTION",
    citation=(
        "R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld: Quantum chemistry structures and properties "
        "of 134 kilo molecules. Scientific Data 1, 140022 (2014), doi:10.1038/sdata.2014.22"
    ),
    source=(
        f"https://huggingface.co/datasets/{REPOSITORY}, one commit, which the table's metadata name; its page "
        "states no licence"
    ),
    recipe="consilience dataset build qm9-hub",
    selection=(
        "all rows of the repository (133,885 says its page), less those that fail the gates; an id is the number of "
        "the row, from 1 on"
    ),
)


@recipe(CARD)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows in the repository's order; positions in Angstrom, energies in eV."""
    import pyarrow as pa
    from rdkit import rdBase

    from consilience.building.formats import parquet_rows
    from consilience.building.schemas import MOLECULES

    rdBase.DisableLog("rdApp.*")
    files = sources.hub(REPOSITORY, ["data/train-*.parquet"])
    table = pa.concat_tables([parquet_rows(path, COLUMNS) for path in files.paths])
    return Draft(
        MOLECULES,
        range(len(table)),
        lambda at: row_of(at, table.slice(at, 1).to_pylist()[0]),
        metadata={"source": files.origin},
    )


def row_of(at: int, record: dict[str, Any]) -> dict[str, Any]:
    """One item; U0 includes the zero-point vibration, which is stored too so that it can be taken off."""
    from rdkit import Chem
    from rdkit.Chem.Scaffolds import MurckoScaffold

    symbols = record["atomic_symbols"]
    molecule = Chem.MolFromSmiles(record["smiles"])
    if molecule is None:
        raise DroppedError("smiles: RDKit reads no molecule")
    return {
        "id": f"qm9-{at + 1:06d}",
        "smiles": Chem.MolToSmiles(molecule),
        "numbers": [NUMBER[symbol] for symbol in symbols],
        "positions": record["pos"],
        "cell": [[0.0] * 3] * 3,
        "pbc": [False] * 3,
        "energy": record["u0"] * HARTREE,
        "charge": 0,
        "spin": 1,
        "formula": hill(Counter(symbols)),
        "n_atoms": len(symbols),
        "zero_point_energy": record["zpve"] * HARTREE,
        "scaffold": Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(molecule)),  # type: ignore[no-untyped-call]
    }
