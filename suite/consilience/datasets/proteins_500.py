"""500 protein chains of the Protein Data Bank, of 40 to 400 residues: sequence and backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilience.cards import DatasetCard
from consilience.registry import dataset

from ._embedded import load_embedded

if TYPE_CHECKING:
    from datasets import Dataset

CARD = DatasetCard(
    name="proteins-500",
    title="500 protein chains of the Protein Data Bank (40 to 400 residues, backbone atoms only)",
    matter="protein",
    views=("id", "sequence", "backbone"),
    items=500,
    revision="976819df368628a65b9319a36d25665ab063862a1f15d92bf2198e31633cbaee",
    strata=("length_bin",),
    lineage=("PDB",),
    licence="Apache-2.0",
    citation=(
        "H. M. Berman, J. Westbrook, Z. Feng, G. Gilliland, T. N. Bhat, H. Weissig, I. N. Shindyalov, P. E. Bourne: "
        "The Protein Data Bank. Nucleic Acids Research 28, 235-242 (2000), doi:10.1093/nar/28.1.235; collected by "
        "G. Studer, G. Tauriello, S. Bienert, M. Biasini, N. Johner, T. Schwede: ProMod3 - A versatile homology "
        "modelling toolbox. PLOS Computational Biology 17, e1008667 (2021), doi:10.1371/journal.pcbi.1008667"
    ),
    source=(
        "Debian promod3-data 3.2.1+ds-6, sha256 7d1011a2686ea92e263f3daf9940f787351ff94f19eb47646c624754d80b8f56 "
        "(Apache-2.0; its copyright file marks other files with PDB data as CC0 1.0), "
        "promod3/loop_data/structure_db.dat: 21,119 chains, each the longest continuous stretch with a backbone, "
        "positions to 0.01 Angstrom"
    ),
    recipe="uv run --script scripts/datasets/proteins.py",
    selection=(
        "uniform over 18,281: the 500 ids whose SHA-256 behind 'proteins-500/0/' comes first. Of the 21,119, we left "
        "out 2,681 of fewer than 40 or more than 400 residues (the upper limit keeps large models quick), 153 with a "
        "bond N-CA, CA-C or C-N outside 1.2 to 1.7 or C-O outside 1.1 to 1.4 Angstrom, and 4 with the sequence of "
        "another chain; none had other than the 20 standard residues or lacked a position. Each is moved so that the "
        "mean of its CA lies at the origin. Chains may be homologous; bins of length are 10 % wide, from 40 on"
    ),
)


@dataset(CARD)
def load() -> Dataset:
    """Return the table: one row per chain, ordered by id; positions of N, CA, C, O in Angstrom."""
    return load_embedded(CARD)
