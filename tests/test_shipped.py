"""The reference embeddings shipped with the package: complete, valid for the code at hand, and true."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import covered_items, embed
from consilience.embedding.errors import EmbeddingSkippedError
from consilience.embedding.identity import identify
from consilience.embedding.store import SHIPPED, Store, shipped_path
from consilience.records.spec import DEFAULT_SPEC, read_spec
from consilience.registry import get_target

SPEC = read_spec(DEFAULT_SPEC)
SHIPPED_CELLS = [
    pytest.param(entry.name, name, id=f"{entry.name}-{name}")
    for entry in SPEC.datasets
    for name in dict.fromkeys((*entry.references, *SPEC.controls))
]


def items_of(dataset: str, name: str) -> Items:
    items = open_dataset(dataset)
    try:
        covered_items(get_target(name), items)
    except EmbeddingSkippedError as skip:
        pytest.skip(str(skip))
    return items


def test_there_are_enough_references() -> None:
    assert {entry.name: len(entry.references) for entry in SPEC.datasets} == {
        "qm9-1k": 5,
        "qm9-isomers-1k": 5,
        "mp-1k": 3,
        "mp-polymorphs": 3,
        "mof-500": 3,
        "ccd-1k": 3,
        "proteins-500": 3,
    }


@pytest.mark.parametrize(("dataset", "name"), SHIPPED_CELLS, ids="-".join)
def test_each_is_valid_for_the_code_at_hand(dataset: str, name: str, tmp_path: object) -> None:
    """A changed loader, header or checkpoint makes a shipped embedding stale: run scripts/ship_references.py.

    A target that was mended since the board was frozen keeps what the board measured.
    """
    items = items_of(dataset, name)
    from pathlib import Path

    store = Store(Path(str(tmp_path)))
    mended = bool(get_target(name).card.former_revisions)
    identity = identify(get_target(name), items)
    assert store.contains(identity) is not mended
    found = store.get(store.shipped_identity(dataset, name) if mended else identity)
    assert found is not None, f"{shipped_path(SHIPPED, dataset, name)} is absent or stale"
    assert found.ids == items.ids
    assert np.flatnonzero(found.embedded).tolist() == covered_items(get_target(name), items)
    assert found.features.dtype == np.float32


def test_nothing_else_is_shipped() -> None:
    wanted = {shipped_path(SHIPPED, *cell.values) for cell in SHIPPED_CELLS}
    assert set(SHIPPED.glob("*/*")) <= wanted


@pytest.mark.environment
@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        *(("qm9-1k", name) for name in (*SPEC.dataset("qm9-1k").references, "chgnet-0.3.0@untrained", "soap")),
        ("proteins-500", "foldseek-3di"),
    ],
)
def test_a_reference_embeds_itself_to_what_is_shipped(dataset: str, name: str, tmp_path: object) -> None:
    """The first items, embedded by the real model now, against the shipped rows."""
    from pathlib import Path

    items = items_of(dataset, name)
    store = Store(Path(str(tmp_path)))
    identity = store.shipped_identity(dataset, name)  # of a mended target, its former code's: QM9 has no ions
    assert identity is not None
    shipped = store.get(identity)
    assert shipped is not None
    now = embed(get_target(name), items.head(40), Store(Path(str(tmp_path)), shipped=None))
    norms = np.linalg.norm(shipped.features[:40], axis=1)
    assert (np.linalg.norm(now.features - shipped.features[:40], axis=1) / norms).max() < 1e-4
    if get_target(name).card.energy:
        np.testing.assert_allclose(now.energies, shipped.energies[:40], atol=5e-3)
