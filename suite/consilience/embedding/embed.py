"""The parent's side of embedding: start a worker in the target's environment, watch it, collect its rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from consilience.callbacks import Progress
from consilience.escaping import masked
from consilience.header import Header
from consilience.isolation import environments
from consilience.isolation.job import hardware
from consilience.isolation.opens import Opens
from consilience.scratch import scratch_folder

from .code import code_digest
from .errors import EmbeddingFailedError, EmbeddingInterruptedError, EmbeddingSkippedError
from .fetch import run_target_jobs
from .identity import identify
from .inputs import InputsError
from .reads import Reads
from .run import failure_of, interpreter, places_of, target_job
from .shards import drop_shards, read_shards, rows_missing_for_now
from .store import Embedding, Store, content_key

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.registry import Target


#: A target whose declared elements cover less of a data set than this is skipped there.
MIN_COVERAGE = 0.5


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
    (result,) = embed_each(target, [items], store, device=device, time_limit=time_limit, progress=progress, fresh=fresh)
    if isinstance(result, Exception):
        raise result
    return result


def embed_each(
    target: Target,
    datasets: Sequence[Items],
    store: Store,
    *,
    device: str = "cpu",
    time_limit: float = 1800.0,
    progress: Progress | None = None,
    fresh: bool = False,
) -> list[Embedding | EmbeddingFailedError | EmbeddingSkippedError]:
    """Embeddings of several data sets by one target, made by one process: it imports the packages once.

    Each is stored as soon as it is made. What the process reads for one data set counts as read for those after it.

    Parameters
    ----------
    target, store, device, time_limit, progress, fresh
        See :func:`embed`. All data sets together have as many times the time limit as there are, and progress is that
        of the one at hand.
    datasets
        The items of each data set.

    Returns
    -------
    list
        For each data set its embedding, or the error that :func:`embed` would raise.
    """
    results: dict[int, Embedding | EmbeddingFailedError | EmbeddingSkippedError] = {}
    cells: list[_Cell] = []
    for place, items in enumerate(datasets):
        try:
            cell = _Cell(target, items, store, place)
        except EmbeddingSkippedError as error:
            results[place] = error
            continue
        cell.look_up(fresh=fresh)
        cells.append(cell)
    with ExitStack() as stack:
        waiting = [cell for cell in cells if cell.result is None]
        for cell in sorted(waiting, key=lambda one: one.identity.key):  # all processes lock in one order
            cell.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(cell.folder / "lock"))  # released by the system when its holder dies
            cell.look_up(fresh=fresh)
        for cell in waiting:
            if cell.result is None:
                cell.begin(fresh=fresh)
        while waiting := [cell for cell in waiting if cell.result is None]:
            _run(target, waiting, device=device, time_limit=time_limit, progress=progress)
    for cell in cells:
        assert cell.result is not None
        results[cell.place] = cell.result
    return [results[place] for place in range(len(datasets))]


class _Cell:
    """One data set that a target embeds: its folder, what is read, what the worker says, and what comes of it."""

    def __init__(self, target: Target, items: Items, store: Store, place: int) -> None:
        self.covered = covered_items(target, items)
        self.target, self.items, self.place = target, items, place
        self.identity = identify(target, items)
        self.folder = store.cell(self.identity)
        self.result: Embedding | EmbeddingFailedError | None = None
        self.messages: dict[str, Mapping[str, Any]] = {}
        self.began = 0.0
        self._store = store

    def look_up(self, *, fresh: bool) -> None:
        """Take what is stored, unless it is to be made anew."""
        self.result = None if fresh else self._store.get(self.identity)

    def begin(self, *, fresh: bool) -> None:
        """Keep the shards of a run that was ended, where nothing that it read has changed."""
        self.reads = Reads(self.target, self.folder, fresh=fresh)

    def listen(self, event: str, message: Mapping[str, Any], *, device: str) -> None:
        """Take a message of the worker; the last one of a job makes the embedding."""
        self.messages[event] = message
        if event == "start" and not self.began:
            self.began = time.perf_counter()
        self.reads.listen(event, message)
        if event == "done":
            try:
                self.result = self._stored(device)
            except EmbeddingFailedError as error:
                self.result = error

    def _stored(self, device: str) -> Embedding:
        target, reads, seconds = self.target, self.reads, time.perf_counter() - self.began
        if code_digest(target.path) != self.identity.code:
            drop_shards(self.folder, behind=0)
            raise EmbeddingFailedError(f"{target.path.name} changed while it ran; run it again")
        embedding = _collect(target, self.items, self.covered, self.folder)
        done, loaded = self.messages.get("progress", {}), self.messages.get("loaded", {})
        embedding.provenance.update(
            identity=asdict(self.identity),
            inputs=reads.summary(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 2),
            items_per_second=round(len(self.covered) / max(float(done.get("seconds", seconds)), 1e-6), 2)
            if not done.get("resumed")
            else None,
            weights_sha256=loaded.get("weights_sha256"),
            peak_memory_mib=self.messages["done"].get("peak_memory_mib"),
            packages=environments.packages_of(Header.of(target.path)),
            hardware=hardware(device),
        )
        if missing := rows_missing_for_now(self.folder):
            raise EmbeddingInterruptedError(f"{missing} (tried again in the next run)", embedding)
        self._store.put(self.identity, embedding, reads.inputs)
        return replace(embedding, key=content_key(self.identity, reads.inputs))


def _run(target: Target, cells: Sequence[_Cell], *, device: str, time_limit: float, progress: Progress | None) -> None:
    """Run one worker on some cells; those that it began have a result afterwards, and one of them at least."""
    cells[0].began = time.perf_counter()
    if progress is not None:
        progress(0, len(cells[0].items))  # building the environment may take a while: show that something goes on
    try:
        python = interpreter(target)
    except EmbeddingFailedError as error:
        for cell in cells:
            cell.result = error
        return
    with scratch_folder() as scratch:
        jobs = []
        for cell in cells:
            items_file = scratch / f"items-{cell.place}.npz"
            cell.items.select(cell.covered).save(items_file, view=target.card.input_view)
            jobs.append(target_job(target, items_file, "embed", folder=cell.folder, device=device))
        folders = [cell.folder for cell in cells]

        def observe() -> Opens:
            opens = Opens()
            for cell in cells:
                cell.reads.follow(opens, (*folders, Path(scratch)))
            return opens

        at = cells[0]

        def listen(number: int, event: str, message: Mapping[str, Any]) -> None:
            nonlocal at
            at = cells[number]
            at.listen(event, message, device=device)

        try:
            outcomes = run_target_jobs(
                python,
                jobs,
                cells[0].folder / "worker.log",
                observe=observe,
                time_limit=time_limit * len(cells),
                progress=progress,
                listen=listen,
                places=places_of(target, scratch, *folders),
            )
        except InputsError as error:  # the worker was ended; the cells after this one go to another
            at.result = EmbeddingFailedError(str(error))
            return
    begun = [cell for cell in cells if "start" in cell.messages] or cells
    for cell, outcome in zip(cells, outcomes, strict=True):
        if cell.result is None and cell in begun:
            cell.result = failure_of(outcome, target, cell.folder)


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
