"""The parent's side of embedding: start a worker in the target's environment, watch it, collect its rows."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from consilience.callbacks import Progress
from consilience.escaping import masked
from consilience.header import ForeignHeaderError, Header, refuse_foreign
from consilience.isolation import environments
from consilience.isolation.job import JobFailedError, Outcome, hardware
from consilience.isolation.sandbox import Places, Sandbox
from consilience.registry import PACKAGE
from consilience.scratch import scratch_folder

from .code import code_digest
from .fetch import run_target_jobs
from .identity import identify
from .inputs import InputsError
from .reads import Reads
from .shards import drop_shards, read_shards, remember_batch_size, remembered_batch_size, rows_missing_for_now
from .store import Embedding, Store, content_key

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.registry import Target


#: A target whose declared elements cover less of a data set than this is skipped there.
MIN_COVERAGE = 0.5


class EmbeddingFailedError(RuntimeError):
    """A target could not embed a data set; the message is the reason shown on the board."""


class EmbeddingInterruptedError(EmbeddingFailedError):
    """Memory, time, a signal or a disk ended an embedding, not the target; the next run goes on.

    Parameters
    ----------
    reason
        What ended it.
    embedding
        The rows there are, where only some are missing; it is not stored.
    """

    def __init__(self, reason: str, embedding: Embedding | None = None) -> None:
        super().__init__(reason)
        self.embedding = embedding


class EmbeddingSkippedError(RuntimeError):
    """A target does not apply to a data set; the message is the reason shown on the board."""


def embed(
    target: Target,
    items: Items,
    store: Store,
    *,
    device: str = "cpu",
    time_limit: float = 1800.0,
    progress: Progress | None = None,
    fresh: bool = False,
) -> Embedding:
    """Embedding of `items` by `target`, read from the store or computed and stored.

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
    fresh
        Compute it, whatever is stored.

    Raises
    ------
    EmbeddingSkippedError
        The data set lacks the target's view, or its elements are not covered.
    EmbeddingFailedError
        Building the environment, loading, or embedding failed.
    EmbeddingInterruptedError
        Memory, time or the like ended it, for all items or for some.
    """
    covered = covered_items(target, items)
    identity = identify(target, items)
    stored_embedding = None if fresh else store.get(identity)
    if stored_embedding is not None:
        return stored_embedding
    folder = store.cell(identity)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # released by the system when its holder dies
        stored_embedding = None if fresh else store.get(identity)
        if stored_embedding is not None:
            return stored_embedding
        began = time.perf_counter()
        reads = Reads(target, folder, fresh=fresh)
        outcome = run_worker(
            target,
            items.select(covered),
            "embed",
            folder=folder,
            device=device,
            time_limit=time_limit,
            progress=progress,
            reads=reads,
        )
        seconds = time.perf_counter() - began
        if code_digest(target.path) != identity.code:
            drop_shards(folder, behind=0)
            raise EmbeddingFailedError(f"{target.path.name} changed while it ran; run it again")
        embedding = _collect(target, items, covered, folder)
        done = outcome.of("progress")
        embedding.provenance.update(
            identity=asdict(identity),
            inputs=reads.summary(),
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
        if missing := rows_missing_for_now(folder):
            raise EmbeddingInterruptedError(f"{missing} (tried again in the next run)", embedding)
        store.put(identity, embedding, reads.inputs)
    return replace(embedding, key=content_key(identity, reads.inputs))


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
    if len(covered) < MIN_COVERAGE * len(items):
        kind = {None: "", True: " (it reads crystals only)", False: " (it reads molecules only)"}[target.card.periodic]
        raise EmbeddingSkippedError(f"its elements cover {len(covered)} of {len(items)} items{kind}")
    return covered


def _collect(target: Target, items: Items, covered: list[int], folder: Path) -> Embedding:
    rows = read_shards(folder)
    features = np.full((len(items), rows.features.shape[1]), np.nan, np.float32)
    energies = np.full(len(items), np.nan)
    truncated = np.zeros(len(items), np.float32)
    features[covered], energies[covered], truncated[covered] = rows.features, rows.energies, rows.truncated
    reasons = {covered[i]: masked(reason) for i, reason in enumerate(rows.reasons) if reason is not None}
    for i in sorted(set(range(len(items))) - set(covered)):
        missing = items.elements[i] - set(target.card.elements or items.elements[i])
        matter = "crystals" if target.card.periodic else "molecules"
        reasons[i] = f"elements not covered: {', '.join(sorted(missing))}" if missing else f"reads {matter} only"
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
    reads: Reads | None = None,
    sandbox: Sandbox = "none",
    stranger: bool | None = None,
) -> Outcome:
    """Run one job in the target's environment and wait for it.

    With `reads`, what the target reads is noted. With a `sandbox`, the code sees no network and no files but the
    target's folder, the checkpoint and its own. The header of a `stranger` (by default, whoever's code runs in a
    sandbox) may name wheels of the configured index only. With `save_to`, the task ``"examine"`` also writes the
    model's weights there, where the target can.

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
        checkpoint = [] if target.weights.path is None else [target.weights.path]
        places = Places((Path(scratch), target.path.parent, *checkpoint), (folder,))
        log = folder / "worker.log"
        try:
            (outcome,) = run_target_jobs(
                python,
                [job],
                log,
                observe=None if reads is None else partial(reads.observe, Path(scratch)),
                time_limit=time_limit,
                progress=progress,
                listen=None if reads is None else reads.listen,
                sandbox=sandbox,
                places=places,
            )
            if outcome.failure is not None:
                raise JobFailedError(outcome)
            return outcome
        except InputsError as error:
            raise EmbeddingFailedError(str(error)) from error
        except JobFailedError as error:
            if error.outcome.signal is not None:  # memory, most often: the next run begins with smaller batches
                size = remembered_batch_size(folder) or job["batch_size"]
                last = error.outcome.of("progress").get("batch", size)
                remember_batch_size(folder, max(1, last // 2))
            kind = EmbeddingInterruptedError if error.outcome.circumstance else EmbeddingFailedError
            raise kind(str(error)) from error


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
