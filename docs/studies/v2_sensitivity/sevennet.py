# /// script
# requires-python = ">=3.11"
# dependencies = ["sevenn==0.13.0", "torch==2.13.0"]
# ///
"""SevenNet-0 for docs/studies/v2-sensitivity.md: its middle layer, and twins with wider weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from _variants import board_target, network_of, widen

from consilience import Card, Weights, target

BOARD = board_target("atoms.sevennet", "sevennet-0")
MIDDLE = BOARD.card.model_copy(
    update={
        "name": "sevennet-middle",
        "title": "SevenNet-0, middle layer",
        "layer": "scalar atom features after the third of five interactions",
        "energy": False,
    }
)
WIDE = BOARD.card.model_copy(
    update={
        "name": "sevennet-wide",
        "title": "SevenNet-0, twins with wider weights",
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
    readout = network._modules["reduce_input_to_hidden"]
    columns = readout._irreps_in_wo_modal.dim
    kept: dict[str, Any] = {}

    def keep(_: Any, given: Any, out: Any) -> None:
        kept["x"] = out["x"][:, :columns]  # scalars stand first

    def hand_on(_: Any, given: Any) -> None:
        given[0]["x"] = kept.pop("x")

    network._modules["2_equivariant_gate"].register_forward_hook(keep)
    readout.register_forward_pre_hook(hand_on, prepend=True)  # before the target reads it
    return embed


def _kind() -> type:
    """Class of the network."""
    from sevenn.nn.sequential import AtomGraphSequential

    return AtomGraphSequential
