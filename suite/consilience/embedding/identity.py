"""The identity of an embedding: what it is of, by name and version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consilience.header import Header
from consilience.weights import sha256_of

from .code import TARGETS, code_digest, source_files
from .inputs import Origin

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.registry import Target

__all__ = ["TARGETS", "Identity", "code_digest", "identify", "source_files"]


class _WithOrigin:
    """Holds where an identity comes from, which is no part of it: equality, key and files leave it out."""

    __slots__ = ("origin",)
    origin: Origin | None


@dataclass(frozen=True)
class Identity(_WithOrigin):
    """What an embedding is of: target, weights, code, environment and items; its digest is the key of the store.

    One that :func:`identify` made has the attribute `origin`: what the target reads beside (its inputs) can be checked.
    """

    target: str
    weights: str
    code: str
    environment: str
    dataset: str
    revision: str
    items: str
    layer: str
    pooling: str
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", None)

    @property
    def key(self) -> str:
        """SHA-256 over all fields."""
        return hashlib.sha256(json.dumps(self.__dict__, sort_keys=True).encode()).hexdigest()

    def at(self, origin: Origin) -> Identity:
        """Return the same identity with its origin."""
        identity = Identity(**self.__dict__)
        object.__setattr__(identity, "origin", origin)
        return identity


def identify(target: Target, items: Items) -> Identity:
    """Identity of the embedding of `items` by `target`: the one that a board has pinned, if it is of these items."""
    given = _items_given(target, items)
    if target.pinned is not None and (target.pinned.dataset, target.pinned.items) == (items.name, given):
        return target.pinned
    weights = target.weights
    if weights.kind == "random":
        # Targets of one architecture share the first twin, which is known by its seed alone.
        which = f"random:{target.card.name}:{weights.twin}" if weights.twin else f"random:{weights.seed}"
    elif weights.kind == "file" and weights.path is not None:
        which = f"sha256:{sha256_of(weights.path)}"
    elif target.card.access != "package":  # no checksum is known beforehand
        which = f"published:{target.card.source}:{target.card.revision}"
    else:
        which = f"sha256:{weights.expected_sha256}"
    identity = Identity(
        target=target.name,
        weights=which,
        code=code_digest(target.path),
        environment=Header.of(target.path).digest,
        dataset=items.name,
        revision=items.revision,
        items=given,
        layer=target.card.layer or "",
        pooling=target.card.pooling or "",
    )
    return identity.at(Origin.of(target))


def _items_given(target: Target, items: Items) -> str:
    """Hash of the items, and of which of them the card covers: the others are never embedded."""
    covered = items.covered_by(target.card)
    if len(covered) == len(items):
        return items.items_sha256
    return hashlib.sha256(json.dumps([items.items_sha256, covered]).encode()).hexdigest()
