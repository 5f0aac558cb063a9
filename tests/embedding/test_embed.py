"""The worker as a real process: what it does, and what becomes of it when things go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import embed
from consilience.embedding.errors import EmbeddingFailedError, EmbeddingSkippedError
from consilience.embedding.identity import identify
from consilience.embedding.store import Store
from consilience.registry import Target, load_target_file

GOOD = "return Embedded([[len(a), a.positions.std()] for a in items], [float(len(a)) for a in items])\n"


@pytest.fixture(scope="module")
def items() -> Items:
    return open_dataset("qm9-1k").head(60)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", shipped=None)


def one(path: Path) -> Target:
    return load_target_file(path)[0]


def test_rows_and_energies_come_back_with_their_provenance(
    write_target: Callable[..., Path], items: Items, store: Store
) -> None:
    target = one(write_target(GOOD, name="good"))
    seen: list[tuple[int, int]] = []
    found = embed(target, items, store, progress=lambda done, total: seen.append((done, total)))
    expected = [[len(a), a.positions.std()] for a in items.view("atoms")]
    np.testing.assert_allclose(found.features, expected, rtol=1e-6)
    assert found.energies.tolist() == [len(a) for a in items.view("atoms")]
    assert seen[-1] == (60, 60)
    assert found.provenance["identity"]["target"] == "good"
    assert found.provenance["peak_memory_mib"] > 10
    again = embed(target, items, store, progress=lambda *_: pytest.fail("embedded twice"))
    np.testing.assert_array_equal(again.features, found.features)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('no such kernel')\n", "no such kernel"),
        ("return Embedded(np.full((len(items), 2), np.nan))\n", "NaN for 32 of 32 items"),
        ("return Embedded(np.ones((3, 2)))\n", "3 rows for 32 items"),
        ("import os; os._exit(7)\n", "exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n", "SIGSEGV"),
        ("import sys; print('noise'); sys.exit('stop')\n", "SystemExit"),
    ],
)
def test_a_broken_target_fails_with_its_reason(
    write_target: Callable[..., Path], items: Items, store: Store, body: str, reason: str
) -> None:
    target = one(write_target(body, name=f"broken-{abs(hash(body)) % 10**6}"))
    with pytest.raises(EmbeddingFailedError, match=reason):
        embed(target, items, store)
    assert store.get(identify(target, items)) is None


def test_a_loader_that_raises_fails_with_its_reason(
    write_target: Callable[..., Path], items: Items, store: Store
) -> None:
    path = write_target(GOOD, name="no-load", preamble="raise OSError('no weights here')\n")
    with pytest.raises(EmbeddingFailedError, match="OSError: no weights here"):
        embed(one(path), items, store)


def test_a_target_that_hangs_is_stopped_at_its_time_limit(
    write_target: Callable[..., Path], items: Items, store: Store
) -> None:
    body = (
        "import time\nif len(items[0]) and load.__dict__.setdefault('n', 0) == 1: time.sleep(600)\nload.n = 1\n" + GOOD
    )
    target = one(write_target(body, name="hangs"))
    began = time.monotonic()
    with pytest.raises(EmbeddingFailedError, match=r"time limit of 6 s reached after 32 of 60 items"):
        embed(target, items, store, time_limit=6)
    assert time.monotonic() - began < 60


def test_printing_does_not_disturb_the_protocol(write_target: Callable[..., Path], items: Items, store: Store) -> None:
    body = "import os\nprint('{not json')\nos.write(1, b'raw bytes \\xff\\n')\n" + GOOD
    assert embed(one(write_target(body, name="noisy")), items, store).embedded.all()


@pytest.mark.slow
def test_a_killed_run_goes_on_behind_its_last_shard(
    write_target: Callable[..., Path], items: Items, store: Store, tmp_path: Path
) -> None:
    """kill -9 of the parent: the worker ends by itself, and the next run does not redo finished shards."""
    log = tmp_path / "calls.txt"
    body = f"open({str(log)!r}, 'a').write(f'{{len(items)}} ')\nimport time; time.sleep(0.4)\n" + GOOD
    # One shard per batch, so that there is something to keep after a few seconds.
    preamble = "import consilience.embedding.target_job as job\njob.SHARD_ITEMS = 1\n"
    path = write_target(body, name="killed", card=", resources={'batch_size': 4}", preamble=preamble)
    code = textwrap.dedent(f"""
        from pathlib import Path
        from consilience.datasets.items import open_dataset
        from consilience.embedding.embed import embed
        from consilience.embedding.store import Store
        from consilience.registry import load_target_file
        embed(load_target_file({str(path)!r})[0], open_dataset("qm9-1k").head(60),
              Store(Path({str(store.folder)!r}), shipped=None))
    """)
    parent = subprocess.Popen([sys.executable, "-c", code])
    cell = store.cell(identify(one(path), items))
    deadline = time.monotonic() + 60
    while len(list(cell.glob("shard-*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    time.sleep(1.5)
    kept, calls = len(list(cell.glob("shard-*"))), len(log.read_text().split())
    time.sleep(1.5)
    assert len(log.read_text().split()) == calls, "the worker outlived its parent"
    assert 3 <= kept < 15
    assert store.get(identify(one(path), items)) is None, "a half-made embedding was read"
    found = embed(one(path), items, store)
    assert found.embedded.all()
    redone = len(log.read_text().split()) - calls
    # The last shard is made again where the parent was killed before it had noted what the target read.
    assert redone in (15 - kept, 16 - kept)
    assert not list(cell.glob("shard-*"))


def test_what_a_target_cannot_read_is_skipped(write_target: Callable[..., Path], items: Items, store: Store) -> None:
    sequences = one(write_target(GOOD, name="sequences", card=", view='sequence'"))
    with pytest.raises(EmbeddingSkippedError, match="reads sequence"):
        embed(sequences, items, store)
    metals = one(write_target(GOOD, name="metals", card=", elements=('Fe', 'Ni')"))
    with pytest.raises(EmbeddingSkippedError, match="cover 0 of 60 items"):
        embed(metals, items, store)


def test_items_with_elements_that_are_not_covered_get_a_reason(
    write_target: Callable[..., Path], items: Items, store: Store
) -> None:
    target = one(write_target(GOOD, name="no-nitrogen", card=", elements=('H', 'C', 'O', 'F')"))
    with_nitrogen = [i for i, symbols in enumerate(items.elements) if "N" in symbols]
    assert 0 < len(with_nitrogen) < 60
    small = items.select([*with_nitrogen[:3], *[i for i in range(60) if i not in with_nitrogen]])
    found = embed(target, small, store)
    assert found.reasons == {
        0: "elements not covered: N",
        1: "elements not covered: N",
        2: "elements not covered: N",
    }
    assert found.embedded.sum() == len(small) - 3


def test_weights_that_are_not_the_declared_ones_are_refused(
    write_target: Callable[..., Path], items: Items, store: Store, tmp_path: Path
) -> None:
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"another checkpoint")
    path = write_target(
        GOOD,
        name="wrong-weights",
        card=f", weights_sha256='{'0' * 64}'",
        preamble=f"weights.published({str(weights)!r})\n",
    )
    with pytest.raises(EmbeddingFailedError, match=r"model\.pt: sha256 is"):
        embed(one(path), items, store)


def test_modules_beside_a_target_and_of_pythonpath_come_after_installed_packages(
    write_target: Callable[..., Path],
    items: Items,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "on_the_path.py").write_text("x = 1\n")
    for folder in (tmp_path, elsewhere):
        (folder / "safetensors.py").write_text("raise RuntimeError('shadowed')\n")
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    body = "import on_the_path\nimport safetensors\nassert safetensors.__path__\n" + GOOD
    assert embed(one(write_target(body, name="isolated")), items, store).embedded.all()


def test_a_module_that_is_missing_says_where_it_was_looked_for(
    write_target: Callable[..., Path], items: Items, store: Store, tmp_path: Path
) -> None:
    target = one(write_target(GOOD, name="lacking", preamble="import no_such_module\n"))
    reason = rf"no module 'no_such_module' among .* or in {tmp_path}.*dependencies.*paths = \[\"\.\./lib\"\]"
    with pytest.raises(EmbeddingFailedError, match=reason):
        embed(target, items, store)
    path = write_target(GOOD, name="lacking-too")
    path.write_text("import no_such_module\n" + path.read_text())
    with pytest.raises(ValueError, match=reason):
        load_target_file(path)


def test_a_header_names_folders_of_modules(write_target: Callable[..., Path], items: Items, store: Store) -> None:
    path = write_target("import own_library\n" + GOOD, name="with-paths")
    library = path.parent / "third_party" / "lib"
    library.mkdir(parents=True)
    (library / "own_library.py").touch()
    header = '# /// script\n# dependencies = ["numpy"]\n# [tool.consilience]\n# paths = ["third_party/lib"]\n# ///\n'
    path.write_text(header + path.read_text())
    assert embed(one(path), items, store).embedded.all()


def test_a_twin_and_its_target_are_two_cells(write_target: Callable[..., Path], items: Items) -> None:
    target = one(write_target(GOOD, name="twinned", card=", untrained=True"))
    keys = {identify(t, items).key for t in (target, target.untrained(), target.untrained(seed=1))}
    assert len(keys) == 3
    stated = [identify(target.untrained(seed), items).weights for seed in (0, 1)]
    assert stated == ["random:0", "random:twinned:1"]
    assert json.dumps(identify(target, items).__dict__)
    assert replace(identify(target, items)).key in keys


def test_an_authors_folder_is_left_as_it_was(
    write_target: Callable[..., Path], items: Items, store: Store, tmp_path: Path
) -> None:
    path = write_target(GOOD, name="tidy")
    before = set(tmp_path.iterdir())
    embed(one(path), items, store)
    assert set(tmp_path.iterdir()) - before <= {store.folder}
