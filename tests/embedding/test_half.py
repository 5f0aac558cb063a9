"""Half precision of standardized columns: what comes back, and that scores do not move."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from consilience.datasets.items import open_dataset
from consilience.embedding.half import from_half, to_half
from consilience.embedding.identity import Identity
from consilience.embedding.store import Embedding, Store, shipped_path, shipped_with, write_embedding
from consilience.metrics import cknna
from consilience.metrics.preparation import prepare

IDENTITY = Identity("t", "sha256:0", "c", "e", "d", "r", "i", "last", "mean")
#: Largest change of CKNNA that shipping may cost.
LIMIT = 3e-4


def test_rows_come_back_to_a_thousandth_of_their_spread(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    features = (random.normal(size=(200, 6)) * [1, 1e-6, 1e6, 0, 1, 0] + [0, 5, -3e7, 0.1, 1e4, 0]).astype(np.float32)
    features[7] = np.nan
    embedding = Embedding(features, np.full(200, np.nan), [f"id{i}" for i in range(200)], {7: "too large"})
    path = shipped_path(tmp_path, "d", "t")
    write_embedding(path, IDENTITY, embedding, half=True)
    found = Store(tmp_path / "own", tmp_path).get(IDENTITY)
    assert found is not None
    assert found.features.dtype == np.float32
    assert found.provenance["precision"] == "float16 of standardized columns"
    assert found.embedded.tolist() == [i != 7 for i in range(200)]
    exact = features.astype(np.float64)
    error = np.nanmax(np.abs(found.features.astype(np.float64) - exact), axis=0)
    # Half precision has 11 bits, and the largest of 200 normal numbers is about 3; the rest is that of float32.
    assert (error <= 2e-3 * np.nanstd(exact, axis=0) + 1.2e-7 * np.nanmax(np.abs(exact), axis=0)).all()
    write_embedding(tmp_path / "whole", IDENTITY, embedding)
    write_embedding(tmp_path / "half", IDENTITY, embedding, half=True)
    assert (tmp_path / "half").stat().st_size < (tmp_path / "whole").stat().st_size


def test_an_embedding_of_no_rows_stays_one() -> None:
    features = np.full((4, 3), np.nan, dtype=np.float32)
    assert np.isnan(from_half(to_half(features))).all()


@pytest.mark.parametrize("dataset", ["qm9-isomers-1k", "mp-1k"])
def test_scores_of_shipped_pairs_do_not_move(dataset: str) -> None:
    store = Store(shipped=shipped_with("v1"))
    names = ("diep-fold1", "chgnet-0.3.0", "sevennet-0", "chgnet-0.3.0@untrained")
    rows = {}
    for name in names:
        identity = store.shipped_identity(dataset, name)
        assert identity is not None
        embedding = store.get(identity)
        assert embedding is not None
        rows[name] = embedding.features
    controls = open_dataset(dataset).controls()
    for scheme in ({"scheme": "standardized"}, {"scheme": "standardized", "controls": controls}):
        whole = {name: prepare(one, **scheme) for name, one in rows.items()}
        half = {name: prepare(from_half(to_half(one)), **scheme) for name, one in rows.items()}
        for first, second in combinations(names, 2):
            moved = cknna(whole[first], whole[second], k=25) - cknna(half[first], half[second], k=25)
            assert abs(moved) <= LIMIT, (first, second, scheme["scheme"])
