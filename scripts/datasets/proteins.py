# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "pyarrow==26.0.1"]
# ///
"""Make `proteins-500.parquet` from the structure database inside Debian's package promod3-data 3.2.1+ds-6.

Usage: ``uv run --script scripts/datasets/proteins.py [--output DIR]``, on Debian 12 (apt-get fetches the package,
dpkg-deb opens it; nothing is installed). Downloads 371 MB; same bytes each time.

The database is a plain dump of arrays, read here without ProMod3; its layout follows the headers of
libpromod3-loop-dev (structure_db.hh, structure_db_custom_types.hh, ushort_vec.hh).
"""

from __future__ import annotations

import struct
import subprocess
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _build import CHAINS, choose, fetch_debian, output_folder, write
from numpy.typing import NDArray

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
PLACES = 100  # the database holds whole hundredths of an Angstrom


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
    raise SystemExit(f"{archive.name} has no {MEMBER}")


def chains(content: bytes) -> list[Chain]:
    """Read a table of contents, then one array after another, each over all residues of all chains."""
    if struct.unpack_from("<II", content) != MAGIC:
        raise SystemExit(f"{MEMBER} does not begin as it should")
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
            raise SystemExit(f"{MEMBER}: {name} is not where it should be")
        found[name] = np.frombuffer(content, dtype, total * width, at + 8)
        at += 8 + found[name].nbytes
    if at != len(content):
        raise SystemExit(f"{MEMBER}: {len(content) - at} bytes are left over")
    backbone = found["backbone"].reshape(-1, 4, 3)

    def text(name: str, place: slice) -> str:
        return found[name][place].tobytes().decode("ascii")

    places = [(one, slice(offset, offset + size)) for one, offset, size in contents]
    return [
        Chain(one, text("sequence", place), backbone[place].astype(np.int64), text("secondary", place))
        for one, place in places
    ]


def fault(chain: Chain) -> str | None:
    """Why a chain is left out, if it is."""
    if not SHORTEST <= len(chain.sequence) <= LONGEST:
        return f"not {SHORTEST} to {LONGEST} residues"
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


def sound(found: list[Chain]) -> dict[str, Chain]:
    """Chains to draw from, by id; of those with one sequence, the one whose id comes first."""
    dropped: Counter[str] = Counter()
    kept: dict[str, Chain] = {}
    sequences: set[str] = set()
    for chain in sorted(found, key=lambda one: one.id):
        reason = fault(chain) or ("the sequence of another chain" if chain.sequence in sequences else None)
        if reason:
            dropped[reason] += 1
            continue
        sequences.add(chain.sequence)
        kept[chain.id] = chain
    print(f"{len(found)} chains, {len(kept)} kept; dropped: {dict(dropped)}")
    return kept


def length_bin(n_residues: int) -> str:
    """First and last length of a bin such as ``44-48``; each begins at 1.1 times the one before, from 40 on."""
    power = 0
    while _edge(power + 1) <= n_residues:
        power += 1
    return f"{_edge(power)}-{_edge(power + 1) - 1}"


def _edge(power: int) -> int:
    """Smallest integer not below 40 times 1.1 to this power, without rounding errors."""
    return -(-SHORTEST * 11**power // 10**power)


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


def main() -> None:
    """Fetch, sift, draw, write."""
    folder = output_folder(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        found = chains(database(fetch_debian(PACKAGE, SHA256, Path(scratch))))
    table = sound(found)
    if (len(found), len(table)) != (RECORDS, KEPT):
        raise SystemExit(f"{PACKAGE}: {len(found)} chains, {len(table)} kept; expected {RECORDS}, {KEPT}")
    drawn = sorted(choose(table, 500, seed="proteins-500/0"))
    write([row_of(table[one]) for one in drawn], CHAINS, folder / "proteins-500.parquet")


if __name__ == "__main__":
    main()
