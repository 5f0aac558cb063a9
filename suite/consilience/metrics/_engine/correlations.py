"""Correlations of (n, n) matrices of all pairs of models: dCor from tiles, nulls of dCor and CKA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from consilience.metrics.pairs import Null, check_dense

from .arrays import FloatArray, IntArray
from .collection import Collection
from .engine import PROCESSOR, Engine
from .row_source import Source
from .tiles import Consumer, Tile, TilePosition

#: Entries multiplied in float32 before the sums go on in float64: 2^14 of them cost a digit and a half.
_CHUNK = 2**10
#: Rows of a centred matrix that are permuted at a time.
_PANEL = 32


class CorrelationConsumer(Consumer):
    """Inner products of the centred matrices of all pairs of models.

    Subclasses fill ``scratch["stack"]`` (M, entries) with each model's tile minus the `shifts` of its row and
    its column: neither centring sees such a term, and without it float32 would lose the digits that matter.

    Attributes
    ----------
    shifts : ndarray of shape (M, n), float32
        About the mean of row i less half the mean of all.
    """

    def __init__(self, engine: Engine = PROCESSOR) -> None:
        self.engine = engine

    def begin(self, sources: Sequence[Source], scratch_size: int) -> None:
        """Allocate the sums."""
        models, self.n = len(sources), len(sources[0])
        self.key = f"{type(self).__name__} stack"
        self.entries = -(-scratch_size // _CHUNK) * _CHUNK
        self.shifts = np.stack([self.shift(source) for source in sources]).astype(np.float32)
        self.products_sum = np.zeros((models, models))
        self.row_sums = np.zeros((models, self.n))
        self.diagonals = np.stack([self.diagonal(source) for source in sources]) - 2.0 * self.shifts
        self.lock = Lock()

    def shift(self, source: Source) -> FloatArray:
        """Return what to subtract at the row and the column of each item, (n,)."""
        raise NotImplementedError

    def diagonal(self, source: Source) -> FloatArray:
        """Return the matrix's diagonal, (n,)."""
        raise NotImplementedError

    def store(self, model: int, tile: Tile, place: TilePosition, scratch: dict[str, Any], *, root: bool) -> None:
        """Keep a tile (its root, if `root`) without shifts and diagonal; sum its rows and columns."""
        if self.key not in scratch:
            # zeros beyond the end of a smaller tile add nothing
            scratch[self.key] = self.engine.zeros((len(self.shifts), self.entries))
        out = scratch[self.key][model]
        size = place.shape[0] * place.shape[1]
        out[size:] = 0.0
        own, other = self.shifts[model][place.rows], self.shifts[model][place.columns]
        target = out[:size].reshape(place.shape)
        rows, columns = map(
            self.engine.to_numpy, self.engine.shifted_tile(tile, own, other, place.diagonal, root, target)
        )
        with self.lock:
            self.row_sums[model, place.rows] += rows
            if not place.diagonal:
                self.row_sums[model, place.columns] += columns

    def finish(self, place: TilePosition, scratch: dict[str, Any]) -> None:
        """Multiply the tiles of all pairs of models."""
        used = -(-place.shape[0] * place.shape[1] // _CHUNK)
        sums = self.engine.gram(scratch[self.key][:, : used * _CHUNK], _CHUNK)
        with self.lock:
            self.products_sum += sums if place.diagonal else 2 * sums

    def correlations(self, *, unbiased: bool) -> FloatArray:
        """Return the correlations of all pairs, (M, M); ``nan`` where a model's centred matrix vanishes."""
        n, sums = self.n, self.row_sums
        if unbiased:
            totals = sums.sum(axis=1)
            covariances = self.products_sum + np.outer(totals, totals) / ((n - 1) * (n - 2))
            covariances -= 2 / (n - 2) * (sums @ sums.T)
        else:
            rows = (sums + self.diagonals) / n
            means = rows.mean(axis=1)
            covariances = (self.products_sum + self.diagonals @ self.diagonals.T) / n**2
            covariances += np.outer(means, means) - 2 / n * (rows @ rows.T)
        variances = covariances.diagonal()
        scale = np.sqrt(np.where(variances > 0, variances, np.nan))
        result: FloatArray = covariances / scale[:, None] / scale
        return result


def permuted_correlations(
    collection: Collection, centred: Callable[[FloatArray], FloatArray], name: str, permutations: IntArray
) -> Null:
    """Correlations of the centred matrices of all pairs under each permutation.

    Parameters
    ----------
    collection : Collection
        The models.
    centred : callable
        ``centred(x)``: the centred (n, n) matrix of an embedding. Kept in float32: a null need not have more
        digits than its own spread.
    name : str
        The metric, for messages.
    permutations : ndarray of shape (P, n)
        Item i of the first model is set against item ``p[i]`` of the second.

    Raises
    ------
    ValueError
        The matrices would not fit into memory.
    """
    import torch

    from . import compiled

    n, models = len(collection), len(collection.sources)
    check_dense(name, 4 * models * n * n)
    matrices = np.empty((models, n, n), dtype=np.float32)

    def one_model(model: int, scratch: dict[str, Any]) -> None:
        matrix = centred(collection.sources[model].x.astype(np.float64))
        norm = np.linalg.norm(matrix)
        matrices[model] = matrix / (norm if norm > 0 else np.nan)

    collection.run("centred matrices", one_model, range(models))
    scores = np.zeros((len(permutations), models, models))

    def one(draw: int, scratch: dict[str, Any]) -> None:
        # the matrices are symmetric: what lies right of a panel's own square counts twice
        for start in range(0, n, _PANEL):
            stop = min(start + _PANEL, n)
            shape = (models, stop - start, n - start)
            other = scratch.setdefault(str(shape), np.empty(shape, dtype=np.float32))
            compiled.permuted_rows(matrices, permutations[draw], start, stop, other)
            first = matrices[:, start:stop, start:]
            square, rest = slice(0, stop - start), slice(stop - start, None)
            for part, weight in ((square, 1), (rest, 2)):
                a, b = (torch.from_numpy(z[:, :, part].reshape(models, -1)) for z in (first, other))
                scores[draw] += weight * torch.mm(a, b.T).numpy()

    collection.run(f"null of {name}", one, range(len(permutations)))
    return Null(scores, rounding=1e-5)
