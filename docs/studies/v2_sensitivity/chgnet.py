# /// script
# requires-python = ">=3.11"
# dependencies = ["chgnet==0.4.2", "torch==2.13.0"]
# ///
"""CHGNet 0.3.0 for docs/studies/v2-sensitivity.md: its middle layer, and twins with wider weights."""

from __future__ import annotations

from typing import Any

from _variants import board_target, cards_of, load_variant

from consilience import Card, Weights, target

BOARD = board_target("atoms.chgnet", "chgnet-0.3.0")
LAYER = "atom features after the second of four convolutions, normalised as the last ones are"


@target(*cards_of(BOARD, "chgnet", LAYER))
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed` of the board's target with one thing changed."""
    return load_variant(BOARD, card, weights, device, "chgnet.model:CHGNet", hand_on)


def hand_on(network: Any) -> None:
    """Make the last two convolutions hand on the atom features that they are given."""
    for layer in network.atom_conv_layers[2:]:
        layer.register_forward_hook(lambda _, args, given, out: given["atom_feas"], with_kwargs=True)
