"""Parquet files with the columns of the suite's own data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from consilience.cards import View
from consilience.checks import MalformedDataError, ids_fault, sequence_fault, smiles_fault

from .chains import chains_table
from .reading import NAMES, Read, ids_of
from .structures import COLUMNS, Structure, structures_table

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path) -> Read:
    """Read a table whose columns are named as in the suite's own data sets."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise MalformedDataError(path, f"not a whole parquet file: {error}") from error
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
