# /// script
# requires-python = ">=3.11"
# dependencies = ["sevenn==0.13.0", "torch==2.13.0"]
# ///
"""SevenNet-0 for docs/studies/v2-sensitivity.md: its middle layer, and twins with wider weights."""

from __future__ import annotations

from typing import Any

from _variants import board_target, cards_of, load_variant

from consilience import Card, Weights, target

BOARD = board_target("atoms.sevennet", "sevennet-0")
LAYER = "scalar atom features after the third of five interactions"


@target(*cards_of(BOARD, "sevennet", LAYER))
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed` of the board's target with one thing changed."""
    return load_variant(BOARD, card, weights, device, "sevenn.nn.sequential:AtomGraphSequential", hand_on)


def hand_on(network: Any) -> None:
    """Put the scalars after the third interaction in place of those that the readout is given."""
    readout = network._modules["reduce_input_to_hidden"]
    columns = readout._irreps_in_wo_modal.dim
    scalars: dict[str, Any] = {}

    def keep(_: Any, given: Any, out: Any) -> None:
        scalars["x"] = out["x"][:, :columns]  # scalars stand first

    def replace(_: Any, given: Any) -> None:
        given[0]["x"] = scalars.pop("x")

    network._modules["2_equivariant_gate"].register_forward_hook(keep)
    readout.register_forward_pre_hook(replace, prepend=True)  # before the target reads it
