"""Processes and threads that a target's `embed` leaves behind.

The suite ends them with the job. Whoever else calls `embed` keeps them. This module runs inside the target's own
environment and needs the standard library alone.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from consilience.circumstances import cut

#: Seconds that what was told to end may take.
PATIENCE = 2.0
#: Packages whose pools of processes know their own members, and end them with the interpreter.
_POOLS = ("multiprocessing", "multiprocess")
#: Where executors note their threads, which they end with the interpreter.
_EXECUTORS = (
    ("concurrent.futures.thread", "_threads_queues"),
    ("concurrent.futures.process", "_threads_wakeups"),
    ("joblib.externals.loky.process_executor", "_threads_wakeups"),
    ("loky.process_executor", "_threads_wakeups"),
)
#: Servants of these packages: one per interpreter, which end with it.
_SERVANTS = re.compile(
    r"(?:resource_tracker|semaphore_tracker|forkserver) import main|loky\.backend\.|torch_shm_manager"
    r"|torch/_inductor/compile_worker"
)
_PROC = Path("/proc")


class Leftovers:
    """What runs that did not run when this was made.

    Processes and threads of a pool (multiprocessing, concurrent.futures, joblib) may stay for the next call. They count
    as left behind where their number grows from call to call. All others count at once.
    """

    def __init__(self) -> None:
        self._processes = set(_running())
        self._threads = set(_threads())
        self._sizes: list[int] = []

    def look(self) -> None:
        """Note how many members pools have; to be called after each call of `embed`."""
        self._sizes.append(self._members())

    def names(self, *, patience: float = PATIENCE) -> list[str]:
        """What still runs, in words.

        Parameters
        ----------
        patience
            Seconds to wait for it to end.
        """
        if names := self._names():
            gc.collect()  # a pool that nobody refers to ends with its object
            until = time.monotonic() + patience
            while (names := self._names()) and time.monotonic() < until:
                time.sleep(0.05)
        return names

    def _names(self) -> list[str]:
        grown = self._members() - self._sizes[len(self._sizes) // 2] if self._sizes else 0
        names = [f"{grown} more of pools' processes and threads than after half of the calls"] if grown > 0 else []
        processes = _running(set(_pool_processes()), self._processes)
        names += [f"process {pid} ({cut(_command(pid), 80)})" for pid, _ in processes]
        names += [f"thread {cut(one.name, 80)}" for one in _threads() if one not in self._threads | _pool_threads()]
        return names

    def _members(self) -> int:
        return len(_pool_processes()) + len(_pool_threads() - self._threads)


def are_visible() -> bool:
    """Whether this system shows which processes run, beyond those of pools."""
    return (_PROC / "self" / "stat").is_file()


def _threads() -> list[threading.Thread]:
    """Threads that keep an interpreter from ending."""
    return [one for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]


def _pool_threads() -> set[threading.Thread]:
    """Threads of executors, which they end with the interpreter."""
    return {
        thread
        for module, name in _EXECUTORS
        if module in sys.modules
        for thread in list(getattr(sys.modules[module], name, ()))
        if thread.is_alive()
    }


def _pool_processes() -> list[int]:
    """Process numbers of what packages for pools started, without importing one."""
    modules: list[Any] = [sys.modules[name] for name in _POOLS if name in sys.modules]
    return [one.pid for module in modules if hasattr(module, "active_children") for one in module.active_children()]


def _running(pools: Collection[int] = (), known: Collection[tuple[int, str]] = ()) -> list[tuple[int, str]]:
    """Processes below our parent, with their start: it is the guard, whom the kernel hands what was detached from us.

    Left out are this process, those that have ended, the servants of packages for pools, and members of `pools` and
    `known` processes with all that they started.
    """
    children: dict[int, list[tuple[int, str, str]]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append((int(folder.name), fields[19], fields[0]))
    processes = []
    below = list(children.get(os.getppid(), []))
    for pid, start, state in below:
        own = pid == os.getpid()
        if state in "ZX" or pid in pools or (pid, start) in known or (not own and _SERVANTS.search(_command(pid))):
            continue
        if not own:
            processes.append((pid, start))
        below += children.get(pid, [])
    return processes


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""
