"""Malformed items: what makes a structure, a SMILES or a sequence unusable, found before anything is embedded.

Functions of one item return ``(column, reason)``, or None if the item is valid. They are fast enough to be
called on every item of every file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bounds import MOST_ATOMS, MOST_RESIDUES, MOST_SMILES
from .circumstances import cut
from .elements import COVALENT_RADII, SYMBOLS

Fault = tuple[str, str]

#: A message about an item is cut to so many characters, its head and tail kept: items can be of any length.
MESSAGE_LENGTH = 600

#: No two nuclei are this near (Angstrom): the bond of H2, the shortest there is, has 0.74.
MIN_DISTANCE = 0.5
#: Nor nearer than this share of the sum of their covalent radii: a water molecule's O-H, squeezed to 0.70 Angstrom, is
#: at 0.72; two vanadium atoms at 0.60 Angstrom are at 0.20.
CONTACT = 0.5
#: How near two atoms may be: by their elements (`CONTACT`, and `MIN_DISTANCE`), or `MIN_DISTANCE` for all, as in data
#: sets made before there was another rule.
Contacts = Literal["by element", "fixed"]
#: What an item is counted as that is left out for this.
TOO_CLOSE = {
    "by element": "two atoms closer than half the sum of their covalent radii",
    "fixed": f"two atoms closer than {MIN_DISTANCE} Angstrom",
}
#: The 20 amino acids, U and O (selenocysteine, pyrrolysine), and X, B, Z, J where it is not known which one.
RESIDUES = frozenset("ACDEFGHIKLMNPQRSTVWYUOXBZJ")
_HEAVIEST = 118
#: No item is larger than a tenth of a millimetre (Angstrom).
_MOST_DISTANCE = 1e6
#: Images of a cell that is at least as high as the cutoff, itself among them.
_IMAGES = 27
#: Images of the flattest cell whose contacts are looked for.
_MOST_IMAGES = 5_000
#: Atoms whose contacts are looked for at a time.
_BLOCK = 4_096
#: So many atoms too close to each other are not compared pair by pair.
_CROWD = 16


class MalformedDataError(ValueError):
    """An item, or a whole file, that can't be used. The message is a single line.

    Parameters
    ----------
    path
        The file.
    reason
        What is wrong.
    row
        1-based number of the item, or of the line.
    column
        What of the item is meant: ``"positions"``, ``"smiles"``, ...
    unit
        What `row` counts: ``"item"`` or ``"line"``.
    """

    def __init__(
        self,
        path: str | Path,
        reason: str,
        *,
        row: int | None = None,
        column: str | None = None,
        unit: str = "item",
    ) -> None:
        where = [f"{unit} {row}"] if row is not None else []
        where += [f"column {column!r}"] if column is not None else []
        text = f"{path}: {', '.join(where)}: {reason}" if where else f"{path}: {reason}"
        super().__init__(cut(text, MESSAGE_LENGTH))
        self.path, self.reason, self.row, self.column = Path(path), reason, row, column


def structure_fault(
    numbers: ArrayLike, positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, *, contacts: Contacts = "by element"
) -> Fault | None:
    """Return the fault of one structure.

    Parameters
    ----------
    numbers
        (n,) atomic numbers.
    positions
        (n, 3) Angstrom.
    cell
        (3, 3) Angstrom, rows are lattice vectors; those of directions that do not repeat may be zero.
    pbc
        (3,) which lattice directions repeat.
    contacts
        How near two atoms may be: half the sum of their covalent radii, and 0.5 Angstrom, or (``"fixed"``) 0.5
        Angstrom whatever they are.

    Returns
    -------
    tuple of str or None
        The column and the reason: no atoms, an unknown element, shapes that do not fit, a number that is not
        finite, lattice vectors that span no cell, two atoms (of periodic images too) that are too close.

    Examples
    --------
    >>> structure_fault([23, 23], [[0, 0, 0], [0, 0, 0.6]], [[0] * 3] * 3, [False] * 3)
    ('positions', 'atoms 1 (V) and 2 (V) are 0.600 Angstrom apart, 0.20 times the sum of their covalent radii')
    """
    arrays: dict[str, NDArray[np.float64]] = {}
    for name, given in (("numbers", numbers), ("positions", positions), ("cell", cell), ("pbc", pbc)):
        try:
            arrays[name] = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            return name, "is not an array of numbers"
    n = arrays["numbers"].size
    if n == 0:
        return "numbers", "the structure has no atoms"
    if n > MOST_ATOMS:
        return "numbers", f"the structure has {n:,} atoms, at most {MOST_ATOMS:,} are read"
    for name, shape in (("numbers", (n,)), ("positions", (n, 3)), ("cell", (3, 3)), ("pbc", (3,))):
        if arrays[name].shape != shape:
            return name, f"has the shape {arrays[name].shape}, expected {shape}"
    z, xyz, lattice = arrays["numbers"], arrays["positions"], arrays["cell"]
    unknown = ~((z >= 1) & (z <= _HEAVIEST) & (z == np.floor(z)))
    if unknown.any():
        atom = int(unknown.argmax())
        return "numbers", f"atom {atom + 1} is of an unknown element (atomic number {z[atom]:g})"
    stray = ~np.isfinite(xyz).all(axis=1)
    if stray.any():
        atom = int(stray.argmax())
        return "positions", f"atom {atom + 1} lies at {xyz[atom].tolist()}, which is not finite"
    if not np.isfinite(lattice).all():
        return "cell", "a lattice vector is not finite"
    distant = (np.abs(xyz) > _MOST_DISTANCE).any(axis=1)
    if distant.any():  # squares of such numbers overflow, and digits of distances are lost
        atom = int(distant.argmax())
        return (
            "positions",
            f"atom {atom + 1} lies at {xyz[atom].tolist()}, more than {_MOST_DISTANCE:,.0f} away",
        )
    if (np.abs(lattice) > _MOST_DISTANCE).any():
        return "cell", f"a lattice vector is longer than {_MOST_DISTANCE:,.0f} Angstrom"
    vectors = lattice[arrays["pbc"] != 0]
    if len(vectors) and (reason := _degenerate(vectors)):
        return "cell", reason
    return _too_close(z.astype(np.intp), xyz, vectors, contacts)


def smiles_fault(smiles: str | None) -> Fault | None:
    """Return the fault of one SMILES: it is empty, or RDKit can't read it."""
    from rdkit import Chem, rdBase

    if not smiles or not smiles.strip():
        return "smiles", "is empty"
    if len(smiles) > MOST_SMILES:  # RDKit's search for rings takes minutes where they are many
        return "smiles", f"has {len(smiles):,} characters, at most {MOST_SMILES:,} are read"
    with rdBase.BlockLogs():
        if Chem.MolFromSmiles(smiles) is None:
            return "smiles", f"RDKit reads no molecule in {cut(smiles, 200)!r}"
    return None


