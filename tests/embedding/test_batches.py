from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from consilience import Embedded
from consilience.embedding.batches import Batch, ContractError, run_batches


def rows(items: Sequence[float]) -> Embedded:
    return Embedded([[item, item**2] for item in items], [float(item) for item in items])


def collected(embed: Any, items: Sequence[Any], **options: Any) -> Batch:
    batches = list(run_batches(embed, items, **{"batch_size": 4, **options}))
    return Batch(
        np.concatenate([b.features for b in batches]),
        np.concatenate([b.energies for b in batches]),
        [r for b in batches for r in b.reasons],
        np.concatenate([b.truncated for b in batches]),
    )


def test_rows_come_in_order() -> None:
    found = collected(rows, [3.0, 1.0, 2.0, 5.0, 4.0])
    assert found.features[:, 0].tolist() == [3, 1, 2, 5, 4]
    assert found.energies.tolist() == [3, 1, 2, 5, 4]
    assert found.reasons == [None] * 5


def test_one_bad_item_costs_one_row_and_a_reason() -> None:
    def embed(items: list[float]) -> Embedded:
        if 2.0 in items:
            raise KeyError("no such element")
        return rows(items)

    found = collected(embed, [1.0, 2.0, 3.0])
    assert np.isnan(found.features[1]).all()
    assert np.isfinite(found.features[[0, 2]]).all()
    assert found.reasons[1] is not None
    assert "no such element" in found.reasons[1]


def test_a_declared_reason_blanks_the_row() -> None:
    def embed(items: list[float]) -> Embedded:
        return (
            Embedded(np.full((len(items), 2), np.nan), None, ["too large"] + [None] * 0)
            if len(items) == 1
            else rows(items)
        )

    found = collected(embed, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.reasons == [None] * 4 + ["too large"]


def test_running_out_of_memory_halves_the_batch() -> None:
    sizes = []

    def embed(items: list[float]) -> Embedded:
        sizes.append(len(items))
        if len(items) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return rows(items)

    found = collected(embed, [float(i) for i in range(10)], batch_size=8)
    assert sizes[:3] == [8, 4, 2]
    assert max(sizes[2:]) == 2
    assert found.features[:, 0].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("embed", "message"),
    [
        (lambda items: Embedded(np.ones((len(items) - 1, 2))), "3 rows for 4 items"),
        (lambda items: Embedded(np.full((len(items), 2), np.nan)), "NaN for 4 of 4 items"),
        (lambda items: Embedded(np.full((len(items), 2), np.inf)), "inf for 4 of 4 items"),
        (lambda items: Embedded(np.ones(len(items))), "shape"),
        (lambda items: np.ones((len(items), 2)), "consilience.Embedded"),
        (lambda items: Embedded(np.ones((len(items), 2)), np.ones(1)), "energies"),
        (lambda items: Embedded(np.ones((len(items), 0))), "without columns"),
    ],
)
def test_a_broken_contract_is_named(embed: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        collected(embed, [1.0, 2.0, 3.0, 4.0])


def test_a_wrong_dimension_is_named() -> None:
    with pytest.raises(ContractError, match="2 columns, expected 3"):
        collected(rows, [1.0], dimension=3)


def test_a_target_that_always_raises_is_given_up_soon() -> None:
    calls = []

    def embed(items: list[float]) -> Embedded:
        calls.append(len(items))
        raise ValueError("the model is broken")

    with pytest.raises(ContractError, match="the model is broken"):
        collected(embed, [float(i) for i in range(1000)], batch_size=32)
    assert len(calls) < 40
