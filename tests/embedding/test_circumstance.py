"""Failures of circumstance with real workers: real limits of memory, signals, time, and a second run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import consilience
from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import embed
from consilience.embedding.errors import EmbeddingFailedError, EmbeddingInterruptedError
from consilience.embedding.identity import identify
from consilience.embedding.store import Store
from consilience.registry import Target, load_target_file

from ..boards import V1_SPEC  # noqa: TID252

GOOD = "return Embedded([[len(a), a.positions.std()] for a in items])\n"


@pytest.fixture(scope="module")
def items() -> Items:
    return open_dataset("qm9-1k").head(60)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", shipped=None)


def one(path: Path) -> Target:
    return load_target_file(path)[0]


def sizes(log: Path) -> list[int]:
    return [int(word) for word in log.read_text().split()]


def test_an_item_without_memory_is_embedded_by_the_next_run(
    write_target: Callable[..., Path], items: Items, store: Store, tmp_path: Path
) -> None:
    log, go = tmp_path / "calls", tmp_path / "go"
    body = f"""
        import os
        open({str(log)!r}, "a").write(f"{{len(items)}} ")
        if not os.path.exists({str(go)!r}) and any((a.positions == load.item).all() for a in items if len(a) == load.n):
            raise MemoryError("37 GiB")
        {GOOD}"""
    item = items.view("atoms")[40]
    preamble = f"load.n, load.item = {len(item)}, np.array({item.positions.tolist()})\n"
    path = write_target(body, name="one-huge-item", preamble=preamble)
    with pytest.raises(
        EmbeddingInterruptedError, match=r"1 of 60 rows missing: MemoryError: 37 GiB \(item 41\)"
    ) as error:
        embed(one(path), items, store)
    assert error.value.embedding is not None
    assert error.value.embedding.embedded.sum() == 59
    assert store.get(identify(one(path), items)) is None
    go.touch()
    log.unlink()
    found = embed(one(path), items, store)
    assert found.embedded.all()
    assert found.reasons == {}
    assert sizes(log) == [1], "more than the missing item was embedded again"
    expected = [[len(a), a.positions.std()] for a in items.view("atoms")]
    np.testing.assert_allclose(found.features, expected, rtol=1e-6)


def test_an_items_own_failure_is_stored(write_target: Callable[..., Path], items: Items, store: Store) -> None:
    body = f"if any(len(a) == {len(items.view('atoms')[0])} for a in items): raise ValueError('odd')\n{GOOD}"
    path = write_target(body, name="own-failure")
    assert "ValueError: odd" in embed(one(path), items, store).reasons.values()
    assert store.get(identify(one(path), items)) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of address space")
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_real_limit_of_memory_halves_batches_end_to_end(
    write_target: Callable[..., Path], items: Items, store: Store, tmp_path: Path, kind: str
) -> None:
    """`ulimit -v` leaves room for batches of 8 of the 32: rows are whole, and equal those without a limit."""
    log = tmp_path / "calls"
    work = {"numpy": "np.ones((len(items), 2**23))", "torch": "torch.ones(len(items), 2**23, dtype=torch.float64)"}[
        kind
    ]
    body = f"""
        {"import torch" if kind == "torch" else "pass"}
        work = {work}
        work += 1
        open({str(log)!r}, "a").write(f"{{len(items)}} ")
        del work
        {GOOD}"""
    preamble = f"""
        import resource
        {"import torch" if kind == "torch" else "pass"}
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 900 * 2**20,) * 2)
        """
    path = write_target(body, name=f"limited-{kind}", preamble=preamble)
    found = embed(one(path), items, store)
    assert found.embedded.all()
    assert found.reasons == {}
    assert max(sizes(log)) <= 14
    expected = [[len(a), a.positions.std()] for a in items.view("atoms")]
    np.testing.assert_allclose(found.features, expected, rtol=1e-6)


def test_after_a_crash_the_next_run_begins_with_smaller_batches(
    write_target: Callable[..., Path], items: Items, store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "calls"
    body = f"""
        import os, signal
        open({str(log)!r}, "a").write(f"{{len(items)}} ")
        if len(items) > 8: os.kill(os.getpid(), signal.SIGKILL)
        {GOOD}"""
    path = write_target(body, name="crashes")
    for _ in range(2):
        with pytest.raises(EmbeddingInterruptedError, match="SIGKILL"):
            embed(one(path), items, store)
    assert embed(one(path), items, store).embedded.all()
    assert sizes(log)[:3] == [32, 16, 8]
    assert not list(store.cell(identify(one(path), items)).glob("batch-size"))


@pytest.mark.parametrize(
    ("body", "circumstance"),
    [
        ("raise ValueError('broken')", False),
        ("import os; os._exit(7)", False),
        ("raise MemoryError", True),
        ("raise OSError(28, 'No space left on device')", True),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", True),
    ],
)
def test_what_ends_a_worker_is_told_apart(
    write_target: Callable[..., Path], items: Items, store: Store, body: str, circumstance: bool
) -> None:
    path = write_target(f"{body}\n", name=f"ends-{abs(hash(body)) % 10**6}")
    with pytest.raises(EmbeddingFailedError) as error:
        embed(one(path), items, store)
    assert isinstance(error.value, EmbeddingInterruptedError) == circumstance


def test_a_loader_without_memory_is_not_the_targets_fault(
    write_target: Callable[..., Path], items: Items, store: Store
) -> None:
    path = write_target(GOOD, name="load-memory", preamble="raise RuntimeError('x') from MemoryError()\n")
    with pytest.raises(EmbeddingInterruptedError):
        embed(one(path), items, store)


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("Embedded(np.ones((len(items), 2)) * 1j)", "complex"),
        ("Embedded(np.ma.masked_less(np.ones((len(items), 2)), 2))", "masked"),
        ("Embedded(np.ones((len(items), 2)), np.full(len(items), np.inf))", "energies: inf"),
        ("Embedded(np.full((len(items), 2), 1e40))", "too large for float32"),
    ],
)
def test_what_is_not_real_is_refused_end_to_end(
    write_target: Callable[..., Path], items: Items, store: Store, returned: str, reason: str
) -> None:
    path = write_target(f"return {returned}\n", name=f"unreal-{abs(hash(returned)) % 10**6}")
    with pytest.raises(EmbeddingFailedError, match=reason):
        embed(one(path), items, store)


RUN = """
import sys
from pathlib import Path
from consilience.session.request import fill
from consilience.session.session import Session
import consilience.scoring.scorer as scorer
{patch}
session = Session(fill(dict(targets=sys.argv[1], datasets="qm9-1k", limit=40)))
result = session.execute()
print(result.text)
print([(r.target, r.state) for r in result.records], result.exit_code, session.interrupted)
"""


def run(path: Path, patch: str = "") -> str:
    code = textwrap.dedent(RUN).format(patch=patch)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_cell_ended_by_memory_is_not_published_and_the_last_line_says_why(
    write_target: Callable[..., Path], own_cache: Path
) -> None:
    body = f"if load.n == 1: raise MemoryError\nload.n = 1\n{GOOD}"
    card = ", resources={'batch_size': 1}"
    path = write_target(body, name="cell-memory", preamble="load.n = 0\n", card=card)
    text = run(path)
    assert "[('cell-memory', 'failed')] 1 {'qm9-1k::cell-memory'}" in text
    last = text.splitlines()[-2]
    assert last.startswith("not the target's failure, and tried again in the next run: qm9-1k::cell-memory")
    assert "39 of 40 rows missing: MemoryError" in last


@pytest.mark.slow
def test_a_cell_ended_by_time_is_not_published(
    write_target: Callable[..., Path], own_cache: Path, tmp_path: Path
) -> None:
    board = tmp_path / "board"
    board.mkdir()
    shutil.copy(V1_SPEC, board / "spec.toml")
    slow = write_target("import time; time.sleep(600)\n", name="slow")
    broken = write_target("raise ValueError('own')\n", name="broken")
    words = [str(slow), str(broken)]
    result = consilience.run(targets=words, datasets="qm9-1k", publish=board, timeout=6)
    assert {record.target: record.state for record in result.records} == {"slow": "failed", "broken": "failed"}
    assert [path.stem for path in (board / "results").rglob("*.json")] == ["broken"]
    assert "time limit of 6 s reached" in result.text.splitlines()[-1]
    assert result.exit_code == 1


def test_memory_that_ends_while_scoring_fails_the_run_not_the_target(
    write_target: Callable[..., Path], own_cache: Path
) -> None:
    path = write_target(GOOD, name="score-memory")
    patch = """
def ends(self, cell, record, embedding):
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
scorer.Scorer._score = ends
"""
    text = run(path, patch=patch)
    assert "SessionError: scoring qm9-1k::score-memory: [enforce fail]" in text
    assert "failed" not in text.replace("enforce fail", "")
