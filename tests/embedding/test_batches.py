from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from consilience import Embedded
from consilience.embedding.batches import Batch, CircumstanceError, ContractError, run_batches


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


def test_the_batch_size_grows_back_after_one_huge_item() -> None:
    sizes = []

    def embed(items: list[float]) -> Embedded:
        sizes.append(len(items))
        if 0.0 in items and len(items) > 1:
            raise MemoryError
        return rows(items)

    found = collected(embed, [float(i) for i in range(200)], batch_size=8)
    assert sizes[:4] == [8, 4, 2, 1]
    assert sizes[-2] == 8
    assert found.reasons == [None] * 200


def test_memory_that_keeps_ending_is_tried_ever_less_often() -> None:
    failures = []

    def embed(items: list[float]) -> Embedded:
        if len(items) > 2:
            failures.append(len(items))
            raise MemoryError
        return rows(items)

    collected(embed, [float(i) for i in range(1000)], batch_size=4)
    assert len(failures) < 10


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        OSError(28, "No space left on device"),
        OSError(24, "Too many open files"),
        TimeoutError("the server did not answer"),
        RuntimeError("can't start new thread"),
    ],
)
@pytest.mark.parametrize("caught", [False, True])
def test_a_failure_of_circumstance_is_marked_to_be_tried_again(error: Exception, caught: bool) -> None:
    def embed(items: list[float]) -> Embedded:
        if 3.0 not in items:
            return rows(items)
        if caught:  # as targets do that go on with the other items
            reasons = [f"{type(error).__name__}: {error}" if item == 3 else None for item in items]
            return Embedded([[np.nan if item == 3 else item] * 2 for item in items], None, reasons)
        try:
            raise error
        except Exception as first:
            raise ValueError("could not embed") from first

    batches = list(run_batches(embed, [1.0, 2.0, 3.0, 4.0], batch_size=1))
    assert [batch.again for batch in batches] == [(), (), (0,), ()]


def test_an_items_own_failure_is_not_tried_again() -> None:
    def embed(items: list[float]) -> Embedded:
        if 3.0 in items:
            raise ValueError("valence of C is 5")
        return rows(items)

    assert collected(embed, [1.0, 2.0, 3.0]).reasons[2] == "ValueError: valence of C is 5"
    assert [batch.again for batch in run_batches(embed, [1.0, 2.0, 3.0], batch_size=2)] == [(), ()]


def test_a_first_item_that_fails_alone_costs_its_row_only() -> None:
    def embed(items: list[float]) -> Embedded:
        if 1.0 in items:
            raise ValueError("no")
        return rows(items)

    found = collected(embed, [1.0, 2.0, 3.0], batch_size=1)
    assert found.reasons == ["ValueError: no", None, None]
    assert found.features.shape == (3, 2)


@pytest.mark.slow
def test_nothing_embedded_for_want_of_memory_is_not_the_targets_fault() -> None:
    def embed(items: list[float]) -> Embedded:
        raise MemoryError

    with pytest.raises(CircumstanceError, match="MemoryError"):
        collected(embed, [float(i) for i in range(40)])
