"""Weights of networks that are written out in the suite load whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.targets._shapes import check_shapes

WANTED = {"a.weight": (2, 3), "a.bias": (2,)}


def state(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {name.replace("_", "."): np.zeros(shape) for name, shape in shapes.items()}


def test_the_right_weights_pass() -> None:
    check_shapes(state(a_weight=(2, 3), a_bias=(2,)), WANTED)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (state(a_weight=(2, 3)), r"1 weights missing: a\.bias"),
        (state(a_weight=(2, 3), a_bias=(2,), b_bias=(2,)), r"1 weights unexpected: b\.bias"),
        (state(a_weight=(3, 2), a_bias=(2,)), r"1 weights of another shape: a\.weight"),
    ],
)
def test_wrong_weights_are_named(found: dict[str, np.ndarray], message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        check_shapes(found, WANTED)
