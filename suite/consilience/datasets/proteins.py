# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "pyarrow==26.0.1", "scipy==1.17.1"]
# ///
"""Protein chains of the Protein Data Bank, from the structure database of Debian's promod3-data 3.2.1+ds-6.

apt-get fetches the package (371 MB) and dpkg-deb opens it; nothing is installed. The database is a plain dump of
arrays, read here without ProMod3; its layout follows the headers of libpromod3-loop-dev (structure_db.hh,
structure_db_custom_types.hh, ushort_vec.hh).
"""

from __future__ import annotations

import struct
import subprocess
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import choose, expect, ranked, tally

PACKAGE = "promod3-data=3.2.1+ds-6"
SHA256 = "7d1011a2686ea92e263f3daf9940f787351ff94f19eb47646c624754d80b8f56"
MEMBER = "./usr/share/promod3/loop_data/structure_db.dat"
RECORDS = 21_119
KEPT = 18_281
HEADER = 73  # bytes: magic number, version, sizes of the types it was written with
MAGIC = (1234, 2)
SHORTEST, LONGEST = 40, 400  # residues
RESIDUES = frozenset("ACDEFGHIKLMNPQRSTVWY")
# Angstrom, open intervals around the usual 1.46, 1.52 and 1.33, and 1.23: wide enough for all but broken models.
SINGLE = (1.2, 1.7)  # N-CA, CA-C and the C-N of the peptide bond
DOUBLE = (1.1, 1.4)  # C-O
GROUPS, OF_EACH = 50, 10
FARTHEST = 250_000  # parts per million
PLACES = 100  # the database holds whole hundredths of an Angstrom

DROPPED = {
    "more than 400 residues": 1_986,
    "fewer than 40 residues": 695,
    "a bond too short or too long": 153,
    "the sequence of another chain": 4,
}
COMMON: dict[str, Any] = {
    "matter": "protein",
    "views": ("id", "sequence", "backbone"),
    "strata": ("length_bin",),
    # Sequences of the Protein Data Bank are in UniProt, but for few.
    "lineage": ("PDB", "UniProt"),
    "licence": "Apache-2.0",
    "citation": (
        "H. M. Berman, J. Westbrook, Z. Feng, G. Gilliland, T. N. Bhat, H. Weissig, I. N. Shindyalov, P. E. Bourne: "
        "The Protein Data Bank. Nucleic Acids Research 28, 235-242 (2000), doi:10.1093/nar/28.1.235; collected by "
        "G. Studer, G. Tauriello, S. Bienert, M. Biasini, N. Johner, T. Schwede: ProMod3 - A versatile homology "
        "modelling toolbox. PLOS Computational Biology 17, e1008667 (2021), doi:10.1371/journal.pcbi.1008667"
    ),
    "source": (
        "Debian promod3-data 3.2.1+ds-6, sha256 7d1011a2686ea92e263f3daf9940f787351ff94f19eb47646c624754d80b8f56 "
        "(Apache-2.0; its copyright file marks other files with PDB data as CC0 1.0), "
        "promod3/loop_data/structure_db.dat: 21,119 chains, each the longest continuous stretch with a backbone, "
        "positions to 0.01 Angstrom"
    ),
}
FIVE_HUNDRED = DatasetCard(
    name="proteins-500",
    title="500 protein chains of the Protein Data Bank (40 to 400 residues, backbone atoms only)",
    items=500,
    revision="976819df368628a65b9319a36d25665ab063862a1f15d92bf2198e31633cbaee",
    dropped=DROPPED,
    recipe="consilience dataset build proteins-500",
    selection=(
        "uniform over 18,281: the 500 ids whose SHA-256 behind 'proteins-500/0/' comes first. Of the 21,119, we left "
        "out 2,681 of fewer than 40 or more than 400 residues (the upper limit keeps large models quick), 153 with a "
        "bond N-CA, CA-C or C-N outside 1.2 to 1.7 or C-O outside 1.1 to 1.4 Angstrom, and 4 with the sequence of "
        "another chain; none had other than the 20 standard residues or lacked a position. Each is moved so that the "
        "mean of its CA lies at the origin. Chains may be homologous; bins of length are 10 % wide, from 40 on"
    ),
    **COMMON,
)
ALL = DatasetCard(
    name="proteins",
    title="Protein chains of the Protein Data Bank, of any length (backbone atoms only)",
    items=20_236,
    revision="e885e2cb05f163eebc9d15c2918a00f870d2d1d6f8c357589ecd2bd545d26fe6",
    dropped={
        "fewer than 40 residues": 695,
        "a bond too short or too long": 180,
        "the sequence of another chain": 8,
    },
    recipe="consilience dataset build proteins",
    selection="as proteins-500, but with the chains of more than 400 residues",
    **COMMON,
)
MATCHED = DatasetCard(
    name="proteins-matched-500",
    title="500 protein chains of the Protein Data Bank in 50 groups alike in length and amino-acid composition",
    items=GROUPS * OF_EACH,
    revision="ccb9b10851406f69debdfee66c3975bac1d88f5cf26046d7f0afbadfd3c594ea",
    dropped=DROPPED,
    recipe="consilience dataset build proteins-matched-500",
    selection=(
        "from the 18,281 chains behind proteins-500. In the order of the SHA-256 of the id behind "
        "'proteins-matched-500/0/', each chain that is not yet in a group gathers the 9 others nearest to it in "
        "composition (sum of absolute differences of the 20 fractions) among those whose length differs by no more "
        "than 5 %; a group counts where none of them is farther than 0.25, until there are 50. "
        "Permuted within the column matched_group, length stays within 5 % and composition varies less than among all: "
        "chains differ from the first of their group by 0.205 on average, two chains of the set by 0.348"
    ),
    **COMMON | {"strata": ("matched_group", "length_bin"), "matched": "matched_group"},
)


