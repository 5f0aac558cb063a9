# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy"]
# ///
"""Random Gaussian: what agreement by chance looks like (no model; an item's row depends on its id alone)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

SEED = 0


@target(
    Card(
        name="random-gaussian",
        family="random-gaussian",
        modality="baseline",
        view="id",
        title="Random Gaussian",
        revision="1",
        parameters=0,
        dimension=128,
        layer="independent standard normal columns",
        pooling="none",
        trained_on=(),
        licence_code="MIT",
        reference="none",
        source="this file",
        resources=Resources(batch_size=1024, memory_gib=1),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[str]], Embedded]:
    """Draw rows from a generator seeded by each item's id: the order and the batch cannot matter."""

    def row(item: str) -> np.ndarray:
        seed = int.from_bytes(sha256(f"{SEED}:{item}".encode()).digest(), "big")
        return np.random.default_rng(seed).standard_normal(card.dimension, dtype=np.float32)

    def embed(items: list[str]) -> Embedded:
        return Embedded(np.stack([row(item) for item in items]))

    return embed
