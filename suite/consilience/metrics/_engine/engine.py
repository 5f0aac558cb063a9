"""Where the work on tiles is done: numba's loops on the processor, or torch on any other device.

Tiles, neighbour search and consumers are the same for both. They hold arrays without reading them: numpy arrays on the
processor, tensors on a device. Only sums and short lists leave a device.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import FloatArray, IntArray
from .row_source import Source

#: A numpy array, or a tensor.
Array = Any


class Engine:
    """Work on tiles by the processor, and the interface of every engine.

    Attributes
    ----------
    scale : int
        How many times larger than the processor's the sides of tiles are.
    resident : bool
        Whether rows of models are kept here, so that the caller need not.
    threshold_type : type
        Of the squared distances that :meth:`add_ranks` compares with.
    """

    scale = 1
    resident = False
    threshold_type: type[np.floating[Any]] = np.float32

    def workers(self, threads: int | None) -> int | None:
        """Return the number of tiles to work on at a time, where the caller asks for `threads`."""
        return threads

    def lock(self) -> AbstractContextManager[Any]:
        """Wait until no other thread of this engine works in here."""
        return nullcontext()

    def full_precision(self) -> AbstractContextManager[None]:
        """Have products of float32 matrices made in float32."""
        return nullcontext()

    def rounding(self, width: int) -> float:
        """Return a bound of the error of inner products of `width` columns, in roundings of the lengths' product."""
        # twice the largest rounding error seen in millions of float32 inner products of widths 16 to 2,048
        return float(min(4 * np.sqrt(width), 32))

    def to_device(self, array: npt.NDArray[Any]) -> Array:
        """Return a numpy array as one of the engine's."""
        return array

    def to_numpy(self, array: Array) -> npt.NDArray[Any]:
        """Return one of the engine's arrays as a numpy array."""
        result: npt.NDArray[Any] = array
        return result

    def buffer(self, *shape: int) -> Array:
        """Return an uninitialized float32 array."""
        import torch

        return torch.empty(shape).numpy()  # aligned as torch's products like it

    def zeros(self, shape: tuple[int, ...], dtype: type[np.floating[Any]] = np.float32) -> Array:
        """Return zeros."""
        return np.zeros(shape, dtype=dtype)

    def copy(self, tile: Array) -> Array:
        """Return a copy."""
        return tile.copy()

    def transpose(self, tile: Array) -> Array:
        """Return a tile with rows and columns exchanged."""
        import torch

        return torch.from_numpy(tile).T.contiguous().numpy()

    def fill_diagonal(self, tile: Array, value: float) -> None:
        """Set the entries where an item meets itself."""
        np.fill_diagonal(tile, value)

    def rows(self, source: Source, part: slice | IntArray) -> Array:
        """Return centred and scaled rows in float32."""
        return source.rows(part)

    def take(self, array: Array, part: slice | IntArray) -> Array:
        """Return some entries of an array."""
        return array[part]

    def multiply(self, first: Array, second: Array, out: Array) -> None:
        """Fill `out` with the inner products of two sets of rows."""
        import torch

        torch.mm(torch.from_numpy(first), torch.from_numpy(second).T, out=torch.from_numpy(out))

    def gram(self, stack: Array, chunk: int) -> FloatArray:
        """Return the inner products (M, M) of long rows (M, entries), in float64 beyond `chunk` entries."""
        import torch

        chunks = torch.from_numpy(stack).view(len(stack), -1, chunk).transpose(0, 1)
        sums: FloatArray = torch.bmm(chunks, chunks.transpose(1, 2)).double().sum(0).numpy()
        return sums

    def keep_largest(
        self,
        products: Array,
        first_row: int,
        first_column: int,
        bias: Array,
        cutoffs: Array,
        values: Array,
        indices: Array,
    ) -> None:
        """Offer the entries of a tile to the lists of both of its sides; see ``compiled.keep_largest``."""
        from . import compiled

        compiled.keep_largest(products, first_row, first_column, bias, cutoffs, values, indices)

    def to_squared_distances(
        self, products: Array, row_squares: Array, column_squares: Array, first: Array, second: Array, doubtful: float
    ) -> None:
        """Turn inner products into squared distances, in place; see ``compiled.to_squared_distances``."""
        from . import compiled

        compiled.to_squared_distances(products, row_squares, column_squares, first, second, np.float32(doubtful))

    def shifted_tile(
        self, tile: Array, row_shifts: Array, column_shifts: Array, diagonal: bool, root: bool, out: Array
    ) -> tuple[Array, Array]:
        """Write a tile (its root, if `root`) less both shifts to `out`; return its row and column sums."""
        from . import compiled

        rows, columns = np.zeros(tile.shape[0], np.float32), np.zeros(tile.shape[1], np.float32)
        compiled.shifted_tile(tile, row_shifts, column_shifts, diagonal, root, out, rows, columns)
        return rows, columns

    def near_squared_distances(self, source: Source, targets: npt.NDArray[np.int32], out: npt.NDArray[Any]) -> None:
        """Fill `out` (n, L) with the squared distances of each item to its `targets`; -1: infinity."""
        from . import compiled

        compiled.near_squared_distances(source.rows(slice(None)), targets, out)

    def add_ranks(
        self,
        tile: Array,
        rows: slice,
        columns: slice,
        ranking: tuple[npt.NDArray[Any], ...],
        source: Source,
        sums: Array,
    ) -> None:
        """Add up how many entries of each row lie below its thresholds; see ``compiled.add_ranks``.

        `ranking` holds the thresholds, targets, owners, weights and bands of all items.
        """
        from . import compiled

        compiled.add_ranks(tile, rows.start, columns.start, *ranking, source.exact(), sums)

    def two_nearest(self, stack: Array, places: npt.NDArray[np.int32]) -> None:
        """Fill `places` (M, rows, 2) with the two smallest of each row, which save :meth:`joint_minima` work."""
        from . import compiled

        compiled.two_nearest(stack, places)

    def joint_minima(
        self,
        left: Array,
        right: Array,
        pairs: npt.NDArray[np.int32],
        left_near: npt.NDArray[np.int32],
        right_near: npt.NDArray[np.int32],
        smallest: Array,
        second: Array,
    ) -> None:
        """Update the two smallest sums of squared distances; see ``compiled.joint_minima``."""
        from . import compiled

        compiled.joint_minima(left, right, pairs, left_near, right_near, smallest, second)


PROCESSOR = Engine()
