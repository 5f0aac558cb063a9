"""Parquet files with the columns of the suite's own data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.bounds import MOST_COLUMNS, allowance, too_large
from consilience.cards import View
from consilience.checks import MalformedDataError, ids_fault, sequence_fault, smiles_fault

from .chains import chains_table
from .reading import NAMES, Read, ids_of
from .structures import COLUMNS, Structure, structures_table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Rows read at a time; few where texts lie in lists, whose repetitions can't be counted beforehand.
_ROWS, _FEW_ROWS = 65_536, 16


def read_parquet(path: Path) -> Read:
    """Read a table whose columns are named as in the suite's own data sets."""
    import pyarrow as pa

    table = read_table(path)
    names = set(table.column_names)
    if not table.num_rows:
        raise MalformedDataError(path, "there are no items in it")
    if "id" in names and (fault := ids_fault(table["id"].to_pylist())):
        raise MalformedDataError(path, fault[1], row=fault[0], column="id")
    if "numbers" in names or "positions" in names:
        _expect(path, table, ("numbers", "positions"))
        return structures_table(path, ((path, row, one) for row, one in enumerate(_rows(table), 1)), extra=table)
    if "backbone" in names:
        _expect(path, table, ("sequence", "backbone"))
    view: View = "sequence" if "sequence" in names else "smiles"
    if view not in names:
        there = ", ".join(table.column_names)
        expected = "numbers and positions (structures), smiles, or sequence (and backbone)"
        raise MalformedDataError(path, f"is missing; expected {expected}; there are {there}", column="numbers")
    check = sequence_fault if view == "sequence" else smiles_fault
    texts = table[view].to_pylist()
    for row, text in enumerate(texts, 1):
        if wrong := check(text):
            raise MalformedDataError(path, wrong[1], row=row, column=view)
    ids = ids_of(path, [{"id": one} for one in table["id"].to_pylist()] if "id" in names else [{}] * len(texts))
    columns = {"id": pa.array(ids, pa.string()), view: pa.array(texts, pa.string())}
    if "backbone" not in names:
        return Read(pa.table(columns), "protein" if view == "sequence" else "molecule", ("id", view))
    backbones = table["backbone"].to_pylist()
    for row, (text, backbone) in enumerate(zip(texts, backbones, strict=True), 1):
        if np.shape(backbone) != (len(text), 4, 3):
            raise MalformedDataError(path, f"is not {len(text)} x 4 x 3, as its sequence", row=row, column="backbone")
    return Read(chains_table(ids, texts, backbones), "protein", ("id", "sequence", "backbone"))


def read_table(path: Path) -> pa.Table:
    """Read a parquet file whose columns expand to no more than its allowance.

    Raises
    ------
    MalformedDataError
        It is damaged, or announces or holds more than fits its size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows = _check_announced(path, file)
            schema = file.schema_arrow
        # A value that is stored once and repeated stays stored once, until its repetitions are counted.
        texts = [field.name for field in schema if _is_text(field.type)]
        nested = any(column.physical_type == "BYTE_ARRAY" and "." in column.path for column in _columns(file))
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            batches, size = [], 0
            for batch in file.iter_batches(batch_size=_FEW_ROWS if nested else _ROWS):
                batches.append(batch)
                size += batch.nbytes
                if size > allowance(path):
                    raise MalformedDataError(path, too_large(path))
            table = pa.Table.from_batches(batches, None if batches else file.schema_arrow)
        if table.num_rows != rows:
            raise MalformedDataError(path, f"it announces {rows:,} rows and holds {table.num_rows:,}")
        table.validate(full=True)  # texts are UTF-8, for one
        return _with_texts(path, table, schema)
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise MalformedDataError(path, f"not a whole parquet file: {error}") from error


def _check_announced(path: Path, file: pq.ParquetFile) -> int:
    """Hold what a file announces against its size; return the number of rows."""
    facts, size = file.metadata, path.stat().st_size
    if facts.num_columns > MOST_COLUMNS:
        raise MalformedDataError(path, f"it has {facts.num_columns:,} columns, at most {MOST_COLUMNS:,} are read")
    if not 0 <= facts.num_rows <= size:
        raise MalformedDataError(path, f"it announces {facts.num_rows:,} rows, more than {size:,} bytes can hold")
    widths = [_width(column) for column in _columns(file)]
    expanded = 0
    for group in (facts.row_group(i) for i in range(facts.num_row_groups)):
        for width, chunk in zip(widths, (group.column(i) for i in range(group.num_columns)), strict=True):
            expanded += max(chunk.num_values * width, chunk.total_uncompressed_size, 0)
    if expanded > allowance(path):
        raise MalformedDataError(path, too_large(path))
    return int(facts.num_rows)


def _columns(file: pq.ParquetFile) -> list[Any]:
    return [file.schema.column(i) for i in range(len(file.schema))]


def _width(column: Any) -> int:
    """Bytes of one value; of a text, those of its place."""
    widths: dict[str, int] = {
        "BOOLEAN": 1,
        "INT32": 4,
        "FLOAT": 4,
        "INT96": 12,
        "FIXED_LEN_BYTE_ARRAY": max(column.length, 1),
    }
    return widths.get(column.physical_type, 8)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _with_texts(path: Path, table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with repeated texts written out, where these fit the allowance."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    for place, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type) or pa.types.is_dictionary(schema.field(place).type):
            continue
        for chunk in table.column(place).chunks:
            lengths = pc.take(pc.binary_length(chunk.dictionary), chunk.indices)
            size += pc.sum(lengths).as_py() or 0
        if size > allowance(path):
            raise MalformedDataError(path, too_large(path))
        table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
    return table


def _expect(path: Path, table: pa.Table, columns: tuple[str, ...]) -> None:
    for name in columns:
        if name not in table.column_names:
            expected = f"expected {', '.join(columns)}"
            there = ", ".join(table.column_names)
            raise MalformedDataError(path, f"is missing; {expected}; there are {there}", column=name)


def _rows(table: pa.Table) -> Iterator[Structure]:
    columns = [name for name in (*COLUMNS[:6], *NAMES, "smiles", "energy") if name in table.column_names]
    for batch in table.select(columns).to_batches(1000):
        for row in batch.to_pylist():
            cell = row.pop("cell", np.zeros((3, 3)))
            yield Structure(row.pop("numbers"), row.pop("positions"), cell, row.pop("pbc", [False] * 3), row)
