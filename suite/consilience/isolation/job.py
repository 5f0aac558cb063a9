"""The parent's side of a worker: start it in its environment, listen to it, end it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from consilience.callbacks import Progress, Tell
from consilience.circumstances import cut
from consilience.escaping import masked
from consilience.scratch import scratch_folder

from .guarded import Guarded
from .log import BoundedLog
from .sandbox import Places, Sandbox, wrap
from .variables import worker_variables

if TYPE_CHECKING:
    from .opens import Opens

WORKER = Path(__file__).with_name("worker.py")
#: Called with the place of a message's job, its event and its content.
Listener = Callable[[int, str, Mapping[str, Any]], None]


class JobFailedError(RuntimeError):
    """A worker did not finish its job; the message is the reason.

    Parameters
    ----------
    outcome
        What it reported until then.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.failure)
        self.outcome = outcome


@dataclass
class Outcome:
    """What a worker reported of one job."""

    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Last message of each kind."""
    log: str = ""
    """What the worker printed."""
    failure: str | None = None
    """Why the job did not finish; None where it did."""
    circumstance: bool = False
    """Whether memory, time, a signal or the like is to blame for the failure, and not the job's own code."""
    signal: int | None = None
    """Signal that ended the worker, where we did not send it."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended, in one way or the other."""
        return self.finished or "error" in self.messages

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
    tell: Tell | None = None,
    opens: Opens | None = None,
    listen: Listener | None = None,
    sandbox: Sandbox = "none",
    places: Places | None = None,
    network: bool = False,
    token: bool = False,
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
        network=network,
        token=token,
    )
    if outcome.failure is not None:
        raise JobFailedError(outcome)
    return outcome


def run_jobs(
    python: Path,
    jobs: Sequence[Mapping[str, Any]],
    log: Path,
    *,
    time_limit: float | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
    opens: Opens | None = None,
    listen: Listener | None = None,
    sandbox: Sandbox = "none",
    places: Places | None = None,
    network: bool = False,
    token: bool = False,
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
        Called with the place of each message's job, its event and content; an exception ends the worker and is raised.
    sandbox, places
        Which sandbox the worker runs in, and what it sees of the file system there. Its home is a folder in the first
        place that it may write to.
    network
        Whether the worker may use the network. Without it, a sandbox has none; elsewhere `opens` denies it, and the
        worker gets no proxies.
    token
        Whether it gets the token of the Hugging Face hub, too; never in a sandbox.

    Returns
    -------
    list of Outcome
        One per job. A job that failed, or that the worker did not reach, has its `failure`.
    """
    with scratch_folder() as scratch:
        file = scratch / "jobs.json"
        file.write_text(json.dumps(list(jobs)), "utf-8")
        outcomes = [Outcome() for _ in jobs]
        own = places or Places()
        if sandbox == "none":
            variables = worker_variables(scratch, network=network, token=token)
        else:  # a stranger leaves nothing behind
            own = Places(own.readable, (*own.writable, scratch))
            variables = worker_variables(scratch, network=network, stranger_home=own.writable[0] / "home")
        command = [str(python), "-I", str(WORKER), str(file), *([] if opens is None else [str(opens.channel)])]
        pipe, descriptors = subprocess.PIPE, () if opens is None else (opens.channel,)
        command = wrap(command, sandbox, own, network=network)
        with Guarded(command, stdout=pipe, stderr=pipe, env=variables, pass_fds=descriptors) as guarded:
            process = guarded.process
            assert process.stdout is not None
            assert process.stderr is not None
            if opens is not None:
                opens.start()
            printed = BoundedLog(process.stderr, log)
            try:
                with _time_limit(guarded, time_limit) as expired:
                    _listen(process.stdout, outcomes, progress, tell, listen)
                    if not all(outcome.ended for outcome in outcomes):
                        process.wait()
            finally:
                guarded.end()
                process.wait()
                if opens is not None:
                    opens.finish()
            text = printed.close()
            if (without := masked(text)) != text:
                text = without
                log.write_text(text, "utf-8", errors="replace")
    for outcome in outcomes:
        outcome.log = text
        if expired.is_set() and not outcome.ended:
            done = outcome.of("progress")
            at = f" after {done['done']} of {done['total']} items" if done else " while loading"
            outcome.failure = f"time limit of {time_limit:g} s reached{at}"
            outcome.circumstance = True
        elif outcome.of("error"):
            outcome.failure = masked(str(outcome.of("error")["reason"]))
            outcome.circumstance = bool(outcome.of("error").get("circumstance"))
        elif not outcome.finished:
            outcome.failure = _how_it_ended(process.returncode, text)
            outcome.signal = -process.returncode if process.returncode < 0 else None
            # 75: its parent died; 127: the interpreter is gone; above 128: a shell's word for a signal.
            outcome.circumstance = process.returncode < 0 or process.returncode in (75, 127) or process.returncode > 128
    return outcomes


def _listen(
    stdout: IO[bytes],
    outcomes: Sequence[Outcome],
    progress: Progress | None,
    tell: Tell | None,
    listen: Listener | None,
) -> None:
    """Take messages until every job has reported its end; a process that still holds the pipe delays nothing."""
    for line in stdout:
        try:
            message = json.loads(line)
            event, number = message.pop("event"), int(message.pop("job"))
            outcome = outcomes[number]
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            continue  # no message of the worker
        if event == "progress":
            message["resumed"] = outcome.of("progress").get("resumed", message["done"] > 0)
            if progress is not None:
                progress(message["done"], message["total"])
        elif event == "stage" and tell is not None:
            tell(message["text"])
        outcome.messages[event] = message
        if listen is not None:
            listen(number, event, message)
        if all(one.ended for one in outcomes):
            return


@contextmanager
def _time_limit(guarded: Guarded, seconds: float | None) -> Iterator[threading.Event]:
    expired = threading.Event()
    if seconds is None:
        yield expired
        return

    def stop() -> None:
        expired.set()
        guarded.end()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def _how_it_ended(code: int | None, log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = f": {cut(lines[-1])}" if lines else ""
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
