# /// script
# requires-python = ">=3.11"
# dependencies = ["gemmi==0.7.5", "numpy==2.4.6", "pip==26.3", "pyarrow==26.0.1", "scipy==1.17.1"]
# ///
"""Metal-organic frameworks of CoRE MOF 2019, from the wheel core-mof 2019.1 (a download of 45 MB)."""

from __future__ import annotations

import csv
import io
import math
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import CONFIRMATION, choose, expect, hill, tally, without_known
from consilience.checks import TOO_CLOSE, Contacts, structure_fault

if TYPE_CHECKING:
    import gemmi

WHEEL = "core-mof==2019.1"
SHA256 = "852af4c604148585eca6cfd75832c4b4967a1bded76381d4b914dcd2317f6823"
FOLDER = "CoRE_MOF/data"
SET = "2019-ASR"  # all solvent removed
RECORDS = 12_020
KEPT = {"fixed": 4_909, "by element": 4_896}  # by the rule for contacts
LARGEST = 200  # atoms in the cell
CLOSEST = 0.5  # Angstrom
THINNEST = 2.0  # Angstrom between opposite faces of a cell
DENSITY = (5.0, 150.0)  # cubic Angstrom per atom
SAME_VOLUME = 1e-3
REFCODE = re.compile(r"([A-Z]{6})(?:[0-9]{2})?(?:_|$)")

