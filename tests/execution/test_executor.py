"""Executors: tasks told by names, results as they come, a back end in one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consilience.callbacks import Progress
from consilience.execution import executor as module
from consilience.execution.executor import Executor, Result, Task, call, get_executor, list_executors
from consilience.records.schema import to_json
from consilience.registry import get_target, load_target_file
from consilience.scoring.scorer import Cell
from consilience.session.execute import run_cells
from consilience.session.runner import Runner
from consilience.session.tasks import embed_task

ROWS = "return Embedded([np.sort(a.get_all_distances().ravel())[-8:] for a in items])\n"


def add(*, a: int, b: int, progress: Progress | None = None) -> int:
    if progress is not None:
        progress(1, 1)
    return a + b


def test_tasks_give_their_results_and_failures_stop_no_other() -> None:
    local = get_executor("local", jobs=2)
    steps: list[tuple[int, int]] = []
    for number in range(4):
        local.submit(Task(str(number), f"{__name__}:add", {"a": number, "b": 1}), progress=lambda *at: steps.append(at))
    local.submit(Task("bad", f"{__name__}:add", {"a": 1, "b": "x"}))
    local.submit(Task("none", "no.such.module:function", {}))
    results = {result.task.id: result for result in local.as_completed()}
    local.close()
    assert [results[str(number)].value for number in range(4)] == [1, 2, 3, 4]
    assert results["bad"].error.startswith("TypeError")
    assert results["none"].error.startswith("ModuleNotFoundError")
    assert steps == [(1, 1)] * 4


def test_an_unknown_back_end_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match=r"no executor is named 'slurn'; there are: local"):
        get_executor("slurn")
    with pytest.raises(ValueError, match="jobs: expected at least 1, found 0"):
        get_executor("local", jobs=0)


class Elsewhere:
    """A back end that hands tasks over as text, as one for another machine does."""

    texts: list[str] = []  # noqa: RUF012

    def __init__(self, *, jobs: int) -> None:
        self.waiting: list[Task] = []

    def submit(self, task: Task, *, progress: Progress | None = None) -> None:
        self.texts.append(json.dumps({"id": task.id, "entry": task.entry, "arguments": dict(task.arguments)}))
        self.waiting.append(Task(**json.loads(self.texts[-1])))

    def as_completed(self) -> Iterator[Result]:
        while self.waiting:
            yield call(self.waiting.pop())

    def close(self) -> None:
        assert not self.waiting


@pytest.mark.parametrize(("name", "jobs"), [pytest.param("local", 2, marks=pytest.mark.slow), ("elsewhere", 1)])
def test_any_back_end_gives_the_records_of_a_serial_run(
    name: str, jobs: int, write_target: Callable[..., Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Target files, twins and failures included: a task names them, and no array crosses."""
    list_executors()
    monkeypatch.setitem(module._executors, "elsewhere", Elsewhere)
    (toy,) = load_target_file(write_target(ROWS, name=f"toy-{name}", card=", untrained=True"))
    (broken,) = load_target_file(write_target("raise RuntimeError('no luck')\n", name=f"broken-{name}"))
    targets = [toy, toy.untrained(), broken, get_target("size")]
    cells = [Cell("qm9-1k", target) for target in targets]
    parallel = run_cells(cells, Runner(limit=120), executor=name, jobs=jobs)
    serial = run_cells(cells, Runner(limit=120))
    assert [record.state for record in parallel] == ["ok", "ok", "failed", "ok"]
    # A record that was scored before is read from its file, where numbers have 6 digits.
    scores = [[json.loads(to_json(record))["scores"] for record in records] for records in (parallel, serial)]
    assert scores[0] == scores[1]
    assert "no luck" in parallel[2].reason
    assert parallel[2].reason == serial[2].reason


def test_a_task_is_text(write_target: Callable[..., Path], own_cache: Path) -> None:
    (toy,) = load_target_file(write_target(ROWS, name="toy-text"))
    task = embed_task(Runner(), "qm9-1k", toy, device="cpu", time_limit=60.0)
    assert json.loads(json.dumps(dict(task.arguments)))["target_file"] == str(toy.path)
    assert task.id == Runner().identity("qm9-1k", toy).key


def test_the_protocol_is_kept_by_the_local_executor() -> None:
    local: Executor = get_executor("local")
    local.close()
