"""Several data sets by one process: what each has of its own, and what becomes of the others where one fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import embed, embed_each
from consilience.embedding.errors import EmbeddingFailedError, EmbeddingSkippedError
from consilience.embedding.identity import identify
from consilience.embedding.store import Embedding, Store
from consilience.registry import load_target_file

GOOD = "return Embedded([[len(a), a.positions.std()] for a in items])\n"


@pytest.fixture(scope="module")
def datasets() -> list[Items]:
    return [open_dataset("qm9-1k").head(20), open_dataset("mp-1k").head(10), open_dataset("ccd-1k").head(15)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", shipped=None)


def test_rows_are_those_of_data_sets_embedded_alone(
    write_target: Callable[..., Path], datasets: list[Items], store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "processes.txt"
    (target,) = load_target_file(
        write_target(f"import os; open({str(log)!r}, 'a').write(f'{{os.getpid()}} ')\n{GOOD}", name="several")
    )
    results = embed_each(target, datasets, store)
    assert len(set(log.read_text().split())) == 1
    other = Store(tmp_path / "other", shipped=None)
    for items, result in zip(datasets, results, strict=True):
        assert isinstance(result, Embedding)
        assert result.ids == list(items.ids)
        alone = embed(target, items, other)
        np.testing.assert_array_equal(result.features, alone.features)
        assert result.provenance["identity"] == alone.provenance["identity"]
        assert store.contains(identify(target, items))
    assert len(set(log.read_text().split())) == 4
    again = embed_each(target, datasets, store, progress=lambda *_: pytest.fail("embedded twice"))
    assert [isinstance(one, Embedding) for one in again] == [True] * 3


def test_one_that_does_not_apply_or_fails_leaves_the_others(
    write_target: Callable[..., Path], datasets: list[Items], store: Store
) -> None:
    proteins = open_dataset("proteins-500").head(10)
    body = "assert not items[0].pbc.any(), 'a crystal'\n" + GOOD
    (target,) = load_target_file(write_target(body, name="molecules-only"))
    first, second, third, fourth = embed_each(target, [proteins, *datasets], store)
    assert isinstance(first, EmbeddingSkippedError)
    assert isinstance(second, Embedding)
    assert isinstance(third, EmbeddingFailedError)
    assert "a crystal" in str(third)
    assert isinstance(fourth, Embedding)


def test_a_process_that_dies_takes_no_other_data_set_along(
    write_target: Callable[..., Path], datasets: list[Items], store: Store
) -> None:
    body = "import os, signal\nif items[0].pbc.any(): os.kill(os.getpid(), signal.SIGSEGV)\n" + GOOD
    (target,) = load_target_file(write_target(body, name="dies"))
    first, second, third = embed_each(target, datasets, store)
    assert isinstance(first, Embedding)
    assert isinstance(second, EmbeddingFailedError)
    assert "SIGSEGV" in str(second)
    assert isinstance(third, Embedding), "by another process"


def test_what_is_read_for_one_counts_for_those_after_it(
    write_target: Callable[..., Path], datasets: list[Items], store: Store, tmp_path: Path
) -> None:
    """A module that the first data set imports is not read again, and the rows of the second depend on it."""
    table = tmp_path / "table.txt"
    table.write_text("2.0")
    body = (
        f"load.scale = getattr(load, 'scale', None) or float(open({str(table)!r}).read())\n"
        "return Embedded([[load.scale * len(a), a.positions.std()] for a in items])\n"
    )
    (target,) = load_target_file(write_target(body, name="reads-once"))
    embed_each(target, datasets[:2], store)
    assert all(store.contains(identify(target, items)) for items in datasets[:2])
    table.write_text("3.00")
    assert not any(store.contains(identify(target, items)) for items in datasets[:2])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can be reset on Linux alone")
def test_the_peak_memory_is_that_of_each_data_set(
    write_target: Callable[..., Path], datasets: list[Items], store: Store
) -> None:
    body = "held = np.ones(2**26) if not items[0].pbc.any() and len(items) == 20 else None\ndel held\n" + GOOD
    (target,) = load_target_file(write_target(body, name="hungry"))
    peaks = [one.provenance["peak_memory_mib"] for one in embed_each(target, datasets, store)]
    assert peaks[0] > peaks[1] + 400, "the first holds 512 MiB for a moment"
    assert peaks[0] > peaks[2] + 400


def test_an_environment_that_can_not_be_built_fails_each(
    write_target: Callable[..., Path], datasets: list[Items], store: Store
) -> None:
    path = write_target(GOOD, name="no-environment")
    header = '# /// script\n# dependencies = ["no-such-package-at-all==1.0"]\n# ///\n'
    path.write_text(header + path.read_text())
    (target,) = load_target_file(path)
    results = embed_each(target, datasets, store)
    assert all(isinstance(one, EmbeddingFailedError) and "environment" in str(one) for one in results)
