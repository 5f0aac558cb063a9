"""The process that carries jobs out inside a file's environment: embedding, checking a target, building a data set.

Started as ``python -I worker.py JOBS.json [CHANNEL]``; each job names its entry point. It needs numpy, pydantic and
safetensors beside the model's own packages, and takes `consilience` from the folder it stands in, without exposing that
folder's neighbours. Messages to the parent are JSON lines on the original standard output; whatever the model prints
goes to standard error. When the parent dies, standard input closes and the worker ends at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO


def _adopt_package() -> None:
    """Make only `consilience` of this file's source tree importable."""
    if "consilience" in sys.modules:
        return
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(
        "consilience", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["consilience"] = module
    spec.loader.exec_module(module)


def _die_with_parent() -> None:
    def watch() -> None:
        # Not through sys.stdin: its lock, held by a thread that waits, would stop processes forked from this one.
        while os.read(0, 4096):
            pass
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():  # whatever was started here, too
            os.killpg(0, signal.SIGKILL)
        os._exit(75)

    threading.Thread(target=watch, daemon=True).start()


def _claim_stdout() -> TextIO:
    """Keep the original stdout for messages; send everything else that is printed to stderr."""
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return channel


def _trace(channel: int) -> None:
    """Note from now on what is read here; through the channel, the parent observes what children read, too."""
    from consilience.isolation.opens import report_opens
    from consilience.isolation.trace import Trace

    Trace(complete=report_opens(channel))


def run(job: dict[str, Any], say: Callable[..., None]) -> None:
    """Carry a job out: call its entry point, ``module:function``, with the job and a function that sends messages."""
    module, _, name = str(job["entry"]).partition(":")
    getattr(importlib.import_module(module), name)(job, say)


def _resources() -> dict[str, Any]:
    """Peak memory. Linux's ru_maxrss is inherited across fork and would show the parent's; VmHWM does not."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return {"peak_memory_mib": round(int(line.split()[1]) / 2**10, 1)}
    try:
        import resource
    except ImportError:  # not a Unix
        return {}
    return {"peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)}


def _reset_peak() -> None:
    """Let the peak memory be that of the job that begins; where the system can't, it is that of all jobs so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def main() -> None:
    """Read the jobs of the file named on the command line and carry them out, one after another.

    A job that fails says so, and the next one begins. Each message names its job by its place in the file.
    """
    channel = _claim_stdout()
    _die_with_parent()
    _adopt_package()
    from consilience.circumstances import cut, is_circumstance
    from consilience.escaping import masked

    jobs = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    if len(sys.argv) > 2:
        _trace(int(sys.argv[2]))
    failed = False
    for number, job in enumerate(jobs):

        def say(event: str, *, job: int = number, **content: Any) -> None:
            print(json.dumps({"event": event, "job": job, **content}), file=channel, flush=True)

        say("start")
        if number:
            _reset_peak()
        try:
            run(job, say)
        except BaseException as error:
            failed = True
            traceback.print_exc(file=sys.stderr)
            kind, text = type(error).__name__, cut(masked(str(error)), 1000)
            reason = text if kind in ("CircumstanceError", "ContractError", "SourceError") else f"{kind}: {text}"
            say("error", reason=cut(reason, 1000), circumstance=kind == "CircumstanceError" or is_circumstance(error))
        else:
            say("done", **_resources())
        sys.stderr.flush()
    os._exit(1 if failed else 0)  # some packages hang in their own exit handlers


if __name__ == "__main__":
    main()
