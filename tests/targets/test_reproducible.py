"""Embeddings do not depend on process, locale or folder, nor beyond the contract on batches and threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from consilience.datasets.items import Items, open_dataset
from consilience.embedding.contract import TOLERANCE, deviation
from consilience.embedding.embed import covered_items
from consilience.embedding.run import run_worker
from consilience.embedding.shards import read_shards
from consilience.metrics import cknna
from consilience.records.spec import read_spec
from consilience.registry import Target, get_target

from ..boards import V1_SPEC  # noqa: TID252

pytestmark = [pytest.mark.environment, pytest.mark.slow, pytest.mark.nightly]

SPEC = read_spec(V1_SPEC)
#: Each reference on one data set of which it is a reference, and five more.
CELLS = {name: entry.name for entry in reversed(SPEC.datasets) for name in entry.references}
CELLS |= {
    "megnet-band-gap": "mp-1k",
    "cgcnn-formation-energy": "mp-1k",
    "rxnfp-pretrained": "qm9-1k",
    "soltrannet": "qm9-1k",
    "antiberty": "proteins-500",
}
ITEMS = 150


def rows(
    target: Target, items: Items, folder: Path, *, batch: int | None = None, variables: dict[str, str] | None = None
) -> NDArray[np.float64]:
    """Rows of one run in a process of its own; NaN where an item cannot be embedded (atoms out of reach)."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (variables or {}).items():
            patch.setenv(name, value)
        folder.mkdir()
        patch.chdir(folder)
        if batch is not None:
            resources = target.card.resources.model_copy(update={"batch_size": batch})
            card = target.card.model_copy(update={"resources": resources})
            target = Target(card, target.load, target.path, target.weights)
        run_worker(target, items, "embed", folder=folder)
    found = read_shards(folder)
    whole = np.isfinite(found.features).all(axis=1)
    assert whole.tolist() == [reason is None for reason in found.reasons]
    assert whole.mean() > 0.9, found.reasons
    return found.features.astype(np.float64)


@pytest.mark.parametrize("name", CELLS)
def test_rows_do_not_depend_on_circumstances(name: str, tmp_path: Path) -> None:
    target, whole = get_target(name), open_dataset(CELLS[name])
    items = whole.select(covered_items(target, whole)[:ITEMS])
    base = rows(target, items, tmp_path / "base", variables={"OMP_NUM_THREADS": "1"})
    elsewhere = {"OMP_NUM_THREADS": "1", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    np.testing.assert_array_equal(rows(target, items, tmp_path / "other", variables=elsewhere), base)
    whole = np.isfinite(base).all(axis=1)
    base = base[whole]
    reference = np.random.default_rng(0).normal(size=(base.shape[1], 16))
    fixed = np.tanh(base / base.std() @ reference)  # something to be aligned with, the same for all
    for batch in (1, 7, 64):
        for threads in ("1", "2"):
            folder = tmp_path / f"{batch}-{threads}"
            others = rows(target, items, folder, batch=batch, variables={"OMP_NUM_THREADS": threads})
            np.testing.assert_array_equal(np.isfinite(others).all(axis=1), whole)
            others = others[whole]
            assert deviation(base, others) <= TOLERANCE
            assert abs(cknna(others, fixed) - cknna(base, fixed)) <= 2e-4
