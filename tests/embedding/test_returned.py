from __future__ import annotations

import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consilience import Embedded
from consilience.embedding.batches import run_batches
from consilience.embedding.returned import ContractError, energies_of, features_of, reasons_of, truncated_of
from consilience.weights import as_features

ITEMS = [float(i) for i in range(10)]


def run(embed: Any, batch_size: int = 4) -> dict[str, np.ndarray[Any, Any]]:
    batches = list(run_batches(embed, ITEMS, batch_size=batch_size))
    names = ("features", "energies", "truncated")
    return {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in names}


def of_numpy(shape: tuple[int, ...], dtype: type) -> Any:
    return np.zeros(shape, dtype)


def of_torch(shape: tuple[int, ...], dtype: type) -> Any:
    return torch.zeros(shape, dtype=torch.float32 if dtype is np.float32 else torch.float64)


def of_memmap(shape: tuple[int, ...], dtype: type, folder: list[Path] = []) -> Any:  # noqa: B006
    return np.memmap(folder[0] / f"{len(shape)}{np.dtype(dtype)}", dtype=dtype, mode="w+", shape=shape)


def of_lists(shape: tuple[int, ...], dtype: type) -> Any:
    return np.zeros(shape, dtype).tolist()


@pytest.mark.parametrize("make", [of_numpy, of_torch, of_memmap, of_lists])
@pytest.mark.parametrize("view", ["whole", "rows", "transposed"])
def test_a_buffer_that_is_used_again_gives_the_rows_of_each_batch(make: Any, view: str, tmp_path: Path) -> None:
    of_memmap.__defaults__ = ([tmp_path],)
    features, energies, truncated = make((4, 3), np.float32), make((4,), np.float64), make((4,), np.float32)
    if view == "transposed" and make is not of_lists:
        features = make((3, 4), np.float32).T

    def embed(items: list[float]) -> Embedded:
        n = len(items)
        for i, item in enumerate(items):
            for j in range(3):
                features[i][j] = item + j
            energies[i], truncated[i] = -item, item / 10
        if view == "whole" and n == 4:
            return Embedded(features, energies, None, truncated)
        return Embedded(features[:n], energies[:n], None, truncated[:n])

    rows = run(embed)
    np.testing.assert_array_equal(rows["features"], np.array(ITEMS)[:, None] + np.arange(3))
    np.testing.assert_array_equal(rows["energies"], -np.array(ITEMS))
    np.testing.assert_allclose(rows["truncated"], np.array(ITEMS) / 10, rtol=1e-6)


def test_a_row_that_is_blanked_leaves_the_target_its_array() -> None:
    own = np.ones((4, 2), np.float32)
    list(
        run_batches(lambda items: Embedded(own[: len(items)], reasons=["no", None][: len(items)]), [0, 1], batch_size=2)
    )
    assert np.isfinite(own).all()


@pytest.mark.parametrize(
    "values",
    [
        np.ones((2, 3), np.float16),
        np.ones((2, 3), np.float64),
        np.ones((2, 3), np.longdouble),
        np.ones((2, 3), np.int64),
        np.ones((2, 3), np.uint8),
        np.ones((2, 3), np.bool_),
        torch.ones((2, 3), dtype=torch.bfloat16),
        torch.ones((2, 3), dtype=torch.float16, requires_grad=True),
        torch.ones((2, 3), dtype=torch.int32),
        [torch.ones(3), torch.ones(3)],
        [[1, 1.0, True], [1, 1, 1]],
        (np.ones(3), np.ones(3)),
    ],
)
def test_real_numbers_of_any_width_become_float32(values: Any) -> None:
    features = features_of(values)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, np.ones((2, 3)))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (np.ones((2, 3)) * 1j, "complex"),
        (torch.ones((2, 3), dtype=torch.complex64), "complex"),
        ([[1.0, 2.0], [1.0, 2j]], "complex"),
        (np.ma.masked_less(np.ones((2, 3)), 2), "masked"),
        ([np.ma.masked_less(np.ones(3), 2), np.ones(3)], "masked"),
        ([[np.ma.masked, 1.0], [1.0, 1.0]], "masked"),
        (np.array([["2020-01-01"], ["2020-01-02"]], "datetime64[D]"), "dates"),
        (np.ones((2, 3), "timedelta64[s]"), "time differences"),
        ([["1.5", "2"], ["3", "4"]], "text"),
        (np.array([[b"1"], [b"2"]]), "bytes"),
        ([[1.0, None], [1.0, 2.0]], "NoneType"),
        ([[Fraction(1, 3)], [Fraction(1, 3)]], "Fraction"),
        ([[datetime.date.today()], [1.0]], "date"),
        (np.zeros((2, 3), [("x", "f4")]), "records"),
        ([[1.0, 2.0], [1.0]], "no array"),
        (torch.ones((2, 3)).to_sparse(), "sparse"),
        (np.array([[1.0, 1e40], [1.0, 2.0]]), "1e\\+40 in row 0, column 1 .* too large for float32"),
        (np.ones(3), "shape"),
    ],
)
def test_what_is_no_real_matrix_is_refused_by_name(values: Any, name: str) -> None:
    with pytest.raises(ContractError, match=name) as error:
        features_of(values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([1.0, np.inf], "inf in row 1"),
        ([-np.inf, 1.0], "inf in row 0"),
        ([1.0, 1j], "complex"),
        (np.ma.masked_equal([1.0, 2.0], 2), "masked"),
        ([True, False], "truth values"),
        ([1.0, None], "NoneType"),
        ([1.0], "shape"),
    ],
)
def test_energies_are_real_and_finite_or_nan(values: Any, name: str) -> None:
    assert np.isnan(energies_of([1.0, np.nan], 2)[1])
    with pytest.raises(ContractError, match=name):
        energies_of(values, 2)


@pytest.mark.parametrize("values", [[0.5, 1.5], [0.5, np.nan], [True, False], [0.5j, 0.5], ["0.5", "0.5"], [0.5]])
def test_truncated_is_a_share(values: Any) -> None:
    with pytest.raises(ContractError, match="truncated"):
        truncated_of(values, 2)


@pytest.mark.parametrize("reasons", ["ab", [None], ["", None], [1, None], [float("nan"), None]])
def test_reasons_are_text_or_none(reasons: Any) -> None:
    with pytest.raises(ContractError, match="reasons"):
        reasons_of(reasons, 2)


def test_a_long_reason_is_cut_and_keeps_head_and_tail() -> None:
    (reason,) = reasons_of(["head " + "x" * 10**7 + " tail"], 1)
    assert reason is not None
    assert len(reason) < 400
    assert reason.startswith("head ")
    assert reason.endswith(" tail")


def test_targets_that_convert_by_themselves_are_held_to_the_same() -> None:
    with pytest.raises(ValueError, match="complex"):
        as_features(np.ones((2, 3)) * 1j)
