"""A property of a user's items: a column of the data set, or of the file that it was read from."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.checks import MalformedDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items

#: What readers of structures put beside the columns of a file; these describe the item itself.
_OWN = frozenset({"id", "name", "material_id", "smiles", "charge", "spin", "multiplicity"})


@dataclass(frozen=True)
class Property:
    """What embeddings are probed for.

    Attributes
    ----------
    name
        Column.
    values
        (n,) one number an item; NaN where it is not known.
    unit
        Unit of the values; empty where the file does not say.
    per_atom
        Whether the column was divided by the number of atoms.
    """

    name: str
    values: NDArray[np.float64]
    unit: str = ""
    per_atom: bool = False


def property_of(items: Items, column: str, *, path: Path | None = None, per_atom: bool = False) -> Property:
    """Read a property of all items.

    Parameters
    ----------
    items
        The items.
    column
        A column of the data set, or of the file at `path`. The energy that the data set is labelled with is taken
        per atom, and without zero-point vibration where that is known, as everywhere in the suite.
    path
        The user's file that the items were read from, all of them and in its order.
    per_atom
        Divide another column by the number of atoms, too.

    Raises
    ------
    ValueError
        There is no such column, its values are no numbers, or all are the same.
    """
    label = items.card.energy
    unit = ""
    if label is not None and column == label.name and items.electronic_energy is not None:
        values, unit, per_atom = items.electronic_energy, label.unit, True
    else:
        values = _column(items, column, path)
    if per_atom:
        counts, _ = items.composition()
        values = values / counts.sum(axis=1)
        unit = f"{unit}/atom" if unit else ""
    finite = values[np.isfinite(values)]
    if len(finite) == 0 or np.ptp(finite) == 0:
        content = f"the same, {finite[0]:g}, for all {len(finite)} items" if len(finite) else "no number for any item"
        raise ValueError(f"--property {column}: found {content}; there is nothing to predict")
    return Property(column, np.asarray(values, np.float64), unit, per_atom)


def _column(items: Items, column: str, path: Path | None) -> NDArray[np.float64]:
    there = _scalar_columns(items)
    if column in there:
        return _numbers(column, items.column(column).tolist())
    stated = _stated(path) if path is not None and path.is_file() else []
    names = sorted({name for one in stated for name in one} - _OWN)
    if column in names:
        if len(stated) != len(items):
            raise ValueError(f"--property {column}: {len(stated)} values in the file, but {len(items)} items")
        return _numbers(column, [one.get(column) for one in stated])
    column_names = ", ".join(sorted({*there, *(name for name in names if _is_number(stated, name))})) or "none"
    raise ValueError(f"--property {column}: {items.name} has no such column; columns of numbers: {column_names}")


def _scalar_columns(items: Items) -> list[str]:
    """Columns of the table with one number an item, those that describe the item itself aside."""
    schema = items._table.schema
    kinds = ("int", "uint", "float", "double", "halffloat", "decimal")
    return [name for name in schema.names if str(schema.field(name).type).startswith(kinds) and name not in _OWN]


def _stated(path: Path) -> Sequence[Mapping[str, Any]]:
    """Properties that a file states for its items, in order; empty for formats without properties."""
    from consilience.user_files.parquet import read_table
    from consilience.user_files.strings import bounded_lines
    from consilience.user_files.structures import iterate_structures

    suffix = path.suffix.lower()
    if suffix == ".parquet":
        table = read_table(path)
        scalar_names = [
            name for name in table.column_names if not str(table.schema.field(name).type).startswith("list")
        ]
        rows: list[dict[str, Any]] = table.select(scalar_names).to_pylist()
        return rows
    if suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [
                {str(name).strip(): value for name, value in row.items()}
                for row in csv.DictReader(bounded_lines(path, file), delimiter="\t" if suffix == ".tsv" else ",")
            ]
    if suffix in (".smi", ".smiles", ".fasta", ".fa", ".faa", ".pdb"):
        return []
    try:
        return [one.stated for one in iterate_structures(path)]
    except MalformedDataError:  # a protein structure, which has no columns
        return []


def _numbers(column: str, values: Sequence[Any]) -> NDArray[np.float64]:
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            numbers[row] = float(value)
        except (TypeError, ValueError):
            text = str(value)[:40]
            raise ValueError(f"--property {column}: expected numbers, found {text!r} for item {row + 1}") from None
    return numbers


def _is_number(stated: Sequence[Mapping[str, Any]], name: str) -> bool:
    value = next((one[name] for one in stated if one.get(name) not in (None, "")), None)
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
