"""The parent's side of embedding: start a worker in the target's environment, watch it, collect its rows."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from . import environments
from .environments import Header
from .shards import read_shards
from .store import Embedding, Store, identify

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.registry import Target

WORKER = Path(__file__).with_name("worker.py")
#: A target whose declared elements cover less of a data set than this is skipped there.
LEAST_COVERAGE = 0.5

Progress = Callable[[int, int], None]


class EmbeddingFailedError(RuntimeError):
    """A target could not embed a data set; the message is the reason shown on the board."""


class EmbeddingSkippedError(RuntimeError):
    """A target does not apply to a data set; the message is the reason shown on the board."""


@dataclass
class Outcome:
    """What a worker reported."""

    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: str = ""

    def of(self, event: str) -> dict[str, Any]:
        """Last message of a kind, empty where there was none."""
        return self.messages.get(event, {})


def embed(
    target: Target,
    items: Items,
    store: Store,
    *,
    device: str = "cpu",
    time_limit: float = 1800.0,
    progress: Progress | None = None,
) -> Embedding:
    """Embedding of `items` by `target`: from the store, or made now and stored.

    Parameters
    ----------
    target, items
        Which model and which items.
    store
        Where embeddings are looked up and kept.
    device
        Torch device string handed to the target's `load`.
    time_limit
        Seconds after which the worker is stopped and the cell fails. What it had finished is kept.
    progress
        Called with (items done, items in all).

    Raises
    ------
    EmbeddingSkippedError
        The data set lacks the target's view, or its elements are not covered.
    EmbeddingFailedError
        Building the environment, loading, or embedding failed, or took too long.
    """
    covered = covered_items(target, items)
    identity = identify(target, items)
    found = store.get(identity)
    if found is not None:
        return found
    folder = store.cell(identity)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # released by the system when its holder dies
        found = store.get(identity)
        if found is not None:
            return found
        began = time.perf_counter()
        outcome = run_worker(
            target,
            items.select(covered),
            "embed",
            folder=folder,
            device=device,
            time_limit=time_limit,
            progress=progress,
        )
        seconds = time.perf_counter() - began
        embedding = _collect(target, items, covered, folder)
        done = outcome.of("progress")
        embedding.provenance.update(
            identity=asdict(identity),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 2),
            items_per_second=round(len(covered) / max(float(done.get("seconds", seconds)), 1e-6), 2)
            if not done.get("resumed")
            else None,
            weights_sha256=outcome.of("loaded").get("weights_sha256"),
            peak_memory_mib=outcome.of("done").get("peak_memory_mib"),
            packages=environments.packages_of(Header.of(target.path)),
            hardware=hardware(device),
        )
        store.put(identity, embedding)
    return embedding


def covered_items(target: Target, items: Items) -> list[int]:
    """Indices of the items whose view and elements the target can read.

    Raises
    ------
    EmbeddingSkippedError
        The data set has no such view, or fewer than half of its items are covered.
    """
    view = target.card.input_view
    if not items.has_view(view):
        raise EmbeddingSkippedError(f"reads {view}, which {items.name} does not have")
    covered = items.covered_by(target.card)
    if len(covered) < LEAST_COVERAGE * len(items):
        kind = {None: "", True: " (it reads crystals only)", False: " (it reads molecules only)"}[target.card.periodic]
        raise EmbeddingSkippedError(f"its elements cover {len(covered)} of {len(items)} items{kind}")
    return covered


def _collect(target: Target, items: Items, covered: list[int], folder: Path) -> Embedding:
    rows = read_shards(folder)
    features = np.full((len(items), rows.features.shape[1]), np.nan, np.float32)
    energies = np.full(len(items), np.nan)
    truncated = np.zeros(len(items), np.float32)
    features[covered], energies[covered], truncated[covered] = rows.features, rows.energies, rows.truncated
    reasons = {covered[i]: reason for i, reason in enumerate(rows.reasons) if reason is not None}
    for i in sorted(set(range(len(items))) - set(covered)):
        missing = items.elements[i] - set(target.card.elements or items.elements[i])
        wanted = "crystals" if target.card.periodic else "molecules"
        reasons[i] = f"elements not covered: {', '.join(sorted(missing))}" if missing else f"reads {wanted} only"
    return Embedding(features, energies, list(items.ids), reasons, truncated=truncated)


def run_worker(
    target: Target,
    items: Items,
    task: str,
    *,
    folder: Path,
    device: str = "cpu",
    time_limit: float = 1800.0,
    progress: Progress | None = None,
    save_to: Path | None = None,
) -> Outcome:
    """Run one job in the target's environment and wait for it.

    With `save_to`, the task ``"examine"`` also writes the model's weights there, where the target can.

    Raises
    ------
    EmbeddingFailedError
        With the worker's reason, or what ended it.
    """
    if progress is not None:
        progress(0, len(items))  # building the environment may take a while: show that something goes on
    try:
        python = environments.ensure(Header.of(target.path))
    except environments.EnvironmentBuildError as error:
        raise EmbeddingFailedError(f"environment: {error}") from error
    with tempfile.TemporaryDirectory(prefix="consilience-") as scratch:
        items_file = Path(scratch) / "items.npz"
        items.save(items_file, view=target.card.input_view)
        job = {
            "task": task,
            "target_file": str(target.path),
            "target": target.card.name,
            "weights": {
                "kind": target.weights.kind,
                "path": str(target.weights.path) if target.weights.path else None,
                "seed": target.weights.seed,
                "trusted": target.weights.trusted,
                "expected_sha256": target.weights.expected_sha256,
            },
            "items_file": str(items_file),
            "folder": str(folder),
            "device": device,
            "batch_size": target.card.resources.batch_size,
            "dimension": target.card.dimension,
            "save_to": str(save_to) if save_to else None,
        }
        return run_job(python, job, folder / "worker.log", time_limit=time_limit, progress=progress)


def run_job(
    python: Path,
    job: dict[str, Any],
    log: Path,
    *,
    time_limit: float | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run a worker with this interpreter on this job, and wait for it; what it prints goes to `log`.

    Raises
    ------
    EmbeddingFailedError
        With the worker's reason, or what ended it.
    """
    with tempfile.TemporaryDirectory(prefix="consilience-") as scratch:
        file = Path(scratch) / "job.json"
        file.write_text(json.dumps(job), "utf-8")
        with log.open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                [str(python), "-I", str(WORKER), str(file)],
                stdin=subprocess.PIPE,  # closes when we die, and the worker with it
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env=_variables(),
                start_new_session=True,
            )
            with _time_limit(process, time_limit) as expired:
                outcome = _listen(process, progress, tell)
    outcome.log = log.read_text("utf-8", errors="replace")
    if expired.is_set():
        done = outcome.of("progress")
        at = f" after {done['done']} of {done['total']} items" if done else " while loading"
        raise EmbeddingFailedError(f"time limit of {time_limit:g} s reached{at}")
    if outcome.of("error"):
        raise EmbeddingFailedError(str(outcome.of("error")["reason"]))
    if process.returncode != 0 or not outcome.of("done"):
        raise EmbeddingFailedError(_how_it_ended(process.returncode, outcome.log))
    return outcome


def _listen(
    process: subprocess.Popen[str], progress: Progress | None, tell: Callable[[str], None] | None = None
) -> Outcome:
    outcome = Outcome()
    assert process.stdout is not None
    try:
        for line in process.stdout:
            message = json.loads(line)
            event = message.pop("event")
            if event == "progress":
                message["resumed"] = outcome.of("progress").get("resumed", message["done"] > 0)
                if progress is not None:
                    progress(message["done"], message["total"])
            elif event == "stage" and tell is not None:
                tell(message["text"])
            outcome.messages[event] = message
        process.wait()
    finally:
        _kill(process)
    return outcome


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


def _variables() -> dict[str, str]:
    variables = dict(os.environ)
    variables.setdefault("TOKENIZERS_PARALLELISM", "false")
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in ("VIRTUAL_ENV", "PYTHONHOME"):
        variables.pop(name, None)
    return variables


def hardware(device: str) -> dict[str, Any]:
    """What the embedding ran on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    found: dict[str, Any] = {"cpu": cpu, "cores": os.cpu_count(), "device": device}
    if device.startswith("cuda") and shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        found["gpu"] = done.stdout.strip().splitlines()[0] if done.stdout.strip() else None
    return found
