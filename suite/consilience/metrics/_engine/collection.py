"""A collection of embeddings of the same items, with what all metrics of all pairs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import check_same_length
from .engine import PROCESSOR, Engine
from .neighbors import Neighbors, search
from .row_source import Source
from .tiles import run

Progress = Callable[[str, int, int], None]


class Collection:
    """Embeddings by name.

    Parameters
    ----------
    embeddings : mapping of str to array_like of shape (n, d)
        Prepared embeddings of the same items; memory-mapped arrays are read in blocks.
    threads : int, optional
        See :func:`~consilience.metrics._engine.tiles.run`.
    progress : callable, optional
        Called with the name of a stage, the steps done and their number.
    engine : Engine
        Where the work on tiles is done.

    Attributes
    ----------
    names : tuple of str
        Names of the M embeddings.
    sources : list of Source
        The embeddings.
    inner_indices, inner_values : ndarray of shape (M, n, depth), int32 and float64
        Nearest neighbours by inner product and the centred kernel there, after :meth:`search`.
    euclidean : list of Neighbors
        Nearest neighbours by distance, after :meth:`search`.

    Raises
    ------
    ValueError
        There are no embeddings, one of them is refused (the message names it), or lengths differ.
    """

    def __init__(
        self,
        embeddings: Mapping[str, npt.ArrayLike],
        *,
        threads: int | None = None,
        progress: Progress | None = None,
        label: str = "embeddings[{!r}]",
        engine: Engine = PROCESSOR,
    ) -> None:
        if not embeddings:
            raise ValueError("embeddings: expected at least one, found none")
        self.names = tuple(embeddings)
        self.threads = threads
        self.engine = engine
        self._progress = progress
        self.sources = [Source(x, label.format(name)) for name, x in embeddings.items()]
        for source in self.sources:
            check_same_length(len(self), len(source))
        self.euclidean: list[Neighbors] = []
        self.forget_lists()

    def take(self, models: npt.NDArray[np.intp]) -> Collection:
        """Return the collection of some of the models."""
        other = copy(self)
        other.names = tuple(self.names[model] for model in models)
        other.sources = [self.sources[model] for model in models]
        return other

    def __len__(self) -> int:
        return len(self.sources[0])

    def search(self, inner: int, euclidean: int) -> None:
        """Find the nearest neighbours of all models: numbers by inner product and by distance."""
        shape = (len(self.sources), len(self), inner)
        self.inner_indices = np.empty(shape, dtype=np.int32)
        self.inner_values = np.empty(shape)
        by_model: dict[int, Neighbors] = {}

        def one(model: int, scratch: dict[str, Any]) -> None:
            source = self.sources[model]
            by_product, by_distance = search(source, inner_product=inner, euclidean=euclidean, engine=self.engine)
            if by_product is not None:
                self.inner_indices[model], self.inner_values[model] = by_product.indices, by_product.values
            if by_distance is not None:
                by_model[model] = by_distance

        if inner or euclidean:
            self.run("neighbours", one, range(len(self.sources)))
        self.euclidean = [by_model[model] for model in sorted(by_model)]

    def forget_lists(self) -> None:
        """Free the memory of the lists."""
        self.inner_indices, self.inner_values = np.empty((0, 0, 0), np.int32), np.empty((0, 0, 0))
        self.euclidean = []

    def run(self, stage: str, work: Callable[[Any, dict[str, Any]], None], tasks: Any) -> None:
        """Do the work of one stage in all threads."""
        run(work, tasks, threads=self.threads, progress=self.progress(stage), engine=self.engine)

    def progress(self, stage: str) -> Callable[[int, int], None] | None:
        """Return what to call with the steps done and their number."""
        report = self._progress
        return None if report is None else lambda done, total: report(stage, done, total)

    def row_blocks(self, rows: int = 256) -> list[slice]:
        """Return slices that cover the items."""
        return [slice(start, min(start + rows, len(self))) for start in range(0, len(self), rows)]
