"""Embedding what is missing, then scoring: one cell, or many through an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from consilience.callbacks import Progress
from consilience.embedding.embed import covered_items, embed
from consilience.embedding.errors import EmbeddingFailedError, EmbeddingInterruptedError, EmbeddingSkippedError
from consilience.embedding.store import Store
from consilience.execution.executor import Executor
from consilience.scoring.cell import Cell
from consilience.scoring.scorer import Scorer

from .tasks import embed_task

if TYPE_CHECKING:
    from consilience.embedding.store import Embedding
    from consilience.records.record import Record
    from consilience.records.spec import Spec
    from consilience.registry import Target


class Runner(Scorer):
    """Runs the cells of a board: embeds what the store lacks, and scores.

    Parameters
    ----------
    spec, store, limit, metrics
        See :class:`~consilience.scoring.scorer.Scorer`.
    fresh
        Embed what is scored anew, once, whatever is stored or shipped. References are read as usual.
    fresh_references
        Embed references anew, too.
    device
        Torch device string.
    time_limit
        Seconds that one cell's embedding may take.
    """

    def __init__(
        self,
        spec: Spec | None = None,
        *,
        fresh: bool = False,
        fresh_references: bool = False,
        device: str = "cpu",
        time_limit: float = 1800.0,
        store: Store | None = None,
        limit: int | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        store = store or (Store(shipped=None) if fresh_references else None)
        super().__init__(spec, store=store, limit=limit, metrics=metrics)
        self.device = device
        self.time_limit = time_limit
        self._stored: set[str] = set()
        self._fresh, self._fresh_references = fresh, fresh_references
        self._made: set[str] = set()
        """Keys of identities that this run embedded anew."""

    def own_embedding(self, dataset: str, target: Target) -> Embedding | None:
        """Embedding of a target in its own cell: what this run made, where that was asked for."""
        identity = self.identity(dataset, target)
        if self._fresh and identity.key in self._made:
            return Store(self.store.folder, shipped=None).get(identity)
        return self.embedding(dataset, target)

    def _cache_path(self, cell: Cell) -> Path | None:
        return None if self._fresh or self._fresh_references else super()._cache_path(cell)

    def run(self, cell: Cell, progress: Progress | None = None, *, embedding: Embedding | None = None) -> Record:
        """Score one cell, embedding what it needs. Failures of the target become the record's state."""
        given = embedding is not None
        for target in self._missing(cell, [] if given else [cell.target]):
            self._embed(cell.dataset, target, progress, fresh=self._wants_fresh(cell, target))
            if target == cell.target and self.embedding(cell.dataset, target) is None:
                break  # it failed: its twin would be embedded for nothing
        return self.score(cell, embedding=embedding)

    def embed_all(
        self, cells: Iterable[Cell], executor: Executor, progress: Callable[[Cell], Progress | None] | None = None
    ) -> None:
        """Embed what some cells need and the store lacks, as many at a time as the executor runs.

        Parameters
        ----------
        cells
            Of any data sets.
        executor
            Where it is done.
        progress
            Makes the progress callback of an embedding, named as the cell whose rows it holds.
        """
        waiting: dict[str, None] = {}
        for cell in cells:
            for target in self._missing(cell, [cell.target]):
                fresh = self._wants_fresh(cell, target)
                task = embed_task(
                    self, cell.dataset, target, device=self.device, time_limit=self.time_limit, fresh=fresh
                )
                if task.id not in waiting:
                    waiting[task.id] = None
                    if fresh:
                        self._made.add(task.id)
                    show = None if progress is None else progress(Cell(cell.dataset, target))
                    executor.submit(task, progress=show)
        for result in executor.as_completed():
            failed = result.error if result.error is not None else result.value["failed"]
            if failed is not None:
                self.failures[result.task.id] = failed
                if result.error is not None or result.value["interrupted"]:  # an error is the back end's
                    self.interrupted.add(result.task.id)

    def _missing(self, cell: Cell, own: Sequence[Target]) -> Iterator[Target]:
        """Targets whose embeddings a cell needs, that apply, and that are neither stored nor known to fail."""
        items = self.items(cell.dataset)
        for target in self.needed(cell, own):
            try:
                covered_items(target, items)
            except EmbeddingSkippedError:
                continue
            key = self.identity(cell.dataset, target).key
            if key in self.failures:
                continue
            if self._wants_fresh(cell, target):
                if key not in self._made:
                    yield target
                continue
            if key in self._stored:
                continue
            if self.embedding(cell.dataset, target) is None:
                yield target
            else:
                self._stored.add(key)

    def _wants_fresh(self, cell: Cell, target: Target) -> bool:
        """Whether an embedding is to be made anew for a cell."""
        if target == cell.target and self._fresh:
            return True
        return self._fresh_references and target.name in self.spec.dataset(cell.dataset).references

    def _embed(self, dataset: str, target: Target, progress: Progress | None, *, fresh: bool) -> None:
        items, limit = self.items(dataset), self.time_limit
        if fresh:
            self._made.add(self.identity(dataset, target).key)
        try:
            embed(target, items, self.store, device=self.device, time_limit=limit, progress=progress, fresh=fresh)
        except EmbeddingSkippedError:
            pass
        except EmbeddingFailedError as error:  # a reference or a twin that failed is not tried again within a run
            key = self.identity(dataset, target).key
            self.failures[key] = str(error)
            if isinstance(error, EmbeddingInterruptedError):
                self.interrupted.add(key)
