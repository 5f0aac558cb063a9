# /// script
# requires-python = ">=3.11"
# dependencies = ["gemmi==0.7.5", "numpy==2.4.6", "pip==26.3", "pyarrow==26.0.1"]
# ///
"""Make `mof-500.parquet` from the metal-organic frameworks of CoRE MOF 2019 inside the wheel core-mof 2019.1.

Usage: ``uv run --script scripts/datasets/core_mof.py [--output DIR]``. Downloads 45 MB; same bytes each time.
"""

from __future__ import annotations

import csv
import io
import math
import re
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gemmi
import numpy as np
from _build import FRAMEWORKS, choose, fetch, hill, output_folder, write
from numpy.typing import NDArray

WHEEL = "core-mof==2019.1"
SHA256 = "852af4c604148585eca6cfd75832c4b4967a1bded76381d4b914dcd2317f6823"
FOLDER = "CoRE_MOF/data"
SET = "2019-ASR"  # all solvent removed
RECORDS = 12_020
KEPT = 4_909
LARGEST = 200  # atoms in the cell
CLOSEST = 0.5  # Angstrom
THINNEST = 2.0  # Angstrom between opposite faces of a cell
DENSITY = (5.0, 150.0)  # cubic Angstrom per atom
SAME_VOLUME = 1e-3
REFCODE = re.compile(r"([A-Z]{6})(?:[0-9]{2})?(?:_|$)")


class Framework(NamedTuple):
    """One structure, all atoms of its cell."""

    id: str
    elements: list[gemmi.Element]
    fractional: NDArray[np.float64]
    cell: gemmi.UnitCell
    full: bool  # whether every site is fully occupied

    def positions(self) -> NDArray[np.float64]:
        """(n, 3) in Angstrom."""
        return self.fractional @ np.array(self.cell.orth.mat.tolist()).T

    def heights(self) -> NDArray[np.float64]:
        """Angstrom between opposite faces of the cell."""
        return 1 / np.linalg.norm(np.array(self.cell.frac.mat.tolist()), axis=1)

    def closest(self) -> float:
        """Angstrom between the two nearest atoms.

        Exact where it is less than half the least of the `heights`: the nearest image is then that of the
        nearest fractional coordinates.
        """
        between = self.fractional[:, None] - self.fractional[None]
        between -= np.rint(between)
        distances = np.linalg.norm(between @ np.array(self.cell.orth.mat.tolist()).T, axis=-1)
        return float(distances[~np.eye(len(distances), dtype=bool)].min())

    def reduced(self) -> tuple[str, float]:
        """Reduced formula, and cubic Angstrom per atom."""
        counts = Counter(element.name for element in self.elements)
        divisor = math.gcd(*counts.values())
        formula = hill({symbol: count // divisor for symbol, count in counts.items()})
        return formula, self.cell.volume / len(self.elements)


def frameworks(wheel: Path) -> Iterator[tuple[dict[str, str], Framework | None]]:
    """What the table says of each structure, and the structure, if it can be read; by id."""
    with zipfile.ZipFile(wheel) as archive:
        with archive.open(f"{FOLDER}/{SET}.csv") as raw:
            told = {row["filename"]: row for row in csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))}
        found = {}
        with archive.open(f"{FOLDER}/{SET}.tar.xz") as raw, tarfile.open(fileobj=raw, mode="r|xz") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is not None:
                    one = member.name.removesuffix(".cif")
                    found[one] = read(one, content.read().decode())
    if set(told) != set(found):
        raise SystemExit(f"{SET}: the table and the structures do not name the same frameworks")
    for one in sorted(found):
        yield told[one], found[one]


def read(one: str, text: str) -> Framework | None:
    """Read a structure with the symmetry it states; ``None`` where it breaks the rules of its format."""
    try:
        structure = gemmi.make_small_structure_from_block(gemmi.cif.read_string(text).sole_block())
    except ValueError:
        return None
    sites = structure.get_all_unit_cell_sites()
    return Framework(
        one,
        [site.element for site in sites],
        np.array([site.fract.tolist() for site in sites]),
        structure.cell,
        all(site.occ == 1 for site in sites),
    )


