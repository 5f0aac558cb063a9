"""The contract of a target, examined from inside its environment (DESIGN 4).

Each check compares rows that have to be equal, or that have to differ, and reports the figure it measured.
Figures are relative: the norm of the difference over the norm of the row (of the mean row, where that is
larger), the largest over the items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.cards import Card
from consilience.circumstances import cut
from consilience.weights import Embedded, kind_of, real_numbers

from .batch_items import difference, item_copies
from .batches import run_batches
from .leftovers import Leftovers, are_visible
from .returned import ContractError, parts

#: Largest relative change that passes for "the same row" in float32.
TOLERANCE = 1e-4
#: The same where a batch pads items of unequal length: more would be padding that leaks into the rows.
PADDING_TOLERANCE = 1e-5
#: Smallest relative distance that passes for "another row".
DISTINCT = 1e-6
#: Smallest share of the rows' variance that is not explained by the size of the items.
BEYOND_SIZE = 1e-6

#: Crystals of more atoms are left out where a crystal is compared with its supercell.
SUPERCELL_ATOMS = 16
#: Rows are the new lattice vectors in the old ones: the same crystal in a cell sheared and twice as large.
SUPERCELL = ((1, 1, 0), (0, 1, 0), (0, 0, 2))

Rows = NDArray[np.float64]


def examine(
    embed: Callable[[list[Any]], Embedded],
    items: Sequence[Any],
    card: Card,
    *,
    batch_size: int,
    ids: Sequence[str] | None = None,
    leftovers: Leftovers | None = None,
) -> list[dict[str, Any]]:
    """Run every check that one process can run.

    Parameters
    ----------
    embed
        What the target's `load` returned.
    items
        What it is tried on.
    card
        The target's card.
    batch_size
        Items per call, the most there are.
    ids
        What messages call the items; else their place.
    leftovers
        Made before the first call of `embed`, where there have been calls.

    Returns
    -------
    list of dict
        ``name``, ``passed``, ``value`` (the measured figure or None), ``limit``, ``detail``, one per check.
    """
    watch = _Watch(embed, ids or [str(i) for i in range(len(items))], leftovers or Leftovers())

    def rows(sample: Sequence[Any], size: int = batch_size, places: Sequence[int] | None = None) -> Rows:
        watch.places = range(len(items)) if places is None else places
        batches = list(run_batches(watch.embed, sample, batch_size=size, dimension=card.dimension, watch=watch.compare))
        reasons = [reason for batch in batches for reason in batch.reasons if reason]
        if reasons:
            raise ContractError(f"{len(reasons)} of {len(sample)} items could not be embedded: {reasons[0]}")
        return np.concatenate([batch.features for batch in batches]).astype(np.float64)

    checks: list[dict[str, Any]] = []

    def compare(
        name: str, other: Callable[[], Rows], *, detail: str, limit: float = TOLERANCE, of: Rows | None = None
    ) -> None:
        try:
            value = deviation(base if of is None else of, other())
        except Exception as error:
            checks.append(_check(name, False, None, limit, f"{type(error).__name__}: {error}"))
        else:
            checks.append(_check(name, value <= limit, value, limit, detail))

    base = rows(items)
    checks.append(_check("finite rows, one per item", True, None, None, f"{base.shape[0]} rows"))
    checks += _returned(watch.embed, items, batch_size)
    declared_dimension = card.dimension
    text = f"{base.shape[1]} columns" + (" (not declared)" if declared_dimension is None else "")
    checks.append(_check("declared dimension", declared_dimension in (None, base.shape[1]), None, None, text))
    padded = card.input_view in ("smiles", "selfies", "sequence", "backbone")
    limit = PADDING_TOLERANCE if padded else TOLERANCE
    compare("independent of batch size", lambda: rows(items, 1), detail="one by one against batches", limit=limit)
    compare(
        "independent of order", lambda: rows(items[::-1], places=range(len(items))[::-1])[::-1], detail="reversed order"
    )
    compare("repeatable", lambda: rows(items), detail="the same call again")
    nearest = nearest_distance(base)
    passed = nearest > DISTINCT or not card.distinct
    note = "" if card.distinct else " (the card allows equal rows)"
    checks.append(_check("distinct items, distinct rows", passed, nearest, DISTINCT, f"smallest distance{note}"))
    checks += _beyond_size(base, items, card)
    if card.input_view == "atoms":
        limit = TOLERANCE if card.invariant else float(card.rotation_deviation or 0) * 1.5
        rng = np.random.default_rng(0)
        moved = [_moved(atoms, rng) for atoms in items]
        compare(
            "rotation, translation, atom order",
            lambda: rows(moved),
            detail="random, all at once",
            limit=limit,
        )
        if any(atoms.pbc.any() for atoms in items):
            images = [_other_images(atoms, rng) for atoms in items]
            compare("choice of periodic image", lambda: rows(images), detail="atoms moved by lattice vectors")
            small = [i for i, atoms in enumerate(items) if atoms.pbc.all() and len(atoms) <= SUPERCELL_ATOMS]
            if small:
                doubled = [_supercell(items[i]) for i in small]
                declared = card.supercell_deviation
                compare(
                    "supercell",
                    lambda: rows(doubled, places=small),
                    of=base[small],
                    detail=f"doubled and sheared cell, {len(small)} crystals",
                    limit=TOLERANCE if declared is None else declared * 1.5,
                )
        checks += _charge(watch.embed, card)
    if card.input_view == "backbone":
        limit = TOLERANCE if card.invariant else float(card.rotation_deviation or 0) * 1.5
        rng = np.random.default_rng(0)
        turned = [item._replace(coordinates=_turned(item.coordinates, rng)) for item in items]
        compare("rotation, translation", lambda: rows(turned), detail="random, both at once", limit=limit)
    checks.append(_bad_item(watch.embed, items, card))
    return [*checks, *watch.checks()]


class _Watch:
    """What calls of `embed` do beside returning rows.

    Parameters
    ----------
    embed
        Called by :meth:`embed`.
    ids
        What messages call the items.
    leftovers
        Knows what ran before.

    Attributes
    ----------
    places
        Place of each item of the current sample among all.
    """

    def __init__(self, embed: Callable[[list[Any]], Embedded], ids: Sequence[str], leftovers: Leftovers) -> None:
        self.places: Sequence[int] = ()
        self._embed, self._ids, self._leftovers = embed, ids, leftovers
        self._items: dict[int, str] = {}
        self._list = ""

    def embed(self, items: list[Any]) -> Embedded:
        result = self._embed(items)
        self._leftovers.look()
        return result

    def compare(self, start: int, before: Sequence[Any], received: Sequence[Any], after: Sequence[Any]) -> None:
        """Note which items a call has changed; `received` is the list that held them."""
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            if (what := difference(one, other)) is not None:
                self._items.setdefault(self.places[start + i], what)
        if len(received) != len(after):
            self._list = f"the list of {len(after)} items that it receives has {len(received)} afterwards"
        elif any(one is not other for one, other in zip(received, after, strict=True)):
            self._list = "the list of items that it receives holds others afterwards"

    def checks(self) -> list[dict[str, Any]]:
        """Rules on what a call leaves."""
        name = "items left as they were"
        if self._items:
            place, what = min(self._items.items())
            more = f" (and {len(self._items) - 1} more items)" if len(self._items) > 1 else ""
            detail = f"embed changes {what} of item {self._ids[place]}{more}: work on a copy"
        elif self._list:
            detail = f"{self._list}: work on a copy"
        else:
            detail = "before and after each call"
        items = _check(name, not self._items and not self._list, None, None, detail)
        names = self._leftovers.names()
        detail = "; ".join(names[:3]) + (f"; {len(names) - 3} more" if len(names) > 3 else "")
        if names:
            detail = f"embed leaves behind {detail}: end it before embed returns, or start it once, in load"
        elif are_visible():
            detail = "after the last call"
        else:
            detail = "threads and pools; this system does not show other processes"
        return [items, _check("no process left behind", not names, None, None, detail)]


def _returned(embed: Callable[[list[Any]], Embedded], items: Sequence[Any], batch_size: int) -> list[dict[str, Any]]:
    """What `embed` returns: of real numbers, and left alone by the next call.

    The suite copies it. Whoever else calls `embed` and keeps what it returned would get the rows of other items.
    """
    names = ("real numbers", "a result of its own for each batch")
    size = max(1, min(batch_size, len(items) // 2))
    try:
        first = parts(embed(item_copies(items[:size])))
        before = {name: np.array(real_numbers(values, name, truth_values=True)) for name, values in first.items()}
        kinds = ", ".join(f"{name}: {kind_of(values)}" for name, values in first.items())
        embed(item_copies(items[-size:]))
        after = {name: real_numbers(values, name, truth_values=True) for name, values in first.items()}
    except Exception as error:
        return [_check(name, False, None, None, f"{type(error).__name__}: {error}") for name in names]
    changed = [name for name in before if not np.array_equal(before[name], after[name], equal_nan=True)]
    detail = f"the next call overwrites {', '.join(changed)}: return a new array" if changed else "two calls"
    return [_check(names[0], True, None, None, kinds), _check(names[1], not changed, None, None, detail)]


def deviation(rows: Rows, others: Rows) -> float:
    """Largest relative difference between corresponding rows."""
    scale = np.linalg.norm(rows, axis=1)
    scale = np.maximum(scale, np.linalg.norm(rows.mean(axis=0)))
    return float((np.linalg.norm(rows - others, axis=1) / np.maximum(scale, 1e-30)).max())


def nearest_distance(rows: Rows) -> float:
    """Smallest distance between two rows over the mean norm of a row."""
    squared = (rows**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squared[:, None] + squared[None] - 2 * rows @ rows.T, 0))
    i, j = np.triu_indices(len(rows), 1)
    if not len(i):
        return float("inf")
    closest = np.argsort(distances[i, j])[:64]  # the Gram formula loses digits where rows nearly agree
    exact = np.linalg.norm(rows[i[closest]] - rows[j[closest]], axis=1)
    return float(exact.min() / max(np.sqrt(squared).mean(), 1e-30))


def _beyond_size(rows: Rows, items: Sequence[Any], card: Card) -> list[dict[str, Any]]:
    """Whether rows say more than how large the items are: those of a network with vanishing gains do not."""
    sizes = np.array([len(item.sequence if card.input_view == "backbone" else item) for item in items], dtype=float)
    if card.modality == "baseline" or len(np.unique(sizes)) < 4:  # two numbers fit three sizes well enough
        return []
    left = min(_unexplained(rows, sizes), _unexplained(rows, 1 / np.maximum(sizes, 1)))
    detail = "share of the variance beyond a linear fit to the size, or to its inverse"
    return [_check("rows say more than the size", left > BEYOND_SIZE, left, BEYOND_SIZE, detail)]


def _unexplained(rows: Rows, values: Rows) -> float:
    """Share of the variance of rows that a linear fit to one value per row leaves."""
    centred, x = rows - rows.mean(axis=0), values - values.mean()
    total = float((centred**2).sum())
    fitted = np.outer(x, x @ centred) / max(float(x @ x), 1e-30)
    return float(((centred - fitted) ** 2).sum()) / total if total else 0.0


def _check(name: str, passed: bool, value: float | None, limit: float | None, detail: str) -> dict[str, Any]:
    return {"name": name, "passed": bool(passed), "value": value, "limit": limit, "detail": cut(detail, 500)}


def _moved(atoms: Any, rng: np.random.Generator) -> Any:
    moved = atoms[rng.permutation(len(atoms))]
    q = _rotation(rng)
    moved.set_positions(moved.positions @ q.T + rng.uniform(-2, 2, 3))
    moved.set_cell(np.asarray(moved.cell) @ q.T)
    return moved


def _rotation(rng: np.random.Generator) -> Rows:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] *= -1
    return np.asarray(q)


def _turned(coordinates: Any, rng: np.random.Generator) -> Any:
    moved = coordinates.astype(np.float64) @ _rotation(rng).T + rng.uniform(-20, 20, 3)
    return moved.astype(coordinates.dtype)


def _other_images(atoms: Any, rng: np.random.Generator) -> Any:
    images = atoms.copy()
    shifts = rng.integers(-1, 2, (len(atoms), 3)) * atoms.pbc
    images.set_positions(images.positions + shifts @ np.asarray(images.cell))
    return images


def _supercell(atoms: Any) -> Any:
    from ase.build import make_supercell

    return make_supercell(atoms, SUPERCELL)


def _charge(embed: Callable[[list[Any]], Embedded], card: Card) -> list[dict[str, Any]]:
    """Whether acetate and the neutral radical of the same atoms have rows as the card's `charge` says."""
    if (
        card.periodic
        or card.charge == "unknown"
        or (card.elements is not None and not {"H", "C", "O"} <= set(card.elements))
    ):
        return []
    name = f"total charge is {card.charge}, as the card says"
    ions = [_acetate(charge) for charge in (-1, 0)]
    try:
        batches = list(run_batches(embed, ions, batch_size=2, dimension=card.dimension))
        reasons = [reason for batch in batches for reason in batch.reasons if reason]
    except Exception as error:
        reasons = [f"{type(error).__name__}: {error}"]
    if reasons:  # a model of crystals alone may refuse a molecule
        return [_check(name, card.charge == "ignored", None, None, f"acetate was not embedded: {reasons[0]}")]
    features = np.concatenate([batch.features for batch in batches]).astype(np.float64)
    value = deviation(features[:1], features[1:])
    differ = value > (DISTINCT if card.charge == "used" else TOLERANCE)
    wanted = "different rows" if card.charge == "used" else "equal rows"
    limit = DISTINCT if card.charge == "used" else TOLERANCE
    return [_check(name, differ == (card.charge == "used"), value, limit, f"acetate with charge -1 and 0: {wanted}")]


