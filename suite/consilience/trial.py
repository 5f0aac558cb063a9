"""Importing a file of a user's in a child process with a limit; this process reads the cards that the child sends.

A file may end Python, never end itself, or crash when it is imported. A child finds that out, and what the file does
when it is imported stays there.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from .circumstances import cut

#: Limits of an import in seconds: of the processor's time, and of the clock's.
CPU_SECONDS, SECONDS = 20, 60
_CHILD = """
import json, os, sys
path, sys.path[:], limit, seconds = json.loads(sys.argv[1])
report = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the file prints
def say(**verdict):
    with os.fdopen(report, "w", encoding="utf-8") as file:
        json.dump(verdict, file)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    import signal
    signal.alarm(seconds)  # should our parent be killed before it ends us
except (ImportError, AttributeError, ValueError, OSError):
    pass
from pathlib import Path
from consilience.registry import import_file, list_targets, registered_by
from consilience.circumstances import in_words, named
try:
    list_targets()  # a name that is taken is this file's fault
    module = import_file(Path(path))
except SystemExit as error:
    say(error=f"it calls sys.exit({error.code!r:.80}) when it is imported")
except BaseException as error:
    say(error=named(error, 500) if not isinstance(error, SyntaxError) else in_words(error))
else:
    say(error=None, **registered_by(Path(path), module.__name__))
os._exit(0)
"""
#: See :class:`Trial`.
Confine = Callable[[Sequence[str], Path], tuple[Sequence[str], Mapping[str, str]]]
_passed: dict[tuple[str, str], dict[str, Any]] = {}
_running: dict[tuple[str, str], Trial] = {}


def begin(path: Path) -> None:
    """Begin the trial of a file that will be imported later, while this process does something else."""
    with contextlib.suppress(OSError):  # whoever needs the file says so
        trial = Trial(path.resolve())
        if not _running:
            atexit.register(_end_all)
        _running[trial.key] = trial


def _end_all() -> None:
    for trial in _running.values():
        trial.end()


class Trial:
    """One trial, which begins at once; a file whose content has passed in this process is not tried again.

    Parameters
    ----------
    path
        Python file.
    confine
        Puts a command that imports this file into a sandbox: returns the command and its environment variables.
    """

    def __init__(self, path: Path, confine: Confine | None = None) -> None:
        self.path = path
        self.key = (str(path), hashlib.sha256(path.read_bytes()).hexdigest())
        self._child: subprocess.Popen[bytes] | None = None
        self._report: IO[bytes]
        if self.key in _passed:
            return
        if confine is None and (running := _running.pop(self.key, None)) is not None:
            self._child, self._report = running._child, running._report
            return
        self._report = tempfile.TemporaryFile()  # noqa: SIM115  (it has no name: a killed process leaves nothing)
        argument = json.dumps([str(path), sys.path, CPU_SECONDS, SECONDS + 5])
        variables: Mapping[str, str] = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        nowhere = subprocess.DEVNULL
        command: Sequence[str] = [sys.executable, "-c", _CHILD, argument]
        if confine is not None:
            command, variables = confine(command, path)
        self._child = subprocess.Popen(
            command,
            stdin=nowhere,
            stdout=self._report,
            stderr=nowhere,
            env=variables,
            start_new_session=True,
        )

    def failure(self) -> str | None:
        """Wait for the end; why the file can't be imported, None where it can."""
        if self._child is None:
            return None
        failure: str | None
        verdict: dict[str, Any] = {}
        try:
            code: int | None = self._child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            self.end()
        try:
            self._report.seek(0)
            verdict = json.loads(self._report.read().decode("utf-8"))
            failure = verdict["error"]
        except (OSError, ValueError, KeyError, TypeError):
            failure = _how_it_ended(code)
        finally:
            self._report.close()
        if failure is None:
            _passed[self.key] = verdict
        return None if failure is None else cut(failure, 1000)

    @property
    def cards(self) -> list[dict[str, Any]] | None:
        """Cards of the targets that the file registers; None where it registers more than targets."""
        verdict = _passed[self.key]
        return verdict["cards"] if not verdict["more"] else None

    def end(self) -> None:
        """End the child and its group."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._child.pid, signal.SIGKILL)
            else:
                self._child.kill()
        self._child.wait()


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return f"importing it took more than {SECONDS} s: load models inside load"
    if code == -getattr(signal, "SIGXCPU", 0):
        return f"importing it took more than {CPU_SECONDS} s of processor time: load models inside load"
    if code < 0:
        return f"Python was ended by {signal.Signals(-code).name} when it was imported"
    return f"it ends Python when it is imported (exit code {code})"
