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
"""OMat24: inorganic crystals far from equilibrium, of the validation split.

The hub's page facebook/OMAT24 holds no structures, it links to one archive per sub-dataset: a user downloads those
and names their folder. ColabFit mirrors the sub-datasets on the hub, as parquet.
"""

from __future__ import annotations

from typing import Any

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.sources import SourceError
from consilience.cards import Label

SAMPLE = 50_000
PAGE = "https://huggingface.co/datasets/facebook/OMAT24"
SUBSETS = (
    frozenset(f"rattled-{kelvin}{suffix}" for kelvin in (300, 500, 1000) for suffix in ("", "-subsampled"))
    | {f"aimd-from-PBE-{kelvin}-{ensemble}" for kelvin in (1000, 3000) for ensemble in ("npt", "nvt")}
    | {"rattled-relax"}
)
MIRROR = "colabfit/OMat24_validation_rattled_1000_subsampled"

COMMON: dict[str, Any] = {
    "matter": "crystal",
    "views": ("id", "atoms"),
    "energy": Label(
        name="energy",
        unit="eV",
        description="total energy of the whole cell, on the reference of OMat24's own pseudopotentials",
        level_of_theory="PBE and PBE+U of OMat24 (VASP); not compatible with Materials Project energies",
    ),
    "strata": ("formula", "n_atoms", "subset"),
    "lineage": ("OMat24",),
    "licence": "CC-BY-4.0",
    "citation": (
        "L. Barroso-Luque, M. Shuaibi, X. Fu, B. M. Wood, M. Dzamba, M. Gao, A. Rizvi, C. L. Zitnick, Z. W. Ulissi: "
        "Open Materials 2024 (OMat24) Inorganic Materials Dataset and Models (2024), arXiv:2410.12771"
    ),
}
OFFICIAL = DatasetCard(
    name="omat24",
    title="50,000 non-equilibrium crystals of OMat24's validation split",
    source=(
        f"the archives of the validation split linked from {PAGE} (11 sub-datasets as *.tar.gz of ASE-LMDB files; "
        "1,025,361 structures say its authors; use those of December 2024, earlier ones held duplicates); the manifest "
        "of a build names the digest of the archives that it read"
    ),
    recipe="consilience dataset build omat24 --from FOLDER",
    selection=(
        "uniform over all structures in the files given: the 50,000 ids whose SHA-256 behind 'omat24/0/' comes first, "
        "less those that fail the gates; the column subset names the sub-dataset. How the paper mixed the sub-datasets "
        "is not stated"
    ),
    **COMMON,
)
RATTLED = DatasetCard(
    name="omat24-rattled-1000",
    title="Rattled crystals (1000 K, subsampled) of OMat24's validation split, from ColabFit's mirror",
    source=f"https://huggingface.co/datasets/{MIRROR}, one commit, which the table's metadata name",
    recipe="consilience dataset build omat24-rattled-1000",
    selection=(
        "uniform over the mirror's rows: the 50,000 ids whose SHA-256 behind 'omat24-rattled-1000/0/' comes first, or "
        "all where there are fewer, less those that fail the gates; an id is file and row in the mirror"
    ),
    **COMMON,
)


@recipe(OFFICIAL, RATTLED)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by sub-dataset, file and number; lengths in Angstrom, energies in eV."""
    import pyarrow as pa

    from consilience.building.samples import sample_of_archives, sample_of_mirror, structure_of
    from consilience.building.schemas import STRUCTURES

    schema = STRUCTURES.append(pa.field("subset", pa.string()))
    if card is OFFICIAL:
        return sample_of_archives(
            sources,
            "OMat24's validation split",
            lambda one, structure, noted: structure | {"subset": one.split("/")[0]},
            schema,
            hint=f"Download the archives of the validation split from the links at {PAGE}",
            count=SAMPLE,
            seed="omat24/0",
            check=lambda database: check_subsets({name.split("/")[0] for name in database.names}, sources),
        )
    return sample_of_mirror(
        sources,
        MIRROR,
        lambda one, mirrored: structure_of(one, mirrored) | {"subset": "rattled-1000-subsampled"},
        schema,
        count=SAMPLE,
        seed=f"{card.name}/0",
    )


def check_subsets(found: set[str], sources: Sources) -> None:
    """Raise `SourceError` for files of another data set; say which sub-datasets the table will be without."""
    if found - SUBSETS:
        raise SourceError(f"{', '.join(sorted(found - SUBSETS))}: no sub-dataset of OMat24 (they are folders' names)")
    if SUBSETS - found:
        sources.tell(f"without {', '.join(sorted(SUBSETS - found))}")
