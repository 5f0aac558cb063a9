# /// script
# requires-python = ">=3.11"
# dependencies = ["diep==2.0.0", "torch==2.13.0"]
# ///
"""DIEP, fold 1 for docs/studies/v2-sensitivity.md: its middle layer, and twins with wider weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from _variants import board_target, network_of, widen

from consilience import Card, Weights, target

BOARD = board_target("atoms.diep", "diep-fold1")
MIDDLE = BOARD.card.model_copy(
    update={
        "name": "diep-middle",
        "title": "DIEP, fold 1, middle layer",
        "layer": "atom features after the second of three graph layers",
        "energy": False,
    }
)
WIDE = BOARD.card.model_copy(
    update={
        "name": "diep-wide",
        "title": "DIEP, fold 1, twins with wider weights",
        "twin": "twice the deviation that the package draws weights with",
        "energy": False,
    }
)


@target(MIDDLE, WIDE)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed` of the board's target with one thing changed."""
    embed = BOARD.load(BOARD.card, weights, device)
    network = network_of(embed, _kind())
    if card.name == WIDE.name:
        if not weights.random:
            raise ValueError("only the twins have wider weights")
        another = BOARD.load(BOARD.card, replace(weights, seed=weights.seed + 1), device)
        widen(network, network_of(another, _kind()), weights.seed)
        return embed
    # The last layer hands on the atom features that it is given.
    network.graph_layers[-1].register_forward_hook(lambda _, given, out: (out[0], given[2], out[2]))
    return embed


def _kind() -> type:
    """Class of the network."""
    from diep.models import DIEP

    return DIEP
