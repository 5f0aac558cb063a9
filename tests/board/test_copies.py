"""Copies in every disguise are found, and honest models are not called copies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from consilience.board.copies import BOTH_CKNNA, MOST_PREDICTED, Known, copies, likenesses
from consilience.datasets.items import open_dataset
from consilience.embedding.identity import identify
from consilience.embedding.store import Store
from consilience.registry import get_target

Rows = NDArray[np.float64]
MODELS = ("chgnet-0.3.0", "diep-fold1", "sevennet-0")
OTHERS = ("chgnet-0.3.0@untrained", "sevennet-0@untrained", "composition", "size", "random-gaussian")


@pytest.fixture(scope="module")
def rows() -> dict[str, Rows]:
    """Rows of the shipped models on mp-1k."""
    items, found = open_dataset("mp-1k"), {}
    for name in (*MODELS, *OTHERS):
        embedding = Store().get(identify(get_target(name), items))
        assert embedding is not None
        found[name] = embedding.features.astype(np.float64)
    return found


def known(rows: dict[str, Rows]) -> list[Known]:
    return [Known(name, one.astype(np.float32), get_target(name).trained) for name, one in rows.items()]


def rotation(n: int, rng: np.random.Generator) -> Rows:
    return np.asarray(np.linalg.qr(rng.normal(size=(n, n)))[0])


def scaled(x: Rows) -> Rows:
    return np.asarray((x - x.mean(axis=0)) / x.std())


#: Of the rows, those of another model, and a generator.
DISGUISES: dict[str, Callable[[Rows, Rows, np.random.Generator], Rows]] = {
    "none": lambda x, y, rng: x,
    "rotated": lambda x, y, rng: x @ rotation(x.shape[1], rng),
    "columns scaled": lambda x, y, rng: x * np.exp(2 * rng.normal(size=x.shape[1])),
    "rotated, then scaled": lambda x, y, rng: x @ rotation(x.shape[1], rng) * np.exp(2 * rng.normal(size=x.shape[1])),
    "columns in another order": lambda x, y, rng: x[:, rng.permutation(x.shape[1])],
    "padded with zeros": lambda x, y, rng: np.hstack([x, np.zeros((len(x), 64))]),
    "padded with noise": lambda x, y, rng: np.hstack([x, x.std() * rng.normal(size=(len(x), 32))]),
    "concatenated": lambda x, y, rng: np.hstack([scaled(x), scaled(y)]),
    "hidden beside another": lambda x, y, rng: np.hstack([0.01 * scaled(x), scaled(y)]),
    "mixed with another": lambda x, y, rng: np.hstack([scaled(x), scaled(y)]) @ rotation(x.shape[1] + y.shape[1], rng),
    "noise 0.1 %": lambda x, y, rng: x + 0.001 * x.std(axis=0) * rng.normal(size=x.shape),
    "noise 1 %": lambda x, y, rng: x + 0.01 * x.std(axis=0) * rng.normal(size=x.shape),
    "noise 10 %": lambda x, y, rng: x + 0.1 * x.std(axis=0) * rng.normal(size=x.shape),
    "noise 10 %, rotated": lambda x, y, rng: (
        (x + 0.1 * x.std(axis=0) * rng.normal(size=x.shape)) @ rotation(x.shape[1], rng)
    ),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_copy_is_found_in_disguise(rows: dict[str, Rows], disguise: str) -> None:
    rng = np.random.default_rng(0)
    for name, other in zip(MODELS, (*MODELS[1:], MODELS[0]), strict=True):
        disguised = DISGUISES[disguise](rows[name], rows[other], rng).astype(np.float32)
        found = copies(disguised, known({name: rows[name]}))
        assert [one.target for one in found] == [name], likenesses(disguised, known({name: rows[name]}))


def test_honest_models_are_no_copies(rows: dict[str, Rows]) -> None:
    """Models of the same matter know composition and size alike, and predict untrained networks nearly entirely."""
    for name in MODELS:
        others = known({other: one for other, one in rows.items() if other != name})
        found = likenesses(rows[name].astype(np.float32), others)
        assert len(found) == len(others)
        assert max(one.cknna for one in found) < BOTH_CKNNA - 0.05
        assert max(one.predicted for one in found if not np.isnan(one.predicted)) < MOST_PREDICTED - 0.05
        assert copies(rows[name].astype(np.float32), others) == []


def test_rows_without_variation_and_few_items_are_not_compared(rows: dict[str, Rows]) -> None:
    x = rows["sevennet-0"].astype(np.float32)
    assert likenesses(np.ones_like(x), known({"sevennet-0": rows["sevennet-0"]})) == []
    few = x.copy()
    few[90:] = np.nan
    assert likenesses(few, known({"sevennet-0": rows["sevennet-0"]})) == []


def test_a_sibling_shares_neighbours_and_not_components() -> None:
    """Columns that stand out decide the neighbours, and the others were learnt anew; noise leaves both."""
    rng = np.random.default_rng(0)
    shared = 5 * rng.normal(size=(400, 3))
    own, theirs = (np.hstack([shared, rng.normal(size=(400, 30))]).astype(np.float32) for _ in range(2))
    (sibling,) = likenesses(own, [Known("them", theirs)])
    assert sibling.cknna > BOTH_CKNNA
    assert sibling.predicted < 0.5
    known = [Known("them", theirs)]
    assert copies(own, known) == []
    noised = theirs + 0.1 * theirs.std(axis=0) * rng.normal(size=theirs.shape)
    assert [one.target for one in copies(noised.astype(np.float32), known)] == ["them"]
