"""Items: a data set as the rest of the suite reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consilience.building.built import find_built
from consilience.building.draft import ranked
from consilience.cards import Card, DatasetCard
from consilience.registry import get_dataset

from .columns import flat, strings
from .layout import Chains, Structures, save_items
from .tables import table_of

if TYPE_CHECKING:
    import pyarrow as pa

    from consilience.records.spec import Spec

_TEXT_VIEWS = {"id": "id", "smiles": "smiles", "sequence": "sequence"}
#: Views made of another one: models that read SELFIES see the very molecules that models of SMILES see.
_DERIVED = {"selfies": "smiles"}


def open_dataset(name: str) -> Items:
    """Open a registered data set.

    Raises
    ------
    UnknownNameError
        Nothing has this name; the message suggests near ones.
    ValueError
        The table does not hold what its card declares.
    """
    entry = get_dataset(name)
    # A set that no card pins is as old as its build, whose digest covers the commit of the hub that it was made of.
    built = find_built(name) if entry.recipe is not None and entry.card.revision is None else None
    return Items.from_dataset(entry.card, table_of(entry), None if built is None else str(built.manifest["sha256"]))


def open_for_board(name: str, spec: Spec) -> Items:
    """Open a data set at the revision that a board is about.

    Raises
    ------
    ValueError
        The data on this machine are of another revision than the board's.
    """
    items, revision = open_dataset(name), spec.dataset(name).revision
    if items.revision != revision:
        raise ValueError(
            f"{name}: board {spec.board} is about revision {revision[:12]}, the data here are {items.revision[:12]}"
        )
    return items


class Items:
    """Items of a data set, in order, with everything that is known about them.

    Columns are read from Arrow on first use and kept; arrays handed out are not to be written to.

    Attributes
    ----------
    card
        What the data set declares about itself.
    revision
        Version of the data set: the card's; else the SHA-256 of the table built here, or of all items.
        A selection keeps the revision of the set that it was drawn from.
    """

    def __init__(self, card: DatasetCard, table: pa.Table, revision: str | None = None) -> None:
        self.card = card
        self._table = table
        self.ids: list[str] = strings(table, "id")
        """Ids, in order; unique."""
        if len(set(self.ids)) != len(self.ids):
            raise ValueError(f"data set {card.name!r}: ids are not unique")
        absent = [view for view in card.views if not self._columns_of(view) <= set(table.column_names)]
        if absent:
            raise ValueError(f"data set {card.name!r} declares views that its columns do not hold: {absent}")
        self.revision: str = revision or card.revision or self._content_sha256()

    @classmethod
    def from_dataset(cls, card: DatasetCard, dataset: Any, revision: str | None = None) -> Items:
        """Wrap a `datasets.Dataset`; raises `ValueError` where it does not hold what the card declares."""
        if dataset._indices is not None:  # selected or shuffled: the Arrow table still is in the old order
            dataset = dataset.flatten_indices()
        if card.items is not None and len(dataset) != card.items:
            raise ValueError(f"data set {card.name!r} has {len(dataset)} items, its card says {card.items}")
        return cls(card, dataset.data.table, revision)

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.card.name

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Items({self.name!r}, {len(self)} of {self.card.items or '?'})"

    @cached_property
    def items_sha256(self) -> str:
        """SHA-256 over the revision and the ids: equal only for the same items in the same order."""
        return hashlib.sha256("\n".join([self.revision, *self.ids]).encode()).hexdigest()

    # -- views ---------------------------------------------------------------------------------------------

    def has_view(self, view: str) -> bool:
        """Whether every item has this view."""
        return _DERIVED.get(view, view) in self.card.views

    def view(self, view: str, indices: ArrayLike | None = None) -> list[Any]:
        """Items as a model reads them.

        Parameters
        ----------
        view
            ``"id"``, ``"smiles"``, ``"selfies"`` (made of the SMILES), ``"sequence"``: strings. ``"atoms"``: fresh
            `ase.Atoms` with positions and cell in Angstrom, ``info["charge"]`` and ``info["spin"]`` (multiplicity).
            ``"backbone"``: `Backbone`, a sequence with the positions of its N, CA, C, O in Angstrom.
        indices
            Which items, in which order; all by default.

        Raises
        ------
        ValueError
            The data set has no such view.
        """
        content = self._content(view, indices)
        if isinstance(content, Chains):
            return list(content.to_backbones())
        return list(content.to_atoms()) if isinstance(content, Structures) else content

    def save(self, path: str | Path, indices: ArrayLike | None = None, *, view: str) -> None:
        """Write items to a plain ``.npz`` for :func:`consilience.datasets.layout.load_items`."""
        ids = self.ids if indices is None else [self.ids[i] for i in self._places(indices)]
        save_items(path, view=view, ids=ids, content=self._content(view, indices))

    def select(self, indices: ArrayLike) -> Items:
        """Items at these places (or under this mask), in this order; each at most once."""
        return Items(self.card, self._table.take(self._places(indices)), self.revision)

    def head(self, n: int) -> Items:
        """Return the first n items, or all where there are fewer."""
        return self if n >= len(self) else self.select(np.arange(n))

    def sample(self, n: int, *, seed: int = 0, stratify: str | None = None) -> Items:
        """Draw items: the same ids on every machine, and of a smaller `n` among those of a larger.

        Items rank by the SHA-256 of the data set's name, the seed and their id; the first `n` are taken. With
        `stratify` each group gives its share: the group whose share is owed most gives its next item, and so on;
        groups of equal size take turns, so that of a thousand groups of one item a tenth is in a tenth of all.

        Parameters
        ----------
        n
            How many; all where there are fewer.
        seed
            Another seed is another sample.
        stratify
            Column of a stratum, so that rare groups are neither lost nor overdrawn by chance.

        Returns
        -------
        Items
            In the order of the draw, so that ``sample(5000).head(1000)`` is ``sample(1000)``.

        Raises
        ------
        ValueError
            `n` is below 1, or the card declares no such stratum.
        """
        if n < 1:
            raise ValueError(f"n: expected at least 1 item, found {n}")
        place = {one: i for i, one in enumerate(self.ids)}
        drawn = [place[one] for one in ranked(self.ids, f"{self.name}/{seed}")]
        if stratify is not None:
            drawn = [drawn[i] for i in np.argsort(_turns(self.strata(stratify)[drawn]), kind="stable")]
        return self.select(drawn[:n])

    # -- what is known about the items ---------------------------------------------------------------------

    @cached_property
    def energy(self) -> NDArray[np.float64] | None:
        """(n,) reference energies in eV, as the card's `energy` describes them; ``None`` without a label."""
        return None if self.card.energy is None else self.column(self.card.energy.name).astype(np.float64)

    @cached_property
    def electronic_energy(self) -> NDArray[np.float64] | None:
        """(n,) reference energies in eV without zero-point vibration: what a potential predicts.

        Equal to `energy` where the data set has no column ``zero_point_energy``.
        """
        if self.energy is None or "zero_point_energy" not in self._table.column_names:
            return self.energy
        vibration: NDArray[np.float64] = self.column("zero_point_energy")
        return self.energy - vibration

    def column(self, name: str) -> NDArray[Any]:
        """(n,) values of a scalar column; raises `ValueError` naming the columns there are."""
        if name in self._table.column_names and str(self._table.schema.field(name).type) in (
            "string",
            "large_string",
        ):
            return np.array(strings(self._table, name), dtype=np.str_)
        values, _ = flat(self._table, name)
        if values.shape != (len(self),):
            raise ValueError(f"column {name!r} is nested: not one value per item")
        return values

    def strata(self, column: str) -> NDArray[Any]:
        """(n,) labels of the groups within which a restricted permutation may shuffle.

        Raises
        ------
        ValueError
            The card declares no such stratum.
        """
        if column not in self.card.strata:
            strata_names = ", ".join(self.card.strata) or "none"
            raise ValueError(f"data set {self.name!r} has no stratum {column!r}; it has: {strata_names}")
        return self.column(column)

    @cached_property
    def structures(self) -> Structures:
        """All structures as flat arrays; raises `ValueError` where the items have none."""
        self._require("atoms")
        n = len(self)
        numbers, offsets = flat(self._table, "numbers")
        positions, _ = flat(self._table, "positions")
        cell, _ = flat(self._table, "cell")
        pbc, _ = flat(self._table, "pbc")
        if offsets is None or len(positions) != 3 * len(numbers) or (len(cell), len(pbc)) != (9 * n, 3 * n):
            raise ValueError(f"data set {self.name!r}: numbers, positions, cell and pbc do not fit each other")
        return Structures(
            offsets,
            numbers.astype(np.uint8, copy=False),
            positions.astype(np.float64, copy=False).reshape(-1, 3),
            cell.astype(np.float64, copy=False).reshape(-1, 3, 3),
            pbc.astype(np.bool_, copy=False).reshape(-1, 3),
            self.column("charge").astype(np.int64),
            self.column("spin").astype(np.int64),
        )

    @cached_property
    def chains(self) -> Chains:
        """All protein chains as flat arrays; raises `ValueError` where the items have none."""
        self._require("backbone")
        sequences = strings(self._table, "sequence")
        coordinates, offsets = flat(self._table, "backbone")
        residues = np.frombuffer("".join(sequences).encode("ascii"), np.uint8)
        lengths = [len(sequence) for sequence in sequences]
        if offsets is None or len(coordinates) != 12 * len(residues) or np.diff(offsets).tolist() != lengths:
            raise ValueError(f"data set {self.name!r}: sequence and backbone do not fit each other")
        return Chains(offsets, residues, coordinates.astype(np.float32, copy=False).reshape(-1, 4, 3))

    def composition(self) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Atoms (or residues, where items are proteins) of each kind in each item; hydrogens of SMILES count.

        Returns
        -------
        counts, symbols
            (n, c) counts and the c symbols, by atomic number (residues: by letter), that occur at all.
        """
        if self.has_view("atoms"):
            from ase.data import chemical_symbols

            kinds, names = self.structures.numbers, chemical_symbols
            lengths = np.diff(self.structures.offsets)
        elif self.has_view("sequence"):
            sequences = self._content("sequence", None)
            kinds, names = (
                np.frombuffer("".join(sequences).encode("ascii"), np.uint8),
                [chr(i) for i in range(128)],
            )
            lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        elif self.has_view("smiles"):
            from ase.data import chemical_symbols

            kinds, lengths = _atoms_of(self._content("smiles", None))
            names = chemical_symbols
        else:
            raise ValueError(f"data set {self.name!r} has neither atoms nor sequences to count")
        present, column = np.unique(kinds, return_inverse=True)
        width = len(present)
        places = np.repeat(np.arange(len(self)), lengths) * width + column
        counts = np.bincount(places, minlength=len(self) * width).reshape(len(self), width)
        return counts.astype(np.float64), tuple(names[kind] for kind in present)

    @cached_property
    def elements(self) -> list[frozenset[str]]:
        """Chemical symbols in each item."""
        self._require("atoms")
        counts, symbols = self.composition()
        names = np.array(symbols)
        return [frozenset(names[row].tolist()) for row in counts > 0]

    def covered_by(self, card: Card) -> list[int]:
        """Places of the items that a target with this card can read: its elements, crystals or molecules."""
        covered = np.ones(len(self), dtype=np.bool_)
        if self.has_view("atoms"):
            if card.elements is not None:
                card_elements = set(card.elements)
                covered &= np.array([symbols <= card_elements for symbols in self.elements], dtype=np.bool_)
            if card.periodic is not None:
                covered &= self.structures.pbc.any(axis=1) == card.periodic
        return [int(place) for place in np.flatnonzero(covered)]

    def controls(self) -> NDArray[np.float64]:
        """Return what composition and size alone say about each item: the controls of ``metrics.prepare``.

        Returns
        -------
        (n, 2c + 3) array
            Counts of the c elements (or residues) that occur, their fractions, the size m, 1/m and m^2.
            Columns may be constant, and are collinear: counts add up to m, fractions to 1.
        """
        counts, _ = self.composition()
        size = counts.sum(axis=1, keepdims=True)
        if not (size > 0).all():
            raise ValueError(f"data set {self.name!r} has items without atoms")
        return np.hstack([counts, counts / size, size, 1 / size, size**2])

    # -- inner workings ------------------------------------------------------------------------------------

    @staticmethod
    def _columns_of(view: str) -> set[str]:
        if view == "atoms":
            return {"numbers", "positions", "cell", "pbc", "charge", "spin"}
        if view == "backbone":
            return {"sequence", "backbone"}
        return {_TEXT_VIEWS.get(view, view)}

    def _require(self, view: str) -> None:
        if not self.has_view(view):
            raise ValueError(f"data set {self.name!r} has no view {view!r}; it has: {', '.join(self.card.views)}")

    def _content(self, view: str, indices: ArrayLike | None) -> Any:
        """List of strings, Structures or Chains."""
        self._require(view)
        if view in ("atoms", "backbone"):
            whole: Structures | Chains = self.structures if view == "atoms" else self.chains
            return whole if indices is None else whole.take(self._places(indices))
        if view == "selfies":
            return _selfies(self._content("smiles", indices))
        texts = self.ids if view == "id" else strings(self._table, _TEXT_VIEWS[view])
        return list(texts) if indices is None else [texts[i] for i in self._places(indices)]

    def _places(self, indices: ArrayLike) -> NDArray[np.intp]:
        places = np.asarray(indices)
        if places.dtype == np.bool_:
            if places.shape != (len(self),):
                raise ValueError(f"a mask over {len(self)} items has to be ({len(self)},), not {places.shape}")
            return np.flatnonzero(places)
        places = places.astype(np.intp) if places.size == 0 else places
        if places.ndim != 1 or not np.issubdtype(places.dtype, np.integer):
            raise ValueError("indices have to be a list of integers or a mask")
        if places.size and (places.min() < 0 or places.max() >= len(self)):
            raise ValueError(f"indices have to lie in 0..{len(self) - 1}, found {places.min()}..{places.max()}")
        return places.astype(np.intp)

    def _content_sha256(self) -> str:
        digest = hashlib.sha256()
        for view in sorted(self.card.views):
            content = self._content(view, None)
            parts: Sequence[bytes]
            if isinstance(content, Structures | Chains):
                parts = [np.ascontiguousarray(array).tobytes() for array in content]
            else:
                parts = ["\0".join(content).encode()]
            for part in (view.encode(), *parts):
                digest.update(len(part).to_bytes(8, "little") + part)
        if self.energy is not None:
            digest.update(self.energy.tobytes())
        return digest.hexdigest()


def _turns(labels: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) share of all items at which each is drawn, where each group is to give its own share at any time.

    The items of a group of size s are due at ``(j + u) / s``. With u = 1/2 for all, none of the groups of one item
    would be in any sample of less than half; so u runs evenly from 0 to 1 through the groups of equal size.
    """
    _, first, group, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    _, kind, alike = np.unique(sizes, return_inverse=True, return_counts=True)
    offset = (_places_within(kind, first) + 0.5) / alike[kind]
    return (_places_within(group, np.arange(len(labels))) + offset[group]) / sizes[group]


def _places_within(group: NDArray[np.intp], order: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,) place of each one among those of its group, by ascending `order`."""
    counts = np.bincount(group)
    places = np.empty(len(group), dtype=np.intp)
    places[np.lexsort((order, group))] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return places


def _atoms_of(smiles: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Atomic numbers of all atoms of all molecules, hydrogens among them, and how many each molecule has."""
    from rdkit import Chem

    numbers: list[int] = []
    lengths = []
    for one in smiles:
        before = len(numbers)
        for atom in Chem.MolFromSmiles(one).GetAtoms():
            numbers += [atom.GetAtomicNum(), *[1] * atom.GetTotalNumHs()]
        lengths.append(len(numbers) - before)
    return np.array(numbers, dtype=np.uint8), np.array(lengths, dtype=np.int64)


def _selfies(smiles: list[str]) -> list[str]:
    """SELFIES (Krenn et al. 2020) of each SMILES; empty where the SMILES lies outside SELFIES' grammar."""
    import selfies  # type: ignore[import-untyped]

    encoded = []
    for one in smiles:
        try:
            encoded.append(str(selfies.encoder(one)))
        except selfies.EncoderError:
            encoded.append("")  # a target gives its reason for an item it cannot read
    return encoded
