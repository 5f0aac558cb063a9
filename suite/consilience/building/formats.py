"""File formats that several recipes read: ASE-LMDB, and the parquet mirrors of ColabFit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .draft import DroppedError, hill
from .errors import SourceError
from .sources import FileSet, Sources

if TYPE_CHECKING:
    import pyarrow as pa

#: What `AseLmdb.open` accepts: files as they are, and the archives that Meta publishes them in.
PATTERNS = ("*.aselmdb", "*.tar.gz")


class RowAddress(NamedTuple):
    """Where a row is: position of its file, number in it."""

    file: int
    row: int


class AseLmdb:
    """Rows of ASE-LMDB files, read through ASE's own back end, which decodes JSON and unpickles nothing.

    Parameters
    ----------
    paths
        The files. A row's id is the name of the folder, of the file and its number: ``rattled-relax/data.0000/17``.

    Raises
    ------
    SourceError
        A file is damaged, or two have the same name.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        by_name: dict[str, Path] = {}
        for path in paths:
            name = f"{path.parent.name}/{path.stem}"
            if name in by_name:
                raise SourceError(f"{path}: is the same as {by_name[name]} (an archive beside what was unpacked?)")
            by_name[name] = path
        self.names = sorted(by_name)
        self.paths = [by_name[name] for name in self.names]
        self.places: dict[str, RowAddress] = {}
        """Where each id is, in order."""
        for number, (name, path) in enumerate(zip(self.names, self.paths, strict=True)):
            for row in _rows_in(path):
                self.places[f"{name}/{row}"] = RowAddress(number, row)

    @classmethod
    def open(cls, files: FileSet, sources: Sources) -> AseLmdb:
        """Open files and archives of files."""
        paths: list[Path] = []
        for path in files.paths:
            paths += sources.unpack(path, "*.aselmdb") if path.name.endswith(".tar.gz") else [path]
        return cls(paths)

    def read(self, one: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Columns of the item with this id, and what its authors noted beside it.

        Raises
        ------
        DroppedError
            It has no energy.
        SourceError
            The row is damaged.
        """
        import zlib

        import lmdb

        place = self.places[one]
        path = self.paths[place.file]
        try:
            row = _connect(str(path), os.getpid())._get_row(place.row)  # `get(id=...)` is this, behind a parser
            noted = row.data if isinstance(row.data, Mapping) else {}
            energy = row.get("energy")
            if energy is None:
                raise DroppedError("no energy")
            return structure(
                one,
                row.numbers.tolist(),
                row.positions.tolist(),
                row.cell.tolist(),
                row.pbc.tolist(),
                float(energy),
                charge=int(noted.get("charge", 0)),
                spin=int(noted.get("spin", 1)),
            ), dict(noted)
        except (lmdb.Error, zlib.error, KeyError, ValueError, TypeError, AttributeError) as error:
            raise SourceError(f"{path}: row {place.row} can't be read: {type(error).__name__}: {error}") from error


def structure(
    one: str,
    numbers: list[int],
    positions: list[list[float]],
    cell: list[list[float]],
    pbc: list[bool],
    energy: float,
    *,
    charge: int = 0,
    spin: int = 1,
) -> dict[str, Any]:
    """Columns of :data:`consilience.building.schemas.STRUCTURES`."""
    from ase.data import chemical_symbols

    return {
        "id": one,
        "numbers": numbers,
        "positions": positions,
        "cell": cell,
        "pbc": pbc,
        "energy": energy,
        "charge": charge,
        "spin": spin,
        "formula": hill(Counter(chemical_symbols[number] for number in numbers)),
        "n_atoms": len(numbers),
    }


@lru_cache(maxsize=256)
def _connect(path: str, process: int) -> Any:
    """Open a file for reading, once in each process: LMDB forbids to carry an open file across a fork."""
    import ase.db

    return ase.db.connect(path, readonly=True, use_lock_file=False, readahead=False)


def _rows_in(path: Path) -> list[int]:
    """Numbers of the rows; closes the file again, so that processes forked later open it themselves."""
    import zlib

    import ase.db
    import lmdb

    try:
        _refuse_truncated(path)
        database = ase.db.connect(path, readonly=True, use_lock_file=False)
        rows = sorted(database.ids)
        database.close()
    except (lmdb.Error, zlib.error, ValueError, TypeError) as error:
        raise SourceError(f"{path}: is not an ASE-LMDB file, or damaged: {error}") from error
    return rows


def _refuse_truncated(path: Path) -> None:
    """Raise `SourceError` where pages are missing.

    LMDB maps the file into memory: reading a page beyond the end kills the process without a message. A sound file
    may be a few pages short too (they were set aside and never written), so one that looks short is read by a process
    that may die.
    """
    import lmdb

    environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
    page = environment.stat()["psize"]
    whole = (environment.info()["last_pgno"] + 1) * page
    environment.close()
    size = path.stat().st_size
    if size >= whole:
        return
    walk = (
        "import lmdb, sys\n"
        "environment = lmdb.open(sys.argv[1], subdir=False, readonly=True, lock=False)\n"
        "with environment.begin() as transaction:\n"
        "    read = sum(1 for _ in transaction.cursor())  # copies each value\n"
        "sys.exit(read != environment.stat()['entries'])\n"
    )
    command = [sys.executable, "-I", "-c", walk, str(path)]
    if size % page or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise SourceError(f"{path}: is truncated: {size:,} of {whole:,} bytes")


#: Columns of ColabFit's mirrors that we read.
MIRROR_COLUMNS = ("atomic_numbers", "positions", "cell", "pbc", "energy")


class Mirror:
    """Rows of a parquet mirror of ColabFit (one row per configuration).

    Parameters
    ----------
    files
        Its parquet files.
    also
        Further columns to read where a file has them.

    Raises
    ------
    SourceError
        A file is damaged.
    """

    def __init__(self, files: FileSet, also: Sequence[str] = ()) -> None:
        self.places: dict[str, RowAddress] = {}
        """Where each id (file and number of the row) is, in order."""
        self._paths = files.paths
        self._columns: list[list[str]] = []
        self._table: pa.Table | None = None
        self._at: dict[str, int] = {}
        for number, path in enumerate(self._paths):
            rows, present = _parquet(path)
            self._columns.append([*MIRROR_COLUMNS, *(name for name in also if name in present)])
            for row in range(rows):
                self.places[f"{path.stem}/{row}"] = RowAddress(number, row)

    def load(self, ids: Iterable[str]) -> None:
        """Read these rows, and keep them: from a column store, one row costs as much as thousands."""
        import pyarrow as pa

        rows_of_file: dict[int, list[int]] = {}
        ids = sorted(ids, key=self.places.__getitem__)
        for one in ids:
            place = self.places[one]
            rows_of_file.setdefault(place.file, []).append(place.row)
        tables = [parquet_rows(self._paths[file], self._columns[file], rows) for file, rows in rows_of_file.items()]
        self._table = pa.concat_tables(tables, promote_options="permissive") if tables else None
        self._at = {one: at for at, one in enumerate(ids)}

    def read(self, one: str) -> dict[str, Any]:
        """Return the row of an id that was loaded; raises `DroppedError` where it has no energy."""
        assert self._table is not None
        row: dict[str, Any] = self._table.slice(self._at[one], 1).to_pylist()[0]
        if row["energy"] is None:
            raise DroppedError("no energy")
        # One of the mirrors holds nested fields as JSON.
        return {name: json.loads(value) if _is_json(value) else value for name, value in row.items()}


def parquet_rows(path: Path, columns: Sequence[str], rows: Sequence[int] | None = None) -> pa.Table:
    """Columns of a parquet file: of all rows, or of some, by ascending number.

    Raises
    ------
    SourceError
        The file is damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            absent = [name for name in columns if name not in file.schema_arrow.names]
            if absent:
                raise SourceError(f"{path}: has no column {', '.join(absent)}")
            if rows is None:
                return file.read(columns=list(columns))
            tables, first = [], 0
            for group in range(file.num_row_groups):
                after = first + file.metadata.row_group(group).num_rows
                inside = [row - first for row in rows[bisect_left(rows, first) : bisect_left(rows, after)]]
                if inside:
                    tables.append(file.read_row_group(group, columns=list(columns)).take(inside))
                first = after
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path}: is not a parquet file, or damaged: {error}") from error
    return pa.concat_tables(tables)


def _parquet(path: Path) -> tuple[int, list[str]]:
    """Rows and columns of a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.metadata.num_rows, list(file.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path}: is not a parquet file, or damaged: {error}") from error


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("[", "{")
