"""The seam between a run and the machines it uses: an executor takes tasks and gives results.

A task names a function and carries names and keys, never arrays: embeddings travel through the store. A back end is one
module of this folder, or of a plug-in, with a class that keeps the :class:`Executor` protocol, decorated with
:func:`executor`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from consilience.callbacks import Progress
from consilience.circumstances import named


@dataclass(frozen=True)
class Task:
    """One function call to execute."""

    id: str
    """Unique in its run."""
    entry: str
    """``module:function``; called with `arguments` and `progress` as keywords, returns what JSON can hold."""
    arguments: Mapping[str, Any]
    """What JSON can hold."""


@dataclass(frozen=True)
class Result:
    """Outcome of a task."""

    task: Task
    """The task."""
    value: Any = None
    """What its function returned."""
    error: str | None = None
    """Why it failed; None where it did not."""


class Executor(Protocol):
    """Runs tasks."""

    def submit(self, task: Task, *, progress: Progress | None = None) -> None:
        """Take a task; it may begin at once. `progress` is called where the back end can hand it on."""
        ...

    def as_completed(self) -> Iterator[Result]:
        """Yield a result for each task submitted so far, as it comes."""
        ...

    def close(self) -> None:
        """Cancel tasks that have not begun, and free resources."""
        ...


E = TypeVar("E", bound=Callable[..., Executor])
_executors: dict[str, Callable[..., Executor]] = {}


def executor(name: str) -> Callable[[E], E]:
    """Offer a back end under a name; it is made with ``jobs=N``."""

    def register(create: E) -> E:
        _executors[name] = create
        return create

    return register


def list_executors() -> list[str]:
    """Names of the back ends."""
    from . import __name__ as package
    from . import __path__ as folder

    for module in pkgutil.iter_modules(folder):
        importlib.import_module(f"{package}.{module.name}")
    return sorted(_executors)


def get_executor(name: str, *, jobs: int = 1) -> Executor:
    """Make an executor.

    Parameters
    ----------
    name
        Name of a back end.
    jobs
        Tasks at a time, where the back end decides.

    Raises
    ------
    LookupError
        There is no such back end.
    """
    if name not in list_executors():
        raise LookupError(f"no executor is named {name!r}; there are: {', '.join(_executors)}")
    return _executors[name](jobs=jobs)


def call(task: Task, progress: Progress | None = None) -> Result:
    """Carry a task out in this process."""
    module, _, name = task.entry.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        return Result(task, function(**task.arguments, progress=progress))
    except Exception as error:  # whatever it is, the other tasks go on
        return Result(task, error=named(error, 1000))
