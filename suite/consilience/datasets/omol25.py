# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "ase==3.29.0",
#     "ase-db-backends==0.11.0",
#     "huggingface-hub==2.4.0",
#     "lmdb==3.0.0",
#     "numpy==2.4.6",
#     "pyarrow==26.0.1",
#     "scipy==1.17.1",
# ]
# ///
"""OMol25: molecules, complexes and electrolytes with charge and spin, of the validation split.

The official files are linked from a gated page of the hub: a user downloads them and names their folder. ColabFit
mirrors them openly, as parquet; charge and data domain stand there in a JSON column.
"""

from __future__ import annotations

from typing import Any

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import DroppedError
from consilience.cards import Label

SAMPLE = 50_000
PAGE = "https://huggingface.co/facebook/OMol25"
MIRRORS = {
    "omol25-open": "colabfit/OMol25_validation",
    "omol25-neutral": "colabfit/OMol25_neutral_validation",
}

COMMON: dict[str, Any] = {
    "matter": "molecule",
    "views": ("id", "atoms"),
    "energy": Label(
        name="energy",
        unit="eV",
        description="total electronic energy; of differently charged molecules, so no scale for chemistry by itself",
        level_of_theory="wB97M-V/def2-TZVPD",
    ),
    "strata": ("formula", "n_atoms", "subset"),
    "lineage": ("OMol25",),
    "licence": "CC-BY-4.0",
    "citation": (
        "D. S. Levine and others: The Open Molecules 2025 (OMol25) Dataset, Evaluations, and Models (2025), "
        "arXiv:2505.08762"
    ),
}
OFFICIAL = DatasetCard(
    name="omol25",
    title="50,000 molecules, complexes and electrolytes of OMol25's validation split, with charge and spin",
    source=(
        f"the archive val.tar.gz linked from DATASET.md of {PAGE}, which is gated (ASE-LMDB files; 2,762,021 "
        "structures and 20 GB say its authors); the manifest of a build names the digest of the files that it read"
    ),
    recipe="consilience dataset build omol25 --from FOLDER",
    selection=(
        "uniform over all structures in the files given: the 50,000 ids whose SHA-256 behind 'omol25/0/' comes first, "
        "less those that fail the gates; the column subset names the data domain"
    ),
    **COMMON,
)
OPEN = DatasetCard(
    name="omol25-open",
    title="50,000 molecules, complexes and electrolytes of OMol25's validation split, from ColabFit's open mirror",
    source=f"https://huggingface.co/datasets/{MIRRORS['omol25-open']}, one commit, which the table's metadata name",
    recipe="consilience dataset build omol25-open",
    selection=(
        "uniform over the mirror's rows: the 50,000 ids whose SHA-256 behind 'omol25-open/0/' comes first, less those "
        "whose total charge or spin the mirror does not state and those that fail the gates; an id is file and row in "
        "the mirror"
    ),
    **COMMON,
)
NEUTRAL = DatasetCard(
    name="omol25-neutral",
    title="Neutral molecules of OMol25's neutral validation split, from ColabFit's open mirror",
    source=f"https://huggingface.co/datasets/{MIRRORS['omol25-neutral']}, one commit, which the table's metadata name",
    recipe="consilience dataset build omol25-neutral",
    selection=(
        "all rows of the mirror (27,697 say its authors), less those that fail the gates; charge 0 and spin 1 by the "
        "split's definition where a row does not state them; an id is file and row in the mirror"
    ),
    **COMMON,
)


@recipe(OFFICIAL, OPEN, NEUTRAL)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by file and number; positions in Angstrom, energies in eV, spin as multiplicity."""
    import pyarrow as pa

    from consilience.building.samples import sample_of_archives, sample_of_mirror, structure_of
    from consilience.building.schemas import STRUCTURES

    def official(one: str, structure: dict[str, Any], noted: dict[str, Any]) -> dict[str, Any]:
        if "charge" not in noted or "spin" not in noted:
            raise DroppedError("no charge or spin")
        return structure | {"subset": str(noted.get("data_id", ""))}

    def mirrored(one: str, row: dict[str, Any]) -> dict[str, Any]:
        noted = row.get("property_metadata") or {}
        charge = noted.get("charge", 0 if card is NEUTRAL else None)
        spin = noted.get("spin", row.get("multiplicity") or (1 if card is NEUTRAL else None))
        if charge is None or spin is None:
            raise DroppedError("no charge or spin")
        structure = structure_of(one, row, charge=int(charge), spin=int(spin))
        return structure | {"subset": str(noted.get("data_id", ""))}

    schema = STRUCTURES.append(pa.field("subset", pa.string()))
    if card is OFFICIAL:
        return sample_of_archives(
            sources,
            "OMol25's validation split (gated)",
            official,
            schema,
            hint=f"Ask for access at {PAGE}, log in there and download val.tar.gz from the link in DATASET.md",
            count=SAMPLE,
            seed="omol25/0",
        )
    return sample_of_mirror(
        sources,
        MIRRORS[card.name],
        mirrored,
        schema,
        count=SAMPLE,
        seed=f"{card.name}/0",
        also=("multiplicity", "property_metadata"),
    )
