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
"""sAlex: crystals near equilibrium along the relaxations of Alexandria, of the validation split.

The hub's page facebook/OMAT24 links to the archive and does not hold it; ColabFit mirrors it on the hub, as parquet.
"""

from __future__ import annotations

from typing import Any

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.cards import Label

SAMPLE = 50_000
PAGE = "https://huggingface.co/datasets/facebook/OMAT24"
MIRROR = "colabfit/sAlex_validation"

COMMON: dict[str, Any] = {
    "matter": "crystal",
    "views": ("id", "atoms"),
    "energy": Label(
        name="energy",
        unit="eV",
        description="total energy of the whole cell",
        level_of_theory="PBE of Alexandria",
    ),
    "strata": ("formula", "n_atoms"),
    "lineage": ("sAlex", "Alexandria"),
    "licence": "CC-BY-4.0",
    "citation": (
        "L. Barroso-Luque, M. Shuaibi, X. Fu, B. M. Wood, M. Dzamba, M. Gao, A. Rizvi, C. L. Zitnick, Z. W. Ulissi: "
        "Open Materials 2024 (OMat24) Inorganic Materials Dataset and Models (2024), arXiv:2410.12771; subsampled from "
        "J. Schmidt, T. F. T. Cerqueira, A. H. Romero, A. Loew, F. Jaeger, H.-C. Wang, S. Botti, M. A. L. Marques: "
        "Improving machine-learning models in materials science through large datasets. Materials Today Physics 48, "
        "101560 (2024), doi:10.1016/j.mtphys.2024.101560"
    ),
}
OPEN = DatasetCard(
    name="salex-open",
    title="50,000 crystals near equilibrium of sAlex's validation split, from ColabFit's mirror",
    source=f"https://huggingface.co/datasets/{MIRROR}, one commit, which the table's metadata name",
    recipe="consilience dataset build salex-open",
    selection=(
        "uniform over the mirror's rows: the 50,000 ids whose SHA-256 behind 'salex-open/0/' comes first, less those "
        "that fail the gates; an id is file and row in the mirror"
    ),
    **COMMON,
)
OFFICIAL = DatasetCard(
    name="salex",
    title="50,000 crystals near equilibrium of sAlex's validation split",
    source=(
        f"the archive val.tar.gz of sAlex linked from {PAGE}, not on the hub itself (ASE-LMDB files; 553,218 "
        "structures say its authors); the manifest of a build names the digest of the archive that it read"
    ),
    recipe="consilience dataset build salex --from FOLDER",
    selection=(
        "uniform over all structures in the files given: the 50,000 ids whose SHA-256 behind 'salex/0/' comes first, "
        "less those that fail the gates"
    ),
    **COMMON,
)


@recipe(OPEN, OFFICIAL)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by file and number; lengths in Angstrom, energies in eV."""
    from consilience.building.samples import sample_of_archives, sample_of_mirror, structure_of
    from consilience.building.schemas import STRUCTURES

    if card is OFFICIAL:
        return sample_of_archives(
            sources,
            "sAlex's validation split",
            lambda one, structure, noted: structure,
            STRUCTURES,
            hint=f"Download val.tar.gz of sAlex from the link at {PAGE}",
            count=SAMPLE,
            seed="salex/0",
        )
    return sample_of_mirror(sources, MIRROR, structure_of, STRUCTURES, count=SAMPLE, seed="salex-open/0")