@recipe(FIVE_HUNDRED, ALL, MATCHED)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by id; positions of N, CA, C, O in Angstrom."""
    from consilience.building.schemas import CHAINS, MATCHED_CHAINS

    found = chains(database(sources.debian(PACKAGE, SHA256)))
    table, dropped = sound(found, None if card is ALL else LONGEST)
    expect(PACKAGE, chains=(len(found), RECORDS))
    if card is ALL:
        return Draft(CHAINS, sorted(table), lambda one: row_of(table[one]), dropped)
    expect(PACKAGE, kept=(len(table), KEPT))
    if card is MATCHED:
        group = matched({one: chain.sequence for one, chain in table.items()})
        rows = MATCHED_CHAINS, sorted(group), lambda one: row_of(table[one]) | {"matched_group": group[one]}
        return Draft(*rows, dropped)
    drawn = choose(table, card.items or 0, seed="proteins-500/0")
    return Draft(CHAINS, sorted(drawn), lambda one: row_of(table[one]), dropped)


def matched(sequences: dict[str, str]) -> dict[str, str]:
    """Group of each chain that is in one: chains of nearly equal length and composition.

    Whole numbers throughout (parts per million), so that no library's last digit decides.
    """
    names = ranked(sequences, "proteins-matched-500/0")
    lengths = np.array([len(sequences[name]) for name in names])
    counts = np.array([[sequences[name].count(letter) for letter in sorted(RESIDUES)] for name in names])
    parts = counts * 1_000_000 // lengths[:, None]
    free = np.ones(len(names), dtype=bool)
    found: dict[str, str] = {}
    for first, name in enumerate(names):
        if len(found) == GROUPS * OF_EACH:
            break
        if not free[first]:
            continue
        near = np.flatnonzero(free & (np.abs(lengths - lengths[first]) * 100 <= 5 * lengths[first]))
        apart = np.abs(parts[near] - parts[first]).sum(axis=1)
        members = near[np.argsort(apart, kind="stable")[:OF_EACH]]  # itself first, at no distance
        if len(members) == OF_EACH and np.sort(apart)[OF_EACH - 1] <= FARTHEST:
            free[members] = False
            found |= dict.fromkeys([names[i] for i in members], name)
    return found


class Chain(NamedTuple):
    """One continuous stretch of a chain, the longest that the authors of the database found."""

    id: str
    sequence: str
    backbone: NDArray[np.int64]  # (n, 4, 3), hundredths of an Angstrom from a corner of the stretch's own box
    secondary: str


def database(archive: Path) -> bytes:
    """Content of the database file, out of the package's inner tar."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as unpacking:
        assert unpacking.stdout is not None
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as tar:
            for member in tar:
                if member.name == MEMBER:
                    raw = tar.extractfile(member)
                    assert raw is not None
                    content = raw.read()
                    unpacking.kill()  # nothing else in there is wanted
                    return content
    raise ValueError(f"{archive.name} has no {MEMBER}")


