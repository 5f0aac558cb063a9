"""Weights of networks that are written out here: their names and shapes are checked, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_shapes(state: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are missing, nobody's, or of another shape.

    Parameters
    ----------
    state
        Tensors by name.
    wanted
        Shape of every weight of the network, by name.

    Raises
    ------
    ValueError
        Names the first few that are wrong.
    """
    wrong = {name for name in wanted.keys() & state.keys() if tuple(state[name].shape) != tuple(wanted[name])}
    for what, names in (
        ("missing", wanted.keys() - state.keys()),
        ("unexpected", state.keys() - wanted.keys()),
        ("of another shape", wrong),
    ):
        if names:
            raise ValueError(f"{len(names)} weights {what}: {', '.join(sorted(names)[:4])}")
