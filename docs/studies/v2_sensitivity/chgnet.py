# /// script
# requires-python = ">=3.11"
# dependencies = ["chgnet==0.4.2", "torch==2.13.0"]
# ///
"""CHGNet 0.3.0 for docs/studies/v2-sensitivity.md: its middle layer, and twins with wider weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from _variants import board_target, network_of, widen

from consilience import Card, Weights, target

BOARD = board_target("atoms.chgnet", "chgnet-0.3.0")
MIDDLE = BOARD.card.model_copy(
    update={
        "name": "chgnet-middle",
        "title": "CHGNet 0.3.0, middle layer",
        "layer": "atom features after the second of four convolutions, normalised as the last ones are",
        "energy": False,
    }
)
WIDE = BOARD.card.model_copy(
    update={
        "name": "chgnet-wide",
        "title": "CHGNet 0.3.0, twins with wider weights",
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
    for layer in network.atom_conv_layers[2:]:  # the last two hand on what they are given
        layer.register_forward_hook(lambda _, args, given, out: given["atom_feas"], with_kwargs=True)
    return embed


def _kind() -> type:
    """Class of the network."""
    from chgnet.model import CHGNet

    return CHGNet
