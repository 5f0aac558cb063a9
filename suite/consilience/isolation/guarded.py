"""Processes that end with us, and whose descendants end with them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

GUARD = Path(__file__).with_name("guard.py")
#: Seconds until a guard that does not answer is killed itself.
_PATIENCE = 10.0
_running: set[Guarded] = set()


class Guarded:
    """A command under guard, as a context: at its end nothing that the command started is left.

    Parameters
    ----------
    command
        Program and arguments.
    **settings
        Those of :class:`subprocess.Popen` but ``stdin``.
    """

    def __init__(self, command: Sequence[str], **settings: Any) -> None:
        if os.name == "posix":
            command = [sys.executable, "-I", "-S", str(GUARD), *command]
        read, self._held = os.pipe()
        self._lock = threading.Lock()
        self._open = True
        try:
            self.process: subprocess.Popen[Any] = subprocess.Popen(
                command, stdin=read, start_new_session=True, **settings
            )
        except BaseException:
            os.close(self._held)
            raise
        finally:
            os.close(read)
        _running.add(self)

    def end(self) -> None:
        """Ask the guard to end all; safe to call twice and from any thread."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            _running.discard(self)
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()


def run(command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed."""
    pipe = subprocess.PIPE
    with Guarded(command, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", errors="replace", env=env) as guarded:
        output, errors = guarded.process.communicate()
    return subprocess.CompletedProcess(list(command), guarded.process.returncode, output, errors)


def end_all() -> None:
    """End every guarded process of this one; the threads that wait for them go on."""
    for guarded in list(_running):
        guarded.end()