def fault(told: dict[str, str], found: Framework | None) -> str | None:
    """Why a structure is left out, if it is."""
    if found is None:
        return "not readable"
    if len(found.elements) > LARGEST:
        return f"more than {LARGEST} atoms"
    if any(element.atomic_number == 0 or element.name == "D" for element in found.elements):
        return "an unknown element, or deuterium"
    if not found.full:
        return "partly occupied sites"
    if told["DISORDER"].strip():
        return "disordered, as the table says"
    if told["Extension"].strip() == "charged":
        return "a charged framework, as its name says"
    low, high = DENSITY
    if not np.isfinite(found.fractional).all() or not low < found.cell.volume / len(found.elements) < high:
        return "a cell too full or too empty"
    if found.heights().min() < THINNEST:
        return "a cell too thin"
    if found.closest() < CLOSEST:
        return f"two atoms closer than {CLOSEST} Angstrom"
    return None


def stem(told: dict[str, str]) -> str:
    """Six letters of the refcode, which all structures of one compound share; its own name where it has none."""
    for text in (told["filename"], told["Matched_CSD_of_CoRE"].strip()):
        refcode = REFCODE.match(text)
        if refcode:
            return refcode[1]
    return told["filename"]


def sound(found: Iterator[tuple[dict[str, str], Framework | None]]) -> dict[str, Framework]:
    """Frameworks to draw from, by id; of those that are the same, the one whose id comes first."""
    dropped: Counter[str] = Counter()
    kept: dict[str, Framework] = {}
    stems: set[str] = set()
    volumes: dict[str, list[float]] = {}
    for told, framework in found:
        reason = fault(told, framework)
        if reason is None:
            assert framework is not None
            formula, volume = framework.reduced()
            if stem(told) in stems:
                reason = "the refcode of another"
            elif any(abs(volume / other - 1) < SAME_VOLUME for other in volumes.get(formula, ())):
                reason = "formula and volume of another"
            else:
                stems.add(stem(told))
                volumes.setdefault(formula, []).append(volume)
                kept[framework.id] = framework
        if reason:
            dropped[reason] += 1
    print(f"{len(kept) + dropped.total()} frameworks, {len(kept)} kept; dropped: {dict(dropped)}")
    return kept


def row_of(framework: Framework) -> dict[str, Any]:
    """One item; rounded far below what diffraction resolves, so that no library's last digit matters."""
    counts = Counter(element.name for element in framework.elements)
    metals = sorted({element.name for element in framework.elements if element.is_metal})
    return {
        "id": framework.id,
        "numbers": [element.atomic_number for element in framework.elements],
        "positions": (framework.positions().round(3) + 0.0).tolist(),
        "cell": (np.array(framework.cell.orth.mat.tolist()).T.round(6) + 0.0).tolist(),
        "pbc": [True] * 3,
        "charge": 0,  # nominal, as is the spin: the source states neither
        "spin": 1,
        "formula": hill(counts),
        "n_atoms": len(framework.elements),
        "metals": "-".join(metals),
    }


def main() -> None:
    """Fetch, sift, draw, write."""
    folder = output_folder(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        found = list(frameworks(fetch(WHEEL, SHA256, Path(scratch), "--only-binary", ":all:")))
    table = sound(iter(found))
    if (len(found), len(table)) != (RECORDS, KEPT):
        raise SystemExit(f"{WHEEL}: {len(found)} frameworks, {len(table)} kept; expected {RECORDS}, {KEPT}")
    drawn = sorted(choose(table, 500, seed="mof-500/0"))
    write([row_of(table[one]) for one in drawn], FRAMEWORKS, folder / "mof-500.parquet")


if __name__ == "__main__":
    main()