def chains(content: bytes) -> list[Chain]:
    """Read a table of contents, then one array after another, each over all residues of all chains."""
    if struct.unpack_from("<II", content) != MAGIC:
        raise ValueError(f"{MEMBER} does not begin as it should")
    at = HEADER + 4  # behind a mask that says which arrays there are: all
    (count,) = struct.unpack_from("<Q", content, at)
    at += 8
    contents = []
    for _ in range(count):
        words = []
        for _ in range(2):  # PDB id, chain
            (length,) = struct.unpack_from("<I", content, at)
            words.append(content[at + 4 : at + 4 + length].decode("ascii"))
            at += 4 + length
        # The rest is the number of the first residue and where the PDB has the corner of the box.
        offset, size = struct.unpack_from("<IHHfff", content, at)[:2]
        at += 20
        contents.append(("_".join(words), offset, size))
    total = sum(size for _, _, size in contents)

    found = {}
    for name, dtype, width in (
        ("sequence", "S1", 1),
        ("backbone", "<u2", 12),  # N, CA, C, O
        ("dihedrals", "<i2", 2),
        ("accessibility", "<u2", 1),
        ("depth", "<u2", 1),
        ("secondary", "S1", 1),
        ("profile", "<i2", 20),
        ("structure profile", "<i2", 20),
    ):
        if struct.unpack_from("<Q", content, at) != (total,):
            raise ValueError(f"{MEMBER}: {name} is not where it should be")
        found[name] = np.frombuffer(content, dtype, total * width, at + 8)
        at += 8 + found[name].nbytes
    if at != len(content):
        raise ValueError(f"{MEMBER}: {len(content) - at} bytes are left over")
    backbone = found["backbone"].reshape(-1, 4, 3)

    def text(name: str, place: slice) -> str:
        return found[name][place].tobytes().decode("ascii")

    places = [(one, slice(offset, offset + size)) for one, offset, size in contents]
    return [
        Chain(one, text("sequence", place), backbone[place].astype(np.int64), text("secondary", place))
        for one, place in places
    ]


def fault(chain: Chain, longest: int | None) -> str | None:
    """Why a chain is left out, if it is."""
    if len(chain.sequence) < SHORTEST:
        return f"fewer than {SHORTEST} residues"
    if longest is not None and len(chain.sequence) > longest:
        return f"more than {longest} residues"
    if not set(chain.sequence) <= RESIDUES:
        return "other than the 20 standard residues"
    if (chain.backbone == 0).all(axis=-1).any():  # integers: the only value that may stand for a missing one
        return "an atom without a position"
    n, ca, c, o = np.moveaxis(chain.backbone / PLACES, 1, 0)
    for first, second, (low, high) in ((n, ca, SINGLE), (ca, c, SINGLE), (c[:-1], n[1:], SINGLE), (c, o, DOUBLE)):
        length = np.linalg.norm(first - second, axis=-1)
        if not ((low < length) & (length < high)).all():
            return "a bond too short or too long"
    return None


def sound(found: list[Chain], longest: int | None) -> tuple[dict[str, Chain], dict[str, int]]:
    """Chains to draw from, by id, and why the others are left out; of those with one sequence, the first id."""
    reasons: list[str | None] = []
    kept: dict[str, Chain] = {}
    sequences: set[str] = set()
    for chain in sorted(found, key=lambda one: one.id):
        reason = fault(chain, longest) or ("the sequence of another chain" if chain.sequence in sequences else None)
        reasons.append(reason)
        if reason is None:
            sequences.add(chain.sequence)
            kept[chain.id] = chain
    return kept, tally(reasons)


def length_bin(n_residues: int) -> str:
    """First and last length of a bin such as ``44-48``; each begins at 1.1 times the one before, from 40 on."""
    power = 0
    while _edge(power + 1) <= n_residues:
        power += 1
    return f"{_edge(power)}-{_edge(power + 1) - 1}"


def _edge(power: int) -> int:
    """Smallest integer not below 40 times 1.1 to this power, without rounding errors."""
    edge: int = -(-SHORTEST * 11**power // 10**power)
    return edge


def row_of(chain: Chain) -> dict[str, Any]:
    """One item, moved such that the mean of its CA lies at the origin; to whole hundredths, so no digit is lost."""
    centre = np.rint(chain.backbone[:, 1].mean(axis=0)).astype(np.int64)
    return {
        "id": chain.id,
        "sequence": chain.sequence,
        "backbone": ((chain.backbone - centre) / PLACES).tolist(),
        "secondary": chain.secondary,
        "n_residues": len(chain.sequence),
        "length_bin": length_bin(len(chain.sequence)),
    }
