"""Work on tiles by a torch device: the loops of `compiled` as operations on whole tensors.

Results are those of the processor: neighbours and ranks exactly (what float32 leaves open is settled in
float64), sums of float32 numbers up to the order of summation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .arrays import FloatArray, IntArray
from .engine import Engine
from .row_source import Source

Tensor = torch.Tensor

#: Temporary tensors are held to this size, in bytes.
CHUNK_BYTES = 2**28
#: Rows of models are kept on a device without a memory of its own up to this size.
RESIDENT_BYTES = 2**30
#: Entries per group; first the smallest of each group is compared.
_GROUP = 32


class OnDevice(Engine):
    """Work on tiles by a torch device.

    Parameters
    ----------
    device : torch.device or str
        Any that has float64; the processor as well, which is how this is tested without another device.

    Notes
    -----
    The device holds tiles, and embeddings as given while they fill no more than a third of its free memory;
    the others are sent block by block. They are kept as long as this object.
    """

    scale = 4  # a tile has to outlast the launch of what works on it
    resident = True
    threshold_type = np.float64

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        on_cuda = self.device.type == "cuda"
        self.free_bytes = torch.cuda.mem_get_info(self.device)[0] // 3 if on_cuda else RESIDENT_BYTES
        # by id; the array is kept with its tensor so that no other can take its id
        self._resident: dict[int, tuple[npt.NDArray[Any], Tensor]] = {}
        self._lock = Lock()

    def workers(self, threads: int | None) -> int | None:
        """One: more would only multiply the memory that tiles take."""
        return 1

    def lock(self) -> AbstractContextManager[Any]:
        """Wait until no other thread uses the device."""
        return self._lock

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Turn TF32 off, which has three digits; restore the setting."""
        matmul: Any = torch.backends.cuda.matmul
        before: Any
        off: Any
        try:
            name, before, off = "allow_tf32", matmul.allow_tf32, False
        except RuntimeError:  # set by its newer name, after which the older one cannot be read
            name, before, off = "fp32_precision", matmul.fp32_precision, "ieee"
        if before in (False, "none", "ieee"):
            yield
            return
        label = ""
        with suppress(RuntimeError):
            label = torch.get_float32_matmul_precision()
        setattr(matmul, name, off)
        try:
            yield
        finally:
            setattr(matmul, name, before)
            if label == "medium":  # the switch knows but two of the three levels
                torch.set_float32_matmul_precision(label)

    def rounding(self, width: int) -> float:
        """Return the bound without the processor's cap: a device may add up whole rows in one sum."""
        return float(4 * np.sqrt(width))

    def to_device(self, array: npt.NDArray[Any]) -> Tensor:
        """Return a copy on the device."""
        return torch.tensor(array, device=self.device)

    def to_numpy(self, array: Tensor) -> npt.NDArray[Any]:
        """Return a copy in the processor's memory."""
        result: npt.NDArray[Any] = array.cpu().numpy()
        return result

    def buffer(self, *shape: int) -> Tensor:
        """Return an uninitialized float32 array."""
        return torch.empty(shape, device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: type[np.floating[Any]] = np.float32) -> Tensor:
        """Return zeros."""
        kind = torch.float64 if dtype is np.float64 else torch.float32
        return torch.zeros(shape, dtype=kind, device=self.device)

    def copy(self, tile: Tensor) -> Tensor:
        """Return a copy."""
        return tile.clone()

    def transpose(self, tile: Tensor) -> Tensor:
        """Return a tile with rows and columns exchanged."""
        return tile.T.contiguous()

    def fill_diagonal(self, tile: Tensor, value: float) -> None:
        """Set the entries where an item meets itself."""
        tile.fill_diagonal_(value)

    def raw(self, source: Source, part: slice | IntArray) -> Tensor:
        """Return rows as given, in their own precision."""
        x = source.x
        if id(x) not in self._resident and x.nbytes <= self.free_bytes:
            self.free_bytes -= x.nbytes
            self._resident[id(x)] = x, self.to_device(x)
        if id(x) in self._resident:
            return self.take(self._resident[id(x)][1], part)
        return self.to_device(x[part])

    def rows(self, source: Source, part: slice | IntArray) -> Tensor:
        """Return centred and scaled rows in float32, the same bits as on the processor."""
        block = self.raw(source, part).to(torch.float64, copy=True)
        block -= self.to_device(source.mean)
        block *= self.to_device(source.factors)
        return block.float()

    def take(self, array: Tensor, part: slice | IntArray) -> Tensor:
        """Return some entries of an array."""
        return array[part if isinstance(part, slice) else self.to_device(part)]

    def multiply(self, first: Tensor, second: Tensor, out: Tensor) -> None:
        """Fill `out` with the inner products of two sets of rows."""
        torch.mm(first, second.T, out=out)

    def gram(self, stack: Tensor, chunk: int) -> FloatArray:
        """Return the inner products (M, M) of long rows (M, entries), in float64 beyond `chunk` entries."""
        chunks = stack.view(len(stack), -1, chunk).transpose(0, 1)
        total = torch.zeros((len(stack), len(stack)), dtype=torch.float64, device=self.device)
        for some in _pieces(chunks, 4 * len(stack) ** 2):
            total += torch.bmm(some, some.transpose(1, 2)).sum(0, dtype=torch.float64)
        return self.to_numpy(total)

    def keep_largest(
        self,
        products: Tensor,
        first_row: int,
        first_column: int,
        bias: Tensor,
        cutoffs: Tensor,
        values: Tensor,
        indices: Tensor,
    ) -> None:
        """Offer the entries of a tile to the lists of both of its sides."""
        rows = slice(first_row, first_row + products.shape[0])
        columns = slice(first_column, first_column + products.shape[1])
        keys = products + bias[columns]
        if rows == columns:
            keys.fill_diagonal_(-torch.inf)
        _merge_largest(keys, columns.start, cutoffs[rows], values[rows], indices[rows])
        if rows != columns:
            keys = self.transpose(products)
            keys += bias[rows]
            _merge_largest(keys, rows.start, cutoffs[columns], values[columns], indices[columns])

    def to_squared_distances(
        self,
        products: Tensor,
        row_squares: Tensor,
        column_squares: Tensor,
        first: Tensor,
        second: Tensor,
        doubtful: float,
    ) -> None:
        """Turn inner products into squared distances, in place; close pairs from differences."""
        sizes = row_squares[:, None] + column_squares
        torch.sub(sizes, products, alpha=2, out=products)
        # at most a tile's indices, and as a rule few: only neighbours are this close
        pairs = (products <= sizes.mul_(doubtful)).nonzero()
        for some in _pieces(pairs, 8 * first.shape[1]):
            i, j = some.unbind(1)
            differences = first[i].sub_(second[j])
            products[i, j] = differences.square_().sum(1)

    def shifted_tile(
        self, tile: Tensor, row_shifts: FloatArray, column_shifts: FloatArray, diagonal: bool, root: bool, out: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write a tile (its root, if `root`) less both shifts to `out`; return its row and column sums."""
        if root:
            torch.sqrt(tile, out=out)
        else:
            out.copy_(tile)
        out -= self.to_device(row_shifts)[:, None]
        out -= self.to_device(column_shifts)
        if diagonal:
            out.fill_diagonal_(0.0)
        return out.sum(1, dtype=torch.float64), out.sum(0, dtype=torch.float64)

    def near_squared_distances(self, source: Source, targets: npt.NDArray[np.int32], out: npt.NDArray[Any]) -> None:
        """Fill `out` (n, L) with the squared distances, in float64, of each item to its `targets`; -1: infinity."""
        factors = self.to_device(source.factors)
        count, width = targets.shape[1], source.x.shape[1]
        # many items share a target: where rows have to be sent, each is sent once
        step = max(1, CHUNK_BYTES // (16 * count * width))
        for start in range(0, len(targets), step):
            part = slice(start, min(start + step, len(targets)))
            others, places = np.unique(np.maximum(targets[part], 0), return_inverse=True)
            own, rows = self.raw(source, part), self.raw(source, others.astype(np.intp))
            near = rows[self.to_device(places.reshape(-1))].double().view(len(own), count, width)
            squared = near.sub_(own.double()[:, None]).mul_(factors).square_().sum(2)
            out[part] = self.to_numpy(squared)
        out[targets < 0] = np.inf

    def add_ranks(
        self,
        tile: Tensor,
        rows: slice,
        columns: slice,
        ranking: tuple[npt.NDArray[Any], ...],
        source: Source,
        sums: Tensor,
    ) -> None:
        """Add up how many entries of each row lie below its thresholds.

        An entry within the rounding error of a threshold is computed again in float64; one equal to it counts
        one half. The item itself (infinitely far in the tile) and the target of the threshold do not count.
        """
        exact, targets, owners, weights, bands = (self.to_device(array[rows]) for array in ranking)
        targets = targets.long()
        limits = torch.where(targets >= 0, exact, -torch.inf).float()
        lows, highs = limits - bands[:, None], limits + bands[:, None]
        ranks = torch.zeros(exact.shape, dtype=torch.float64, device=self.device)
        close = torch.zeros(tile.shape, dtype=torch.bool, device=self.device)
        step = max(1, CHUNK_BYTES // (3 * tile.numel()))
        for start in range(0, exact.shape[1], step):
            part = slice(start, start + step)
            below = tile[:, None] < lows[:, part, None]
            ranks[:, part] = below.sum(2).double()
            close |= (below.logical_not_() & (tile[:, None] <= highs[:, part, None])).any(1)
        factors, relative = self.to_device(source.factors), source.exact()[2]
        pairs = close.nonzero()
        if len(pairs):
            first, second = self.raw(source, rows), self.raw(source, columns)
        for some in _pieces(pairs, 16 * len(factors) + 48 * exact.shape[1]):
            i, j = some.unbind(1)
            squared = first[i].double().sub_(second[j]).mul_(factors).square_().sum(1)
            gaps = exact[i] - squared[:, None]
            allowed = relative * exact[i]
            shares = 0.5 * ((gaps > allowed).double() + (gaps >= -allowed).double())
            values = tile[i, j, None]
            open_ones = (values >= lows[i]) & (values <= highs[i]) & (targets[i] != j[:, None] + columns.start)
            ranks.index_add_(0, i, shares * open_ones)
        sums.index_add_(0, owners.flatten().long(), (ranks * weights).flatten())

    def two_nearest(self, stack: Tensor, places: npt.NDArray[np.int32]) -> None:
        """Nothing: all sums are made here."""

    def joint_minima(
        self,
        left: Tensor,
        right: Tensor,
        pairs: npt.NDArray[np.int32],
        left_near: npt.NDArray[np.int32],
        right_near: npt.NDArray[np.int32],
        smallest: Tensor,
        second: Tensor,
    ) -> None:
        """Update the two smallest sums of squared distances, per row and pair of models."""
        _, rows, columns = left.shape
        step = max(1, CHUNK_BYTES // (4 * rows * columns))
        for start in range(0, len(pairs), step):
            some = pairs[start : start + step].tolist()
            sums = self.buffer(len(some), rows, columns)
            for at, (a, b) in enumerate(some):
                torch.add(left[a], right[b], out=sums[at])
            part = slice(start, start + step)
            before = torch.stack([smallest[:, part].T, second[:, part].T], dim=2)
            least = torch.cat([before, _near_least(sums)], dim=2).topk(2, dim=2, largest=False).values
            smallest[:, part], second[:, part] = least[:, :, 0].T, least[:, :, 1].T


def _pieces(tensor: Tensor, size: int) -> Iterator[Tensor]:
    """Yield as many rows of `size` bytes at a time as fit into a chunk."""
    step = max(1, CHUNK_BYTES // size)
    for start in range(0, len(tensor), step):
        yield tensor[start : start + step]


def _merge_largest(keys: Tensor, offset: int, cutoffs: Tensor, values: Tensor, indices: Tensor) -> None:
    """Merge the largest of new keys (rows, columns), whose first item is `offset`, into descending lists."""
    new, places = keys.topk(min(values.shape[1], keys.shape[1]), dim=1)
    items = torch.cat([indices, places.to(indices.dtype) + offset], dim=1)
    largest, order = torch.cat([values, new], dim=1).topk(values.shape[1], dim=1)
    values.copy_(largest)
    indices.copy_(items.gather(1, order))
    cutoffs.copy_(values[:, -1])


def _near_least(sums: Tensor) -> Tensor:
    """Return few entries of each row (pairs, rows, columns) that hold its two smallest."""
    whole = sums.shape[2] - sums.shape[2] % _GROUP
    if whole < 4 * _GROUP:
        return sums
    # the two smallest entries are in the two groups with the smallest least ones
    groups = sums[:, :, :whole].view(*sums.shape[:2], -1, _GROUP)
    chosen = groups.amin(3).topk(2, dim=2, largest=False).indices
    near = groups.gather(2, chosen[..., None].expand(*chosen.shape, _GROUP)).flatten(2)
    return torch.cat([near, sums[:, :, whole:]], dim=2)
