"""Starts a command, waits for it, and ends all that it started: when it has ended, or when our parent has.

Run as ``python -I -S guard.py COMMAND...`` with a pipe on standard input that the parent holds open. The guard does
nothing else, so that it can act while the command is deep in C code. On Linux the kernel hands it the orphans among the
command's descendants (subreaper), those included that left the process group, and ends the command should the guard
itself be killed. It needs the standard library alone, and a Unix.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
#: Seconds between looks at the parent, whose end of the pipe may be held by a process forked from it.
_LOOK = 1.0
#: Seconds that ending all descendants may take.
_ENDING = 5.0


def main() -> None:
    """Carry the command out and end with its exit code, or by the signal that ended it."""
    parent = os.getppid()
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
    signal.set_wakeup_fd(wake)
    ending: list[int] = []
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _: ending.append(number) if number != signal.SIGCHLD else None)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = _start(sys.argv[1:])
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # the ends of these pipes are the command's
    os.dup2(nowhere, 2)
    status = None
    while status is None:
        readable, _, _ = select.select([0, woken], [], [], _LOOK)
        if woken in readable:
            os.read(woken, 4096)
        if ending or os.getppid() != parent or (0 in readable and not os.read(0, 4096)):
            status = _end(child)
            break
        status = _reap(child)
    _end(child)
    code = os.waitstatus_to_exitcode(status) if status is not None else 1
    if code < 0:
        _die_of(-code)
    os._exit(code)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _start(command: list[str]) -> int:
    """Start the command in a process group of its own; its standard input is a pipe that ends with us."""
    end, _held = os.pipe()
    guard = os.getpid()
    child = os.fork()
    if child:
        os.close(end)
        with contextlib.suppress(OSError):  # the child does it, too: whoever is first
            os.setpgid(child, child)
        return child
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(end, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it was killed before the kernel was asked to tell us
            os._exit(75)
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]} can't be started: {error.strerror}\n".encode())
    os._exit(127)


def _reap(child: int) -> int | None:
    """Status of the command where it has ended; orphans that have ended are let go."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == child:
            return status
        if pid == 0:
            return None


def _end(child: int) -> int | None:
    """End the command's group and all our descendants."""
    status = None
    until = time.monotonic() + _ENDING
    while time.monotonic() < until:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while True:
                pid, one = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                status = one if pid == child else status
        except ChildProcessError:
            break
        time.sleep(0.005)
    return status


def _descendants() -> list[int]:
    """Processes below this one, as Linux lists them; elsewhere none."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    below = list(children.get(os.getpid(), []))
    for pid in below:
        below += children.get(pid, [])
    return below


def _prctl(option: int, value: int) -> None:
    """Ask Linux's kernel for something; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)
    except (ImportError, OSError, AttributeError):  # a Python without ctypes: the group is ended all the same
        return


def _die_of(number: int) -> None:
    """End by a signal, without a core file."""
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