def _acetate(charge: int) -> Any:
    from ase.build import molecule

    acid = molecule("CH3COOH")
    oxygen = [i for i, z in enumerate(acid.numbers) if z == 8]
    hydrogen = [i for i, z in enumerate(acid.numbers) if z == 1]
    del acid[min(hydrogen, key=lambda i: acid.get_distances(i, oxygen).min())]
    acid.info.update(charge=charge, spin=1 if charge else 2)
    return acid


def _bad_item(embed: Callable[[list[Any]], Embedded], items: Sequence[Any], card: Card) -> dict[str, Any]:
    """An item that can't be embedded must affect only its own row."""
    name = "an item that cannot be embedded"
    if card.input_view == "smiles":
        bad: Any = "C1CC((("
    elif card.input_view == "atoms" and card.elements is not None:
        bad = items[0].copy()
        foreign = next(z for z in range(118, 0, -1) if _symbol(z) not in card.elements)
        bad.set_atomic_numbers([foreign] * len(bad))
    elif card.input_view in ("selfies", "sequence"):
        bad = ""
    elif card.input_view == "backbone":
        bad = items[0]._replace(sequence="", coordinates=items[0].coordinates[:0])
    else:
        return _check(name, True, None, None, "every item of this view can be embedded")
    try:
        sample = [items[0], bad, items[1]]
        batches = list(run_batches(embed, sample, batch_size=3, dimension=card.dimension))
    except Exception as error:
        return _check(name, False, None, None, f"{type(error).__name__}: {error}")
    reasons = [reason for batch in batches for reason in batch.reasons]
    if reasons[0] is None and reasons[2] is None:
        return _check(name, True, None, None, reasons[1] or "was embedded all the same")
    return _check(name, False, None, None, f"its neighbours in the batch failed too: {reasons}")


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return str(chemical_symbols[number])
