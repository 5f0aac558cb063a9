"""The result of a recipe: the items, their order, and how to make the row of each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: Tables that travel with the package.
SHIPPED = Path(__file__).resolve().parents[1] / "data"
#: Seed of the samples for docs/studies/v2-confirmation.md.
CONFIRMATION = "confirmation/1"


class DroppedError(Exception):
    """Raised by `Draft.row` for an item to leave out; the message is the reason that is counted."""


@dataclass(frozen=True)
class Draft:
    """A data set about to be made.

    Attributes
    ----------
    schema
        Columns (:mod:`consilience.building.schemas`).
    keys
        One per item, in the order of the rows. They have to be the same on every run, or nothing can be resumed.
    row
        Makes the row of a key; raises `DroppedError` with a reason where there is none to make. Called in several
        processes, in any order.
    dropped
        Items left out so far, by reason.
    metadata
        What the table's file is to say of itself, such as the commit of its source. Parts of a table that says
        otherwise are not used.
    """

    schema: pa.Schema
    keys: Sequence[Any]
    row: Callable[[Any], dict[str, Any]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def ranked(ids: Iterable[str], seed: str) -> list[str]:
    """Put ids in the order in which they are drawn: by the SHA-256 of the seed and the id.

    Unlike a random generator this depends on no library version, nor on the order of the ids; the first 1,000 are
    among the first 5,000; and an id added to the source displaces at most one other.
    """
    return sorted(ids, key=lambda one: hashlib.sha256(f"{seed}/{one}".encode()).digest())


def choose(ids: Iterable[str], count: int, seed: str) -> set[str]:
    """Draw `count` ids, uniformly: those that rank first."""
    return set(ranked(ids, seed)[:count])


def without_known(drawn: Iterable[str], names: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    """Leave out the ids that stand in shipped data sets; return the others, and how many were left out."""
    import pyarrow.parquet as pq

    known: set[str] = set()
    for name in names:
        known.update(pq.read_table(SHIPPED / f"{name}.parquet", columns=["id"])["id"].to_pylist())
    ids = list(drawn)
    fresh = [one for one in ids if one not in known]
    return fresh, {f"in {' or '.join(names)}": len(ids) - len(fresh)}


def hill(counts: Mapping[str, int]) -> str:
    """Hill formula: carbon, hydrogen, then alphabetical; all alphabetical without carbon."""
    head = [symbol for symbol in ("C", "H") if symbol in counts] if "C" in counts else []
    order = head + sorted(symbol for symbol in counts if symbol not in head)
    return "".join(symbol + (str(counts[symbol]) if counts[symbol] > 1 else "") for symbol in order)


def expect(source: str, **counts: tuple[int, int]) -> None:
    """Raise `ValueError` unless each count, given as (found, expected), is what it was when the recipe was written."""
    wrong = {name: pair for name, pair in counts.items() if pair[0] != pair[1]}
    if wrong:
        raise ValueError(f"{source}: " + ", ".join(f"{n} {name}, expected {m}" for name, (n, m) in wrong.items()))


def tally(reasons: Iterable[str | None]) -> dict[str, int]:
    """How often each reason occurs, most frequent first; ``None`` is no reason."""
    return dict(Counter(reason for reason in reasons if reason).most_common())
