# /// script
# requires-python = ">=3.11"
# dependencies = ["diep==2.0.0", "torch==2.13.0"]
# ///
"""DIEP, fold 1 for docs/studies/v2-sensitivity.md: its middle layer, and twins with wider weights."""

from __future__ import annotations

from typing import Any

from _variants import board_target, cards_of, load_variant

from consilience import Card, Weights, target

BOARD = board_target("atoms.diep", "diep-fold1")
LAYER = "atom features after the second of three graph layers"


@target(*cards_of(BOARD, "diep", LAYER))
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed` of the board's target with one thing changed."""
    return load_variant(BOARD, card, weights, device, "diep.models:DIEP", hand_on)


def hand_on(network: Any) -> None:
    """Make the last layer hand on the atom features that it is given."""
    network.graph_layers[-1].register_forward_hook(lambda _, given, out: (out[0], given[2], out[2]))
