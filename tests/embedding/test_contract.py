"""Rules on what a call of `embed` leaves: the items, the list that holds them, processes and threads."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from consilience import Card, Embedded
from consilience.datasets.layout import Backbone
from consilience.embedding import leftovers as module
from consilience.embedding.batches import ContractError, run_batches
from consilience.embedding.contract import examine
from consilience.embedding.leftovers import Leftovers

RULE = "items left as they were"


def molecules() -> list[Atoms]:
    rng = np.random.default_rng(0)
    return [
        Atoms("CO2", rng.normal(size=(3, 3)) * 2, cell=[9, 9, 9], pbc=True, info={"charge": 0, "spin": 1})
        for _ in range(4)
    ]


def of_atoms(act: Callable[[list[Atoms]], Any]) -> dict[str, Any]:
    """Result of the rule for a target that does something to its items and embeds them rightly."""

    def embed(items: list[Atoms]) -> Embedded:
        rows = [np.sort(a.get_all_distances(mic=True)[np.triu_indices(3, 1)]) for a in items]
        act(items)
        return Embedded(np.array(rows))

    card = Card(name="toy", family="toy", modality="atoms")
    checks = examine(embed, molecules(), card, batch_size=4, ids=["a", "b", "c", "d"])
    return next(check for check in checks if check["name"] == RULE)


def _to_all(act: Callable[[Atoms], Any]) -> Callable[[list[Atoms]], Any]:
    return lambda items: [act(a) for a in items]


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (_to_all(lambda a: a.positions.__iadd__(1)), "positions of item a (and 3 more items)"),
        (lambda items: items[-1].rattle(seed=1), "positions of item"),
        (_to_all(lambda a: a.wrap()), "positions of item"),
        (_to_all(lambda a: a.set_cell(a.cell * 2)), "cell of item a"),
        (_to_all(lambda a: a.set_pbc(False)), "pbc of item a"),
        (_to_all(lambda a: a.numbers.__setitem__(0, 14)), "numbers of item a"),
        (_to_all(lambda a: a.extend(Atoms("H"))), "numbers of item a"),
        (_to_all(lambda a: a.set_tags(1)), "tags of item a"),
        (_to_all(lambda a: a.set_constraint(FixAtoms([0]))), "constraints of item a"),
        (_to_all(lambda a: a.info.update(charge=1)), "info['charge'] of item a"),
        (_to_all(lambda a: a.info.clear()), "info['charge'] of item a"),
        (lambda items: items.pop(), "the list of 4 items that it receives has 3 afterwards"),
        (lambda items: items.append(items[0]), "the list of 4 items that it receives has 5 afterwards"),
        (lambda items: items.__setitem__(0, items[0].copy()), "the list of items that it receives holds others"),
    ],
)
def test_a_target_that_changes_what_it_receives_is_named(act: Callable[[list[Atoms]], Any], what: str) -> None:
    check = of_atoms(act)
    assert not check["passed"]
    assert what in check["detail"]
    assert check["detail"].endswith("work on a copy")


@pytest.mark.parametrize(
    "act",
    [
        lambda items: [a.copy().wrap() for a in items],
        _to_all(lambda a: setattr(a, "calc", LennardJones())),
        _to_all(lambda a: a.get_scaled_positions(wrap=True)),
        lambda items: list(items).pop(),
    ],
)
def test_a_target_that_works_on_copies_passes(act: Callable[[list[Atoms]], Any]) -> None:
    assert of_atoms(act)["passed"]


def test_an_array_of_a_chain_that_is_changed_is_named() -> None:
    rng = np.random.default_rng(0)
    chains = [Backbone("ACDEF"[: 3 + i], rng.normal(size=(3 + i, 4, 3)).astype(np.float32)) for i in range(3)]
    chains[1].coordinates[0] = np.nan

    def embed(items: list[Backbone]) -> Embedded:
        for item in items:
            np.nan_to_num(item.coordinates, copy=False)
        return Embedded([[len(item.sequence), 1.0] for item in items])

    card = Card(name="toy", family="toy", modality="protein_structure")
    check = next(c for c in examine(embed, chains, card, batch_size=2) if c["name"] == RULE)
    assert check["detail"] == "embed changes coordinates of item 1: work on a copy"


def test_what_a_call_does_to_its_items_reaches_no_other_call() -> None:
    """A batch that fails is embedded again item by item, from what the items were."""

    def embed(items: list[Atoms]) -> Embedded:
        for atoms in items:
            atoms.positions *= 2
        if len(items) == 2:
            raise KeyError("one of both")
        return Embedded([[atoms.positions.sum()] for atoms in items])

    atoms = molecules()
    rows = np.concatenate([batch.features for batch in run_batches(embed, atoms, batch_size=2)])
    np.testing.assert_allclose(rows[:, 0], [2 * one.positions.sum() for one in molecules()], rtol=1e-5)
    assert all((one.positions == other.positions).all() for one, other in zip(atoms, molecules(), strict=True))


def test_a_list_that_is_emptied_costs_no_item() -> None:
    def embed(items: list[float]) -> Embedded:
        rows = []
        while items:
            rows.append([items.pop(0)])
        return Embedded(rows)

    rows = np.concatenate([batch.features for batch in run_batches(embed, [3.0, 1.0, 2.0], batch_size=2)])
    assert rows[:, 0].tolist() == [3, 1, 2]


def test_a_list_that_is_sorted_in_place_is_refused() -> None:
    def embed(items: list[str]) -> Embedded:
        items.sort(key=len)
        return Embedded([[len(item)] for item in items])

    with pytest.raises(ContractError, match="changed the order of the list that it received: sort a copy"):
        list(run_batches(embed, ["CCC", "C", "CC"], batch_size=3))
    assert list(run_batches(embed, ["C", "CC", "CCC"], batch_size=3))


SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
linux = pytest.mark.skipif(not module.are_visible(), reason="this system does not show its processes")


@pytest.fixture
def started() -> Iterator[list[Any]]:
    """What a test has started; it ends with the test."""
    things: list[Any] = []
    yield things
    for one in things:
        if isinstance(one, subprocess.Popen):
            one.kill()
            one.wait()
        elif isinstance(one, threading.Event):
            one.set()
        elif isinstance(one, int):
            os.kill(one, 9)
        elif isinstance(one, multiprocessing.process.BaseProcess):
            one.kill()
            one.join()
        else:
            one.shutdown()


def names_after(calls: Callable[[], Any], *, n: int = 4, patience: float = 0.3) -> list[str]:
    leftovers = Leftovers()
    for _ in range(n):
        calls()
        leftovers.look()
    return leftovers.names(patience=patience)


@linux
def test_a_process_that_still_runs_is_named(started: list[Any]) -> None:
    def call() -> None:
        if not started:
            started.append(subprocess.Popen(SLEEP))

    (name,) = names_after(call, patience=0.1)
    assert name.startswith(f"process {started[0].pid} (")
    assert "time.sleep(60)" in name


@linux
def test_a_fork_that_still_runs_is_named(started: list[Any]) -> None:
    def call() -> None:
        if (pid := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        started.append(pid)

    assert len(names_after(call, n=2, patience=0.1)) == 2


def test_a_thread_that_keeps_the_interpreter_is_named(started: list[Any]) -> None:
    end = threading.Event()
    started.append(end)
    assert not names_after(lambda: threading.Thread(target=end.wait, daemon=True).start(), patience=0)
    assert names_after(lambda: threading.Thread(target=end.wait, name="mine").start(), n=1) == ["thread mine"]


@linux
def test_what_ran_before_or_has_ended_is_not_named(started: list[Any]) -> None:
    started.append(subprocess.Popen(SLEEP))
    end = threading.Event()
    started.append(end)
    threading.Thread(target=end.wait).start()

    def call() -> None:
        subprocess.run(["true"], check=True)
        subprocess.Popen(["sleep", "0.2"])  # ends soon
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()

    assert not names_after(call, patience=2)


@linux
def test_a_pool_that_is_kept_for_the_next_call_is_not_named(started: list[Any]) -> None:
    started += [concurrent.futures.ThreadPoolExecutor(2), concurrent.futures.ProcessPoolExecutor(1)]
    assert not names_after(lambda: [list(pool.map(abs, [1, 2])) for pool in started], patience=0.1)


@linux
def test_pools_whose_number_grows_are_named(started: list[Any]) -> None:
    def call() -> None:
        started.append(concurrent.futures.ThreadPoolExecutor(1))
        started[-1].submit(abs, 1)

    (name,) = names_after(call)
    assert name.endswith("more of pools' processes and threads than after half of the calls")


@linux
def test_processes_of_multiprocessing_whose_number_grows_are_named(started: list[Any]) -> None:
    def call() -> None:
        started.append(multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)))
        started[-1].start()

    assert len(names_after(call)) == 1


#: Each uses a pool as honest targets do: a pool per call, servers of multiprocessing, torch's loader.
HONEST = {
    "pool": "with get_context('{method}').Pool(2) as pool: pool.map(abs, [1])",
    "pool that nobody closes": "get_context('{method}').Pool(2).map(abs, [1])",
    "shared memory": "segment = SharedMemory(create=True, size=8); segment.close(); segment.unlink()",
    "loader": "from torch.utils.data import DataLoader as D; list(D([1, 2], num_workers=2))",
    "persistent loader": "from torch.utils.data import DataLoader as D\n"
    "        loader = vars().get('loader') or D([1, 2], num_workers=2, persistent_workers=True); list(loader)",
}
CODE = """
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from consilience.embedding.leftovers import Leftovers

if __name__ == "__main__":
    leftovers = Leftovers()
    for _ in range(4):
        {call}
        leftovers.look()
    print(leftovers.names())
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "method"),
    [(call, method) for call in HONEST for method in ("fork", "spawn", "forkserver") if "loader" not in call]
    + [("loader", "fork"), ("persistent loader", "fork")],  # others import torch in each process: a minute
)
def test_an_honest_pool_is_not_named(tmp_path: Path, call: str, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(CODE.format(call=HONEST[call].format(method=method)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr
