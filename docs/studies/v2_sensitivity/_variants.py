"""What the variants of the study share: the network inside an `embed`, and wider random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from consilience import Card, Weights
from consilience.registry import Target, load_target_file


def board_target(module: str, name: str) -> Target:
    """Return a target of the suite's file `module`, without importing the other files (their packages are not here)."""
    found = find_spec(f"consilience.targets.{module}")
    return next(one for one in load_target_file(str(found and found.origin)) if one.name == name)


def network_of(embed: Any, kind: type) -> Any:
    """Return the network of a class that an `embed` of the suite's targets runs."""
    waiting, seen = [embed], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, kind):
            return one
        if id(one) in seen or not callable(one):
            continue
        seen.add(id(one))
        waiting += [cell.cell_contents for cell in getattr(one, "__closure__", None) or ()]
        waiting += one.children() if hasattr(one, "children") else ()
    raise LookupError(f"no {kind.__name__} in {embed!r}")


def widen(network: Any, another: Any, seed: int, factor: float = 2.0) -> None:
    """Draw what the package drew at random anew: normal, with mean 0 and `factor` times the deviation of its values.

    `another` is a network drawn with another seed: what is the same in both was not drawn.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values, others in zip(network.parameters(), another.parameters(), strict=True):
            if values.numel() > 1 and not torch.equal(values, others):
                drawn = torch.randn(values.shape, generator=generator, dtype=values.dtype)
                values.copy_(drawn * (factor * float(values.std())))


def cards_of(board: Target, family: str, layer: str) -> tuple[Card, Card]:
    """Cards of a target's middle layer, and of its twins with wider weights."""
    texts = {
        f"{family}-middle": {"title": f"{board.card.title}, middle layer", "layer": layer},
        f"{family}-wide": {
            "title": f"{board.card.title}, twins with wider weights",
            "twin": "twice the deviation that the package draws weights with",
        },
    }
    middle, wide = (board.card.model_copy(update={"name": n, "energy": False, **more}) for n, more in texts.items())
    return middle, wide


def load_variant(
    board: Target, card: Card, weights: Weights, device: str, network_class: str, hand_on: Callable[[Any], None]
) -> Any:
    """Build `embed` of the board's target with one thing changed.

    Parameters
    ----------
    board
        The target.
    card, weights, device
        What `load` is given, with one of the cards of :func:`cards_of`.
    network_class
        Module and class of the network, as in ``chgnet.model:CHGNet``.
    hand_on
        Makes a network hand its middle features on to the readout.
    """
    module, name = network_class.split(":")
    kind = getattr(import_module(module), name)
    embed = board.load(board.card, weights, device)
    network = network_of(embed, kind)
    if card.name.endswith("-middle"):
        hand_on(network)
        return embed
    if not weights.random:
        raise ValueError("only the twins have wider weights")
    another = board.load(board.card, replace(weights, seed=weights.seed + 1), device)
    widen(network, network_of(another, kind), weights.seed)
    return embed
