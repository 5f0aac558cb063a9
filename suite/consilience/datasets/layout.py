"""Items on their way into a target's environment: one plain ``.npz`` without pickles.

Both ends import this module. The reading end runs where neither `datasets` nor `pyarrow` exist, hence nothing
beyond numpy here, and ASE only for the view that is made of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

FORMAT = 1


class Structures(NamedTuple):
    """n structures with N atoms in all, as flat arrays."""

    offsets: NDArray[np.int64]
    """(n + 1,): structure i owns the atoms ``offsets[i]:offsets[i + 1]``."""
    numbers: NDArray[np.uint8]
    """(N,) atomic numbers."""
    positions: NDArray[np.float64]
    """(N, 3) Angstrom."""
    cell: NDArray[np.float64]
    """(n, 3, 3) Angstrom, rows are lattice vectors; zeros where there is none."""
    pbc: NDArray[np.bool_]
    """(n, 3) whether each lattice direction repeats."""
    charge: NDArray[np.int64]
    """(n,) elementary charges."""
    spin: NDArray[np.int64]
    """(n,) multiplicity 2S + 1."""

    def take(self, indices: NDArray[np.intp]) -> Structures:
        """Structures at these places, in this order."""
        offsets, atoms = _taken(self.offsets, indices)
        rest = (self.cell[indices], self.pbc[indices], self.charge[indices], self.spin[indices])
        return Structures(offsets, self.numbers[atoms], self.positions[atoms], *rest)

    def to_atoms(self) -> list[Atoms]:
        """One `ase.Atoms` per structure, with ``info["charge"]`` and ``info["spin"]``."""
        from ase import Atoms

        return [
            Atoms(
                numbers=self.numbers[start:stop],
                positions=self.positions[start:stop],
                cell=self.cell[i],
                pbc=self.pbc[i],
                info={"charge": int(self.charge[i]), "spin": int(self.spin[i])},
            )
            for i, (start, stop) in enumerate(pairwise(self.offsets.tolist()))
        ]


class Backbone(NamedTuple):
    """One protein chain, as models of protein structures read it."""

    sequence: str
    """L residues, one letter each; ``X`` where unknown."""
    coordinates: NDArray[np.float32]
    """(L, 4, 3) positions of N, CA, C and O, Angstrom; NaN where the structure does not show them."""


class Chains(NamedTuple):
    """n protein chains with L residues in all, as flat arrays."""

    offsets: NDArray[np.int64]
    """(n + 1,): chain i owns the residues ``offsets[i]:offsets[i + 1]``."""
    residues: NDArray[np.uint8]
    """(L,) letters, as ASCII codes."""
    coordinates: NDArray[np.float32]
    """(L, 4, 3) positions of N, CA, C and O, Angstrom."""

    def take(self, indices: NDArray[np.intp]) -> Chains:
        """Chains at these places, in this order."""
        offsets, rows = _taken(self.offsets, indices)
        return Chains(offsets, self.residues[rows], self.coordinates[rows])

    def to_backbones(self) -> list[Backbone]:
        """One `Backbone` per chain."""
        letters = self.residues.tobytes().decode("ascii")
        return [Backbone(letters[i:j], self.coordinates[i:j]) for i, j in pairwise(self.offsets.tolist())]


def _taken(offsets: NDArray[np.int64], indices: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets of the items at these places, and the places of their rows."""
    lengths = np.diff(offsets)[indices]
    new = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return new, np.repeat(offsets[indices] - new[:-1], lengths) + np.arange(new[-1])


def save_items(
    path: str | Path, *, view: str, ids: Sequence[str], content: Sequence[str] | Structures | Chains
) -> None:
    """Write items as one view of them.

    Parameters
    ----------
    path
        File to write, taken literally: no suffix is added.
    view
        Name of the view.
    ids
        (n,) ids.
    content
        (n,) strings, the structures of the view ``"atoms"``, or the chains of the view ``"backbone"``.

    Raises
    ------
    ValueError
        Ids and content differ in number.
    """
    arrays: dict[str, NDArray[Any]]
    if isinstance(content, Structures | Chains):
        found, arrays = len(content.offsets) - 1, content._asdict()
    else:
        found, arrays = len(content), _pack("text", content)
    if found != len(ids):
        raise ValueError(f"{len(ids)} ids but {found} items")
    with Path(path).open("wb") as file:
        np.savez(file, format=np.array(FORMAT), view=np.array(view), **_pack("id", ids), **arrays)  # type: ignore[arg-type]


def load_items(path: str | Path) -> list[Any]:
    """Read items: strings, `ase.Atoms` where the view is ``"atoms"``, `Backbone` where it is ``"backbone"``.

    Raises
    ------
    ValueError
        The file is of another format.
    """
    with _opened(path) as file:
        if str(file["view"]) == "backbone":
            return list(Chains(*(file[field] for field in Chains._fields)).to_backbones())
        if str(file["view"]) != "atoms":
            return _unpack("text", file)
        return list(Structures(*(file[field] for field in Structures._fields)).to_atoms())


def load_ids(path: str | Path) -> list[str]:
    """Read the ids of the items, in order."""
    with _opened(path) as file:
        return _unpack("id", file)


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Arrays of a file of items; raises `ValueError` where it is damaged, or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            _check_format(file, path)
            yield file
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy, zipfile and zlib fail in many ways
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(f"{path} does not hold items: {type(error).__name__}: {error}") from error


def _check_format(file: Any, path: str | Path) -> None:
    found = int(file["format"]) if "format" in file else None
    if found != FORMAT:
        raise ValueError(f"{path} holds items in format {found}, expected {FORMAT}")


def _pack(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """UTF-8 end to end plus offsets: a unicode array would take the width of its longest string for each."""
    encoded = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in encoded])]).astype(np.int64)
    return {f"{name}_bytes": np.frombuffer(b"".join(encoded), np.uint8), f"{name}_offsets": offsets}


def _unpack(name: str, file: Any) -> list[str]:
    flat, offsets = file[f"{name}_bytes"].tobytes(), file[f"{name}_offsets"].tolist()
    return [flat[start:stop].decode() for start, stop in pairwise(offsets)]
