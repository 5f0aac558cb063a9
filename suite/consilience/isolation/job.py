"""The parent's side of a worker: start it in its environment, listen to it, end it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .sandbox import Places, Sandbox, wrap
from .variables import worker_variables

if TYPE_CHECKING:
    from .opens import Opens

WORKER = Path(__file__).with_name("worker.py")
#: Called with a message's event and its content.
Listener = Callable[[str, Mapping[str, Any]], None]
#: Called with (items done, items in all).
Progress = Callable[[int, int], None]


class JobFailedError(RuntimeError):
    """A worker did not finish its job; the message is the reason."""


@dataclass
class Outcome:
    """What a worker reported of one job."""

    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Last message of each kind."""
    log: str = ""
    """What the worker printed."""
    failure: str | None = None
    """Why the job did not finish; None where it did."""

    @property
    def finished(self) -> bool:
        """Whether the job ran to its end."""
        return "done" in self.messages

    def of(self, event: str) -> dict[str, Any]:
        """Last message of a kind, empty where there was none."""
        return self.messages.get(event, {})


def run_job(
    python: Path,
    job: dict[str, Any],
    log: Path,
    *,
    time_limit: float | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    opens: Opens | None = None,
    listen: Listener | None = None,
    sandbox: Sandbox = "none",
    places: Places | None = None,
) -> Outcome:
    """Run a worker with this interpreter on this job, and wait for it; what it prints goes to `log`.

    Raises
    ------
    JobFailedError
        With the worker's reason, or what ended it.
    """
    (outcome,) = run_jobs(
        python,
        [job],
        log,
        time_limit=time_limit,
        progress=progress,
        tell=tell,
        opens=opens,
        listen=listen,
        sandbox=sandbox,
        places=places,
    )
    if outcome.failure is not None:
        raise JobFailedError(outcome.failure)
    return outcome


def run_jobs(
    python: Path,
    jobs: Sequence[Mapping[str, Any]],
    log: Path,
    *,
    time_limit: float | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    opens: Opens | None = None,
    listen: Listener | None = None,
    sandbox: Sandbox = "none",
    places: Places | None = None,
) -> list[Outcome]:
    """Run one worker on several jobs, one after another in one process, and wait for it.

    Parameters
    ----------
    python
        Interpreter of the environment.
    jobs
        Each names its ``entry``, ``module:function``; the rest is the function's.
    log
        File that receives what the worker prints.
    time_limit
        Seconds for all jobs together.
    progress
        Called with (items done, items in all) of the current job.
    tell
        Called with a line for people at each stage.
    opens
        Observes which files the worker and its children open.
    listen
        Called with each message's event and content; an exception ends the worker and is raised.
    sandbox, places
        Which sandbox the worker runs in, and what it sees of the file system there.

    Returns
    -------
    list of Outcome
        One per job. A job that failed, or that the worker did not reach, has its `failure`.
    """
    with tempfile.TemporaryDirectory(prefix="consilience-") as scratch:
        file = Path(scratch) / "jobs.json"
        file.write_text(json.dumps(list(jobs)), "utf-8")
        with log.open("w", encoding="utf-8") as errors:
            variables, own = worker_variables(Path(scratch)), places or Places()
            if sandbox != "none":
                variables["HOME"] = variables["TMPDIR"]  # a stranger leaves nothing behind
                own = Places(own.readable, (*own.writable, Path(scratch)))
            command = [str(python), "-I", str(WORKER), str(file), *([] if opens is None else [str(opens.channel)])]
            process = subprocess.Popen(
                wrap(command, sandbox, own),
                stdin=subprocess.PIPE,  # closes when we die, and the worker with it
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env=variables,
                start_new_session=True,
                pass_fds=() if opens is None else (opens.channel,),
            )
            if opens is not None:
                opens.start()
            outcomes = [Outcome() for _ in jobs]
            with _time_limit(process, time_limit) as expired:
                try:
                    _listen(process, outcomes, progress, tell, listen)
                finally:
                    if opens is not None:
                        opens.finish()
    text = log.read_text("utf-8", errors="replace")
    for outcome in outcomes:
        outcome.log = text
        if expired.is_set() and not outcome.finished:
            done = outcome.of("progress")
            at = f" after {done['done']} of {done['total']} items" if done else " while loading"
            outcome.failure = f"time limit of {time_limit:g} s reached{at}"
        elif outcome.of("error"):
            outcome.failure = str(outcome.of("error")["reason"])
        elif not outcome.finished:
            outcome.failure = _how_it_ended(process.returncode, text)
    return outcomes


def _listen(
    process: subprocess.Popen[str],
    outcomes: Sequence[Outcome],
    progress: Progress | None,
    tell: Callable[[str], None] | None,
    listen: Listener | None,
) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            message = json.loads(line)
            event, outcome = message.pop("event"), outcomes[message.pop("job")]
            if event == "progress":
                message["resumed"] = outcome.of("progress").get("resumed", message["done"] > 0)
                if progress is not None:
                    progress(message["done"], message["total"])
            elif event == "stage" and tell is not None:
                tell(message["text"])
            outcome.messages[event] = message
            if listen is not None:
                listen(event, message)
        process.wait()
    finally:
        _kill(process)


@contextmanager
def _time_limit(process: subprocess.Popen[str], seconds: float | None) -> Iterator[threading.Event]:
    expired = threading.Event()
    if seconds is None:
        yield expired
        return

    def stop() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def _kill(process: subprocess.Popen[str]) -> None:
    """End the worker and whatever it started."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError, AttributeError):
        process.kill()
    process.wait()


def _how_it_ended(code: int | None, log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = f": {lines[-1][:300]}" if lines else ""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the worker was ended by {name}{hint}{last}"
    return f"the worker ended with exit code {code}{last}"


def check_device(device: str) -> None:
    """Refuse a torch device that this machine does not have, before anything is built or loaded; imports no torch.

    Raises
    ------
    ValueError
        The text is no device, or there is no such device here.
    """
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps", "xpu") or (number and not number.isdecimal()):
        raise ValueError(f"device: {device!r} is none; expected cpu, cuda, cuda:1, mps or xpu")
    if kind == "cuda" and sys.platform == "linux":
        # A driver makes one of these: NVIDIA's, the one of Windows' subsystem for Linux, AMD's.
        drivers = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
        if not any(Path(one).exists() for one in drivers):
            raise ValueError(f"device: {device}, but this machine has no GPU driver ({', '.join(drivers)}); use cpu")
        if number and kind == "cuda" and Path(drivers[0]).exists() and not Path(f"/dev/nvidia{number}").exists():
            raise ValueError(f"device: {device}, but this machine has no GPU {number} (/dev/nvidia{number})")
    if kind == "mps" and sys.platform != "darwin":
        raise ValueError("device: mps is Apple's; this machine does not have it; use cpu")


def hardware(device: str) -> dict[str, Any]:
    """What the embedding ran on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    details: dict[str, Any] = {"cpu": cpu, "cores": os.cpu_count(), "device": device}
    if device.startswith("cuda") and shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        details["gpu"] = done.stdout.strip().splitlines()[0] if done.stdout.strip() else None
    return details