def sequence_fault(sequence: str | None) -> Fault | None:
    """Return the fault of one protein sequence: it is empty, or has letters that stand for no residue."""
    if not sequence:
        return "sequence", "is empty"
    if len(sequence) > MOST_RESIDUES:
        return "sequence", f"has {len(sequence):,} residues, at most {MOST_RESIDUES:,} are read"
    strange = [(place, letter) for place, letter in enumerate(sequence, 1) if letter not in RESIDUES]
    if strange:
        place, letter = strange[0]
        return "sequence", f"residue {place} is {letter!r}, which is no amino acid"
    return None


def ids_fault(ids: Sequence[str | None]) -> tuple[int, str] | None:
    """Return the 1-based row and the reason of the first id that is empty or occurs a second time."""
    seen: dict[str, int] = {}
    for row, one in enumerate(ids, 1):
        if not one:
            return row, "is empty"
        if one in seen:
            return row, f"{one!r} is the id of item {seen[one]} already"
        seen[one] = row
    return None


def _degenerate(vectors: NDArray[np.float64]) -> str | None:
    """Why repeating lattice vectors span no cell."""
    lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.all():
        return "a direction repeats (pbc) whose lattice vector is zero"
    # Volume (area, length) of the vectors at unit length: 0 where one lies in the span of the others.
    units = vectors / lengths[:, None]
    if np.linalg.det(units @ units.T) < 1e-10:
        return "the lattice vectors of the repeating directions are linearly dependent"
    return None