COMMON: dict[str, Any] = {
    "matter": "crystal",
    "views": ("id", "atoms"),
    "strata": ("metals", "formula"),
    "lineage": ("CoRE-MOF", "CSD"),
    "licence": "CC-BY-4.0",
    "citation": (
        "Y. G. Chung, E. Haldoupis, B. J. Bucior, M. Haranczyk, S. Lee, H. Zhang, K. D. Vogiatzis, M. Milisavljevic, "
        "S. Ling, J. S. Camp, B. Slater, J. I. Siepmann, D. S. Sholl, R. Q. Snurr: Advances, Updates, and Analytics "
        "for the Computation-Ready, Experimental Metal-Organic Framework Database: CoRE MOF 2019. Journal of Chemical "
        "& Engineering Data 64, 5985-5998 (2019), doi:10.1021/acs.jced.9b00835"
    ),
    "source": (
        "PyPI core-mof==2019.1, wheel, sha256 852af4c604148585eca6cfd75832c4b4967a1bded76381d4b914dcd2317f6823 "
        "(package: MIT, copyright 2024 Coudert lab; data: CC BY 4.0, as its metadata states), CoRE_MOF/data/2019-ASR: "
        "12,020 crystal structures from diffraction, all solvent removed, not relaxed"
    ),
}
FIVE_HUNDRED = DatasetCard(
    name="mof-500",
    title="500 metal-organic frameworks of CoRE MOF 2019 (60 elements, up to 200 atoms per cell)",
    items=500,
    dropped={
        "more than 200 atoms": 5_787,
        "the refcode of another": 561,
        "disordered, as the table says": 486,
        "formula and volume of another": 155,
        "a charged framework, as its name says": 110,
        "two atoms closer than 0.5 Angstrom": 11,
        "not readable": 1,
    },
    revision="51729fc9a81040b62271136ae15dd50c301311d9922cbbab1441ee117e294494",
    recipe="consilience dataset build mof-500",
    contacts="fixed",
    selection=(
        "uniform over 4,909: the 500 ids whose SHA-256 behind 'mof-500/0/' comes first. Of the 12,020 we left out, in "
        "this order, 1 that gemmi cannot read; 5,787 of more than 200 atoms; none with unknown elements or deuterium; "
        "none with partly occupied sites; 486 that the database's own table marks as disordered; 110 whose names mark "
        "the framework as charged; none for a cell of less than 5 or more than 150 cubic Angstrom per atom or less "
        "than 2 Angstrom thick; 11 with two atoms closer than 0.5 Angstrom; 561 with the six letters of another's "
        "refcode; and 155 with the reduced formula and, within 0.1 %, the volume per atom of another. Positions are "
        "rounded to 0.001 Angstrom. Charge 0 and spin 1 are nominal: the source states neither, and many of these "
        "metals have open shells. As in the source, hydrogen atoms may be missing (45 of the 500 have carbon but no "
        "hydrogen), and 46 have no carbon"
    ),
    **COMMON,
)
ALL = DatasetCard(
    name="core-mof",
    title="Metal-organic frameworks of CoRE MOF 2019, of any size",
    items=8_613,
    revision="dc5027845e20ae9e03d200b7bcd9f8f62fc43caae46a402752773af9e3e2e747",
    dropped={
        "disordered, as the table says": 1_877,
        "the refcode of another": 778,
        "a charged framework, as its name says": 437,
        "formula and volume of another": 276,
        "two atoms closer than 0.5 Angstrom": 36,
        "a cell too full or too empty": 2,
        "not readable": 1,
    },
    recipe="consilience dataset build core-mof",
    contacts="fixed",
    selection=(
        "all of the 12,020 but those that mof-500 leaves out for another reason than their size; of those that are the "
        "same, the first id"
    ),
    **COMMON,
)
FIVE_HUNDRED_2 = DatasetCard(
    name="mof-500-v2",
    title="500 metal-organic frameworks of CoRE MOF 2019, none with overlapping atoms (60 elements, up to 200 atoms)",
    items=500,
    dropped={
        "more than 200 atoms": 5_787,
        "the refcode of another": 561,
        "disordered, as the table says": 486,
        "formula and volume of another": 155,
        "a charged framework, as its name says": 110,
        "two atoms closer than half the sum of their covalent radii": 24,
        "not readable": 1,
    },
    revision="09edeca0626e869773c0e8bc95794509d3874abd4bcbda7eb554cbda249a7352",
    recipe="consilience dataset build mof-500-v2",
    selection=(
        "as mof-500, without the 24 (instead of 11) structures with two atoms closer than half the sum of their "
        "covalent radii, or 0.5 Angstrom: uniform over 4,896. LIWFOM_clean (two vanadium atoms at 0.60 Angstrom) and "
        "IWAYAG_clean (potassium and oxygen at 1.13 Angstrom) of mof-500 are not in it, AFOYIE_clean and XEHSEJ_clean "
        "come in their place"
    ),
    **COMMON,
)
ALL_2 = DatasetCard(
    name="core-mof-v2",
    title="Metal-organic frameworks of CoRE MOF 2019, of any size, none with overlapping atoms",
    items=8_572,
    revision="788fdd33ade9292a3a8684d8539a13d11791aec79d337e1f60bfc5ffa46d6417",
    dropped={
        "disordered, as the table says": 1_877,
        "the refcode of another": 773,
        "a charged framework, as its name says": 437,
        "formula and volume of another": 276,
        "two atoms closer than half the sum of their covalent radii": 82,
        "a cell too full or too empty": 2,
        "not readable": 1,
    },
    recipe="consilience dataset build core-mof-v2",
    selection=(
        "all of the 12,020 but those that mof-500-v2 leaves out for another reason than their size; of those that are "
        "the same, the first id"
    ),
    **COMMON,
)
FRESH = DatasetCard(
    name="confirmation-mof",
    title="Metal-organic frameworks of CoRE MOF 2019 that are in no data set of board v1 "
    "(docs/studies/v2-confirmation.md)",
    items=451,
    dropped={**FIVE_HUNDRED.dropped, "in mof-500": 49},
    revision="6cd2d9d6c3c450484c85117700ed661f9a37cabdfdfad396852b6bd73cc297fe",
    recipe="consilience dataset build confirmation-mof",
    contacts="fixed",
    selection="as mof-500, drawn behind 'confirmation/1/', without what is in mof-500",
    **COMMON,
)


