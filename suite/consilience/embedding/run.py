"""The parent's side of a worker that carries out jobs of one target: its environment, its jobs, what ends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.callbacks import Progress
from consilience.header import ForeignHeaderError, Header, refuse_foreign
from consilience.isolation import environments
from consilience.isolation.job import Outcome
from consilience.isolation.sandbox import Places, Sandbox
from consilience.registry import PACKAGE
from consilience.scratch import scratch_folder

from .errors import EmbeddingFailedError, EmbeddingInterruptedError
from .fetch import run_target_jobs
from .shards import remember_batch_size, remembered_batch_size

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.registry import Target


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
    sandbox: Sandbox = "none",
    stranger: bool | None = None,
) -> Outcome:
    """Run one job in the target's environment and wait for it.

    With a `sandbox`, the code sees no network and no files but the target's folder, the checkpoint and its own. The
    header of a `stranger` (by default, whoever's code runs in a sandbox) may name wheels of the configured index only.
    With `save_to`, the task ``"examine"`` also writes the model's weights there, where the target can.

    Raises
    ------
    EmbeddingFailedError
        With the worker's reason, or what ended it.
    """
    if progress is not None:
        progress(0, len(items))  # building the environment may take a while: show that something goes on
    python = interpreter(target, sandbox=sandbox, stranger=sandbox != "none" if stranger is None else stranger)
    with scratch_folder() as scratch:
        items_file = scratch / "items.npz"
        items.save(items_file, view=target.card.input_view)
        job = target_job(target, items_file, task, folder=folder, device=device, save_to=save_to)
        (outcome,) = run_target_jobs(
            python,
            [job],
            folder / "worker.log",
            time_limit=time_limit,
            progress=progress,
            sandbox=sandbox,
            places=places_of(target, scratch, folder),
        )
    if outcome.failure is not None:
        raise failure_of(outcome, target, folder)
    return outcome


def places_of(target: Target, scratch: Path, *folders: Path) -> Places:
    """What a worker sees of the file system: what it is handed, the target's folder, the checkpoint, and its own."""
    checkpoint = [] if target.weights.path is None else [target.weights.path]
    return Places((Path(scratch), target.path.parent, *checkpoint), folders)


def failure_of(outcome: Outcome, target: Target, folder: Path) -> EmbeddingFailedError:
    """Return the error of a job that failed; where a signal ended it, the next run begins with smaller batches."""
    if outcome.signal is not None:  # memory, most often
        size = remembered_batch_size(folder) or target.card.resources.batch_size
        last = outcome.of("progress").get("batch", size)
        remember_batch_size(folder, max(1, last // 2))
    kind = EmbeddingInterruptedError if outcome.circumstance else EmbeddingFailedError
    return kind(str(outcome.failure))


def interpreter(target: Target, *, stranger: bool = False, sandbox: Sandbox = "none") -> Path:
    """Interpreter of the target's environment, which is built if it does not exist.

    Of a `stranger`, whose code is not to run here, wheels of the configured index are installed only, in the sandbox.

    Raises
    ------
    EmbeddingFailedError
        It could not be built.
    """
    header = Header.of(target.path)
    if stranger := stranger and not target.path.is_relative_to(PACKAGE):
        try:
            refuse_foreign(header, target.path.name)
        except ForeignHeaderError as error:
            raise EmbeddingFailedError(str(error)) from error
    try:
        return environments.ensure(header, wheels_only=stranger, sandbox=sandbox)
    except environments.EnvironmentBuildError as error:
        kind = EmbeddingInterruptedError if error.circumstance else EmbeddingFailedError
        raise kind(f"environment: {error}") from error


def target_job(
    target: Target,
    items_file: Path,
    task: str,
    *,
    folder: Path,
    device: str = "cpu",
    save_to: Path | None = None,
) -> dict[str, Any]:
    """Job of a worker: embed the items of a file into shards in `folder`, or examine the target on them."""
    weights = target.weights
    return {
        "entry": "consilience.embedding.target_job:use_target",
        "task": task,
        "target_file": str(target.path),
        "target": target.card.name,
        "weights": {
            "kind": weights.kind,
            "path": str(weights.path) if weights.path else None,
            "seed": weights.seed,
            "trusted": weights.trusted,
            "expected_sha256": weights.expected_sha256,
        },
        "items_file": str(items_file),
        "folder": str(folder),
        "device": device,
        "batch_size": target.card.resources.batch_size,
        "dimension": target.card.dimension,
        "save_to": str(save_to) if save_to else None,
        "network": Header.of(target.path).network,
    }