def _crowd(points: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """Atoms of a cube so small that all of them are too close, where many are; or their pairs would fill the memory."""
    cubes = np.floor(points / (MIN_DISTANCE / 2))  # its diagonal is 0.43 Angstrom
    order = np.lexsort(cubes.T)
    same = (np.diff(cubes[order], axis=0) == 0).all(axis=1)
    if len(same) <= _CROWD:
        return None
    for start in np.flatnonzero(same[:-_CROWD] & same[_CROWD:]):
        if same[start : start + _CROWD].all():
            return np.sort(order[start : start + _CROWD])
    return None


def _too_close(
    numbers: NDArray[np.intp], xyz: NDArray[np.float64], vectors: NDArray[np.float64], contacts: Contacts
) -> Fault | None:
    """Two atoms closer than in any real structure, because of a wrong unit, a duplicated atom or disorder."""
    from scipy.spatial import cKDTree

    n = len(xyz)
    radii = CONTACT * COVALENT_RADII[numbers] if contacts == "by element" else np.zeros(n)
    cutoff = max(MIN_DISTANCE, 2 * radii.max())
    points = xyz
    if len(vectors):
        dual = np.linalg.pinv(vectors)  # (3, p): fractional coordinates along the repeating directions
        if (np.abs(xyz @ dual) > 1e6).any():  # wrapping would lose the digits that tell atoms apart
            return "positions", "an atom lies more than a million cells away"
        points = xyz - np.floor(xyz @ dual) @ vectors
        # Images as far as the cutoff reaches: one or two cells each way, more only in a flat cell.
        reach = np.ceil(cutoff * np.linalg.norm(dual, axis=0)).astype(int)
        images = int(np.prod(2.0 * reach + 1))
        if images > _MOST_IMAGES or (images > _IMAGES and images * n > MOST_ATOMS * _IMAGES):
            return "cell", "the cell is too flat to hold its atoms"
        shifts = [shift for shift in product(*(range(-r, r + 1) for r in reach)) if any(shift)]
        points = np.vstack([points, *(points + np.array(shift) @ vectors for shift in shifts)])
    if (crowd := _crowd(points[:n])) is not None:
        first, second = (int(place) for place in crowd[:2])
        return "positions", _apart(numbers, first, second, float(np.linalg.norm(points[first] - points[second])))
    tree = cKDTree(points)
    worst: tuple[float, int, int, float] | None = None
    # In blocks: the pairs of a large item at a cutoff of some Angstrom would fill the memory.
    for start in range(0, n, _BLOCK):
        block = cKDTree(points[start : min(start + _BLOCK, n)])
        near = block.sparse_distance_matrix(tree, cutoff, output_type="ndarray")
        one, other, distance = near["i"] + start, near["j"], near["v"]
        limit = np.maximum(radii[one] + radii[other % n], MIN_DISTANCE)
        share = np.where(one == other, np.inf, distance / limit)
        if len(share) and share.min() <= 1 and (worst is None or share.min() < worst[0]):
            place = int(share.argmin())
            worst = float(share[place]), int(one[place]), int(other[place]) % n, float(distance[place])
    return None if worst is None else ("positions", _apart(numbers, *worst[1:]))


def _apart(numbers: NDArray[np.intp], one: int, other: int, distance: float) -> str:
    """Say how near two atoms are."""
    first, second = sorted((one, other))
    symbols = [SYMBOLS[numbers[place]] for place in (first, second)]
    pair = f"atom {first + 1} ({symbols[0]}) and its own image are"
    if first != second:
        pair = f"atoms {first + 1} ({symbols[0]}) and {second + 1} ({symbols[1]}) are"
    share = distance / COVALENT_RADII[numbers[[first, second]]].sum()
    return f"{pair} {distance:.3f} Angstrom apart, {share:.2f} times the sum of their covalent radii"
