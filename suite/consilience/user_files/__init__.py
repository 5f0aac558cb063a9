"""A user's own data: files of structures, SMILES or sequences, read as data sets.

The content of a file determines the views: structures give the view ``atoms``, SMILES the view ``smiles``,
FASTA the view ``sequence``, protein structures (PDB, mmCIF) the views ``sequence`` and ``backbone``. The first item
that can't be used stops the reading with one line that names it (:class:`.checks.MalformedDataError`); nothing is
written anywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.cards import DatasetCard
from consilience.checks import MalformedDataError, ids_fault
from consilience.datasets.items import Items
from consilience.registry import DatasetEntry, add_dataset, list_datasets

from .chains import PROTEINS, is_protein, read_proteins
from .parquet import read_parquet
from .reading import Read, stem
from .strings import read_fasta, read_smiles
from .structures import read_structures

if TYPE_CHECKING:
    import pyarrow as pa

_SMILES = (".smi", ".smiles", ".csv", ".tsv")
_FASTA = (".fasta", ".fa", ".faa")
_STRUCTURES = (".xyz", ".extxyz", ".cif", ".db", ".json", ".traj", ".vasp", ".poscar", ".sdf", ".mol", ".res", ".gen")
_IN_FOLDERS = {*PROTEINS, *_STRUCTURES} - {".json", ".db"}  # those may be notes about the others
_VASP = ("POSCAR", "CONTCAR")
#: What makes a word a file name; other files that ASE knows are read too when they are there.
SUFFIXES = frozenset({".parquet", *_SMILES, *_FASTA, *PROTEINS, *_STRUCTURES})
#: Reading these can run code.
_PICKLES = (".pkl", ".pckl", ".pickle", ".pt", ".pth", ".joblib", ".py")


def is_path(text: str) -> bool:
    """Whether a data set is named by a path: by what it looks like, or because it is there and no data set."""
    path = Path(text)
    if "/" in text or os.sep in text or any(suffix.lower() in SUFFIXES for suffix in path.suffixes):
        return True
    return path.exists() and text not in list_datasets()


def dataset_name(text: str) -> str:
    """Name of the data set that a user means: a path is registered as one, any other word is the name itself.

    Raises
    ------
    FileNotFoundError
        It looks like a path, but there is nothing.
    MalformedDataError
        The file can't be used.
    """
    return register_file(text) if is_path(text) else text


def register_file(path: str | Path) -> str:
    """Register a user's file (or folder) as a data set, for this process, and return its name.

    The name is that of the file without its suffix; where another data set has it, ``-file`` is appended.
    """
    path = Path(path)
    where = path.resolve()
    entries = list_datasets()
    name = slug = _slug(where)
    number = 1
    while name in entries and entries[name].path != where:
        name = f"{slug}-file" + (f"-{number}" if number > 1 else "")
        number += 1
    if name not in entries:
        items = open_file(path, name)
        add_dataset(DatasetEntry(items.card, lambda: _dataset(items._table), where))
    return name


def open_file(path: str | Path, name: str | None = None) -> Items:
    """Read a file of structures, SMILES or sequences, or a folder of structures or proteins.

    Parameters
    ----------
    path
        ``.extxyz``, ``.parquet`` (columns named as in the suite's own data sets), ``.smi``, ``.csv`` and ``.tsv``
        (with a column of SMILES), ``.fasta``, ``.pdb``, ``.cif``, or any other file whose structures `ase.io` reads;
        a folder of ``.cif``, ``.pdb`` and other structure files.
    name
        Name of the data set; by default the file's, without its suffix.

    Raises
    ------
    FileNotFoundError
        There is nothing at `path`.
    MalformedDataError
        The file, or an item of it, can't be used.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    if path.is_file() and path.stat().st_size == 0:
        raise MalformedDataError(path, "the file is empty")
    read = _reader(path)(path)
    n = read.table.num_rows
    fault = ids_fault(read.table["id"].to_pylist())
    if fault:
        raise MalformedDataError(path, fault[1], row=fault[0], column="id")
    # Only its own name: where a file lies on somebody's disk is no business of a board.
    digest = f", SHA-256 {_sha256(path)}" if path.is_file() else ""
    card = DatasetCard(
        name=name or _slug(path.resolve()),
        title=f"{n:,} {read.matter}{'s' if n != 1 else ''} of {path.resolve().name}",
        matter=read.matter,
        views=read.views,
        items=n,
        energy=read.energy,
        strata=("formula", "n_atoms") if "atoms" in read.views else (),
        licence="LicenseRef-unstated",
        citation="none: a user's own file",
        source=path.resolve().name + digest,
        recipe="none",
        selection=read.selection,
    )
    return Items(card, read.table)


def _reader(path: Path) -> Callable[[Path], Read]:
    """Function that reads the file; raises if its format is refused."""
    suffix = path.suffix.lower()
    if path.is_dir():
        return _read_folder
    if suffix in _PICKLES or _is_pickle(path):
        raise MalformedDataError(path, "reading this format can run code: write the structures as extxyz or parquet")
    if suffix == ".parquet":
        return read_parquet
    if suffix in _SMILES:
        return read_smiles
    if suffix in _FASTA:
        return read_fasta
    return read_proteins if is_protein(path) else read_structures


def _read_folder(path: Path) -> Read:
    files = sorted(
        one
        for one in path.iterdir()
        if one.is_file() and (one.suffix.lower() in _IN_FOLDERS or one.name.startswith(_VASP))
    )
    if not files:
        raise MalformedDataError(path, "the folder holds no structure files (.cif, .pdb, .xyz, ...)")
    proteins = [is_protein(one) for one in files]
    if any(proteins) and not all(proteins):
        stranger = files[proteins.index(False)]
        raise MalformedDataError(stranger, f"holds no protein, but {files[proteins.index(True)].name} does")
    return read_proteins(path, files) if any(proteins) else read_structures(path, files)


def _slug(path: Path) -> str:
    return re.sub(r"[^a-z0-9.+_-]+", "-", stem(path).lower()).strip("-._+")[:70] or "items"


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as pickles of protocol 2 and later do."""
    with path.open("rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == 0x80 and start[1] in range(2, 6)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dataset(table: pa.Table) -> Any:
    import datasets

    return datasets.Dataset(datasets.table.InMemoryTable(table))
