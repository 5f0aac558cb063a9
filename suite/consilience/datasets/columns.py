"""Arrow columns as numpy arrays, without a Python object per row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def flat(table: pa.Table, name: str) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Values of a column, nested lists flattened, and the row offsets of its outermost variable-length list.

    Inner levels (the 3 of a position, the 3 x 3 of a cell) have to be of fixed length in fact, whatever their
    Arrow type says; a caller reshapes.

    Raises
    ------
    ValueError
        The column is missing or has empty fields.
    """
    import pyarrow as pa

    if name not in table.column_names:
        raise ValueError(f"no column {name!r}; there are {', '.join(table.column_names)}")
    array = table[name].combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # a table without rows
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    offsets: NDArray[np.int64] | None = None
    outermost = True
    while True:
        if isinstance(array, pa.ExtensionArray):  # Array2D of `datasets`
            array = array.storage
        if array.null_count:
            raise ValueError(f"column {name!r} has {array.null_count} empty fields")
        if not isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
            return array.to_numpy(zero_copy_only=False), offsets
        if outermost and not isinstance(array, pa.FixedSizeListArray):
            starts = array.offsets.to_numpy().astype(np.int64)
            offsets = starts - starts[0]  # `flatten` drops what a slice leaves out, its offsets don't
        outermost = False
        array = array.flatten()


def strings(table: pa.Table, name: str) -> list[str]:
    """Return a text column as a list."""
    if name not in table.column_names:
        raise ValueError(f"no column {name!r}; there are {', '.join(table.column_names)}")
    column = table[name]
    if column.null_count:
        raise ValueError(f"column {name!r} has {column.null_count} empty fields")
    values: list[str] = column.to_pylist()
    return values