class Framework(NamedTuple):
    """One structure, all atoms of its cell."""

    id: str
    elements: list[gemmi.Element]
    fractional: NDArray[np.float64]
    cell: gemmi.UnitCell
    full: bool  # whether every site is fully occupied

    def positions(self) -> NDArray[np.float64]:
        """(n, 3) in Angstrom."""
        found: NDArray[np.float64] = self.fractional @ np.array(self.cell.orth.mat.tolist()).T
        return found

    def heights(self) -> NDArray[np.float64]:
        """Angstrom between opposite faces of the cell."""
        inverse: NDArray[np.float64] = np.linalg.norm(np.array(self.cell.frac.mat.tolist()), axis=1)
        return 1 / inverse

    def closest(self) -> float:
        """Angstrom between the two nearest atoms.

        Exact where it is less than half the least of the `heights`: the nearest image is then that of the
        nearest fractional coordinates.
        """
        between = self.fractional[:, None] - self.fractional[None]
        between -= np.rint(between)
        distances = np.linalg.norm(between @ np.array(self.cell.orth.mat.tolist()).T, axis=-1)
        return float(distances[~np.eye(len(distances), dtype=bool)].min())

    def touching(self) -> bool:
        """Whether two atoms are closer than their elements allow."""
        numbers = [element.atomic_number for element in self.elements]
        return structure_fault(numbers, self.positions(), self.lattice(), [True] * 3) is not None

    def lattice(self) -> NDArray[np.float64]:
        """(3, 3) Angstrom, rows are lattice vectors."""
        vectors: NDArray[np.float64] = np.array(self.cell.orth.mat.tolist()).T
        return vectors

    def reduced(self) -> tuple[str, float]:
        """Reduced formula, and cubic Angstrom per atom."""
        counts = Counter(element.name for element in self.elements)
        divisor = math.gcd(*counts.values())
        formula = hill({symbol: count // divisor for symbol, count in counts.items()})
        return formula, self.cell.volume / len(self.elements)


@recipe(FIVE_HUNDRED, ALL, FIVE_HUNDRED_2, ALL_2, FRESH)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by id; lengths in Angstrom."""
    from consilience.building.schemas import FRAMEWORKS, LARGE_FRAMEWORKS

    whole = card in (ALL, ALL_2)
    largest = None if whole else LARGEST
    found = list(frameworks(sources.package(WHEEL, SHA256)))
    table, dropped = sound(found, largest, card.contacts)
    expect(WHEEL, frameworks=(len(found), RECORDS))
    if whole:
        return Draft(LARGE_FRAMEWORKS, sorted(table), lambda one: row_of(table[one]), dropped)
    expect(WHEEL, kept=(len(table), KEPT[card.contacts]))
    if card is FRESH:
        fresh, known = without_known(choose(table, FIVE_HUNDRED.items or 0, CONFIRMATION), [FIVE_HUNDRED.name])
        return Draft(FRAMEWORKS, sorted(fresh), lambda one: row_of(table[one]), dropped | known)
    drawn = choose(table, card.items or 0, seed="mof-500/0")
    return Draft(FRAMEWORKS, sorted(drawn), lambda one: row_of(table[one]), dropped)


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
        raise ValueError(f"{SET}: the table and the structures do not name the same frameworks")
    for one in sorted(found):
        yield told[one], found[one]


def read(one: str, text: str) -> Framework | None:
    """Read a structure with the symmetry it states; ``None`` where it breaks the rules of its format."""
    import gemmi

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


def fault(told: dict[str, str], found: Framework | None, largest: int | None, contacts: Contacts) -> str | None:
    """Why a structure is left out, if it is."""
    if found is None:
        return "not readable"
    if largest is not None and len(found.elements) > largest:
        return f"more than {largest} atoms"
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
    if contacts == "by element":
        return TOO_CLOSE[contacts] if found.touching() else None
    # Larger ones are looked at when rows are made, by a search that needs no matrix of all distances.
    if len(found.elements) <= LARGEST and found.closest() < CLOSEST:
        return TOO_CLOSE[contacts]
    return None


def stem(told: dict[str, str]) -> str:
    """Six letters of the refcode, which all structures of one compound share; its own name where it has none."""
    for text in (told["filename"], told["Matched_CSD_of_CoRE"].strip()):
        refcode = REFCODE.match(text)
        if refcode:
            return refcode[1]
    return told["filename"]


def sound(
    found: list[tuple[dict[str, str], Framework | None]], largest: int | None, contacts: Contacts
) -> tuple[dict[str, Framework], dict[str, int]]:
    """Frameworks to draw from, by id, and why the others are left out; of those that are the same, the first id."""
    reasons: list[str | None] = []
    kept: dict[str, Framework] = {}
    stems: set[str] = set()
    volumes: dict[str, list[float]] = {}
    for told, framework in found:
        reason = fault(told, framework, largest, contacts)
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
        reasons.append(reason)
    return kept, tally(reasons)


def row_of(framework: Framework) -> dict[str, Any]:
    """One item; rounded far below what diffraction resolves, so that no library's last digit matters."""
    counts = Counter(element.name for element in framework.elements)
    metals = sorted({element.name for element in framework.elements if element.is_metal})
    return {
        "id": framework.id,
        "numbers": [element.atomic_number for element in framework.elements],
        "positions": (framework.positions().round(3) + 0.0).tolist(),
        "cell": (framework.lattice().round(6) + 0.0).tolist(),
        "pbc": [True] * 3,
        "charge": 0,  # nominal, as is the spin: the source states neither
        "spin": 1,
        "formula": hill(counts),
        "n_atoms": len(framework.elements),
        "metals": "-".join(metals),
    }
