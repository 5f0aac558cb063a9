"""In or out of distribution: a property of a target *and* a data set, never of the data set alone.

Two sources are used. Where the training items are known by id, the share of a data set that a target has seen is
counted. Elsewhere the cards are compared: a target names the collections it was trained on, a data set those it was
drawn from, and `DRAWN_FROM` states which published collection was drawn from which other.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from consilience.registry import get_dataset, list_targets

if TYPE_CHECKING:
    from consilience.cards import Card
    from consilience.datasets.items import Items
    from consilience.registry import Target

#: What a published collection was drawn from, as its authors say; names in lower case.
DRAWN_FROM: dict[str, tuple[str, ...]] = {
    "mptrj": ("materials-project",),
    "mp-r2scan": ("materials-project",),
    "materials-project-r2scan": ("materials-project",),
    "mpf.2021.2.8": ("materials-project",),
    "matpes-pbe": ("materials-project",),
    "matpes-r2scan": ("materials-project",),
    "salex": ("alexandria",),
    "omat24": ("alexandria",),
    "qm9": ("gdb-17",),
    "odac23": ("core-mof",),
    "core-mof": ("csd",),
    "cath": ("pdb",),
    "scope": ("pdb",),
    "ccd": ("pdb",),
    "pdb-ligands": ("ccd",),
    "uniref": ("uniprot",),
    "uniref50": ("uniprot",),
    "alphafolddb": ("uniprot",),
    "bfd": ("uniprot",),
}
#: A target that has seen this share of a data set's very items is at home there, whatever the cards say.
SEEN = 0.01


@dataclass(frozen=True)
class Distribution:
    """Where a data set lies for a target.

    Attributes
    ----------
    label
        ``"in"`` or ``"out"`` of distribution, ``"unknown"``; None for what was not trained.
    overlap
        Share of the items that the target was trained on, by id; None where the training items are not known.
    """

    label: Literal["in", "out", "unknown"] | None
    overlap: float | None = None


def distribution(target: Target, items: Items) -> Distribution:
    """Say where a data set lies for a target.

    Exact where the card names a data set that is on this machine, or a file of ids (card field `training_ids`);
    declared otherwise.
    """
    if not target.trained:
        return Distribution(None)
    card = target.card
    if card.trained_on is None and card.training_ids is None:
        return Distribution("unknown")
    overlap = _overlap(target, items)
    if overlap is not None and overlap >= SEEN:
        return Distribution("in", overlap)
    if not items.card.lineage:  # a user's own file: nobody said where it comes from
        return Distribution("unknown" if overlap is None else "out", overlap)
    if card.domain not in (None, items.card.domain):
        return Distribution("out", overlap)
    shared = collections(card.trained_on or ()) & {name.casefold() for name in items.card.lineage}
    return Distribution("in" if shared else "out", overlap)


def lineage_of(card: Card) -> str:
    """Family of the model that a target descends from: its own, where its card names none.

    What a card names (`descends_from`, `ancestor`) is a target of the suite, or a family.
    """
    seen: set[str] = set()
    family, origin = card.family, card.descends_from or card.ancestor
    while origin is not None and origin not in seen:
        seen.add(origin)
        known = list_targets().get(origin)
        if known is None:
            return origin
        family, origin = known.card.family, known.card.descends_from or known.card.ancestor
    return family


def collections(names: Iterable[str]) -> set[str]:
    """Return these collections and all that they were drawn from, in lower case."""
    ancestors: set[str] = set()
    waiting = [name.casefold() for name in names]
    while waiting:
        name = waiting.pop()
        if name not in ancestors:
            ancestors.add(name)
            waiting += DRAWN_FROM.get(name, ())
    return ancestors


def _overlap(target: Target, items: Items) -> float | None:
    """Share of the items among the training items that are known by id."""
    seen: set[str] | None = None
    if target.card.training_ids is not None:
        path = target.path.parent / target.card.training_ids
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        seen = set(text.decode("utf-8").split())
    for name in target.card.trained_on or ():
        collection_ids = _ids_of(name.casefold(), items)
        if collection_ids is not None:
            seen = (seen or set()) | collection_ids
    return None if seen is None else sum(one in seen for one in items.ids) / len(items)


def _ids_of(name: str, items: Items) -> set[str] | None:
    """Ids of a data set of this name whose ids mean what those of `items` mean, if it is on this machine."""
    from consilience.datasets.items import open_dataset

    try:
        entry = get_dataset(name)
        if not set(entry.card.lineage) & set(items.card.lineage):
            return None
        return set(items.ids if name == items.name else open_dataset(name).ids)
    except (LookupError, ValueError):  # no data set, one that is not built here, or one whose table is damaged
        return None
