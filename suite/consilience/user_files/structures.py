"""Files of molecules and crystals, through ASE (SDF: through RDKit)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from consilience.bounds import MOST_ATOMS, expands_too_far, too_large
from consilience.cards import Label, View
from consilience.checks import MalformedDataError, smiles_fault, structure_fault

from .apart import read_apart
from .reading import Read, ids_of, stem

if TYPE_CHECKING:
    import pyarrow as pa

_ENERGY = Label(name="energy", unit="eV", description="energy as the file states it")
#: Of a structure, as in the suite's own data sets.
COLUMNS = ("numbers", "positions", "cell", "pbc", "charge", "spin", "formula", "n_atoms")
#: Formats that are read in this process: what they announce is held against what is there. ASE's other readers take
#: a file at its word, and run in a process with limits.
_CHECKED = frozenset({"cif", "extxyz", "proteindatabank"})


#: A comment line that may announce many columns.
_WIDE = re.compile(r":\s*\d{4}")


class Structure(NamedTuple):
    """One structure as read, nothing of it checked."""

    numbers: Any
    positions: Any
    cell: Any
    pbc: Any
    stated: dict[str, Any]
    """What else the file says: id, smiles, charge, spin, energy."""


def read_structures(path: Path, files: list[Path] | None = None) -> Read:
    """Read all structures of a file, or of the files of a folder, whose names are then the ids."""
    if files is None:
        return structures_table(path, ((path, row, one) for row, one in enumerate(iterate_structures(path), 1)))

    def every_file() -> Iterator[tuple[Path, int, Structure]]:
        apart = _read_apart([file for file in files if file.suffix.lower() != ".sdf"])
        for file in files:
            inside = list(enumerate(apart[file] if file in apart else iterate_structures(file), 1))
            if not inside:
                raise MalformedDataError(file, "there are no structures in it")
            for row, one in inside:
                one.stated["id"] = stem(file) if len(inside) == 1 else f"{stem(file)}-{row}"
                yield file, row, one

    return structures_table(path, every_file())


def iterate_structures(path: Path) -> Iterator[Structure]:
    """Structures of one file, through ASE (RDKit for SDF, of which ASE reads the first molecule only)."""
    if path.suffix.lower() == ".sdf":
        read = _iterate_sdf(path)
    elif apart := _read_apart([path]):
        read = iter(apart[path])
    else:
        read = _iterate_ase(path)
    row = 1
    try:
        for one in read:
            yield one
            row += 1
    except MalformedDataError:
        raise
    except KeyError as error:  # what ASE's table of elements raises
        symbol = error.args[0] if error.args else ""
        raise MalformedDataError(path, f"unknown element {symbol!r}", row=row, column="numbers") from error
    except Exception as error:  # dozens of readers, each of which fails in its own way
        raise MalformedDataError(path, f"{type(error).__name__}: {error}", row=row) from error


def _read_apart(files: Iterable[Path]) -> dict[Path, list[Structure]]:
    """Structures of those files whose format is not checked before it is read."""
    kinds = {file: _format_of(file) for file in files}
    unchecked = {file: kind for file, kind in kinds.items() if kind not in _CHECKED}
    return {file: [Structure(*one) for one in content] for file, content in read_apart(unchecked).items()}


def _format_of(path: Path) -> str:
    """Name of ASE's format of a file; a compressed one is expanded within bounds first."""
    from ase.io import formats

    try:
        if expands_too_far(path):
            raise MalformedDataError(path, too_large(path))
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, MalformedDataError):
            raise
        raise MalformedDataError(path, f"not a whole {path.suffix[1:]} file: {error}") from error
    try:
        kind = str(formats.filetype(str(path.resolve())))
        ase_format = formats.get_ioformat(kind)
    except formats.UnknownFileTypeError as error:
        raise MalformedDataError(path, "not a format that ase.io knows") from error
    except Exception as error:  # it looks into the file
        raise MalformedDataError(path, f"{type(error).__name__}: {error}") from error
    if not ase_format.can_read:
        raise MalformedDataError(path, f"ase.io can't read the format {kind}")
    return kind


def _iterate_ase(path: Path) -> Iterator[Structure]:
    from ase.io import formats, iread

    kind = _format_of(path)
    source: Any = str(path.resolve())
    if kind == "extxyz":  # its reader jumps back to each frame: in a compressed file, from the start each time
        with formats.open_with_compression(source, "r") as file:
            text = file.read()
        _check_frames(path, text)
        source = io.StringIO(text)
    for atoms in iread(source, ":", format=kind, do_not_split_by_at_sign=True):
        stated = dict(atoms.info)
        results = atoms.calc.results if atoms.calc is not None else {}
        if results.get("energy") is not None:
            stated["energy"] = results["energy"]
        yield Structure(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, stated)


def _check_frames(path: Path, text: str) -> None:
    """Hold the atoms and columns that each frame of an xyz file announces against the lines that are there."""
    lines = text.split("\n")
    place, row = 0, 1
    while place < len(lines) and lines[place].strip():
        count_line = lines[place].strip()
        if not count_line.isdecimal():
            reason = f"line {place + 1} should be a number of atoms, found {count_line[:40]!r}"
            raise MalformedDataError(path, reason, row=row, column="numbers")
        left = len(lines) - place - 2
        atoms = int(count_line) if len(count_line) < 10 else MOST_ATOMS + 1
        if atoms > MOST_ATOMS or atoms > left:
            reason = f"line {place + 1} announces {count_line[:20]} atoms, "
            reason += f"{max(left, 0):,} lines follow" if atoms > left else f"at most {MOST_ATOMS:,} are read"
            raise MalformedDataError(path, reason, row=row, column="numbers")
        if _WIDE.search(lines[place + 1]):
            _check_columns(
                path, lines[place + 1], max((len(line) for line in lines[place + 2 :][:atoms]), default=0), row
            )
        place += atoms + 2
        while lines[place : place + 1] and lines[place].startswith("VEC"):
            place += 1
        row += 1


def _check_columns(path: Path, comment: str, width: int, row: int) -> None:
    """Refuse columns of which a line of so many characters can't hold the half."""
    from ase.io.extxyz import key_val_str_to_dict

    properties = str(key_val_str_to_dict(comment).get("Properties", "")).split(":")
    columns = sum(int(count) for count in properties[2::3] if count.strip().isdecimal())
    if columns > width:
        reason = f"Properties announces {columns:,} columns, the longest line has {width:,} characters"
        raise MalformedDataError(path, reason, row=row, column="Properties")


def _iterate_sdf(path: Path) -> Iterator[Structure]:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        for row, mol in enumerate(Chem.SDMolSupplier(str(path), sanitize=False, removeHs=False), 1):
            if mol is None or not mol.GetNumConformers():
                raise MalformedDataError(path, "RDKit reads no molecule with positions", row=row)
            stated = {key.lower(): value for key, value in mol.GetPropsAsDict().items()}
            stated = {"id": mol.GetProp("_Name"), "charge": Chem.GetFormalCharge(mol), **stated}
            numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
            yield Structure(numbers, mol.GetConformer().GetPositions(), np.zeros((3, 3)), [False] * 3, stated)


def structures_table(
    path: Path, structures: Iterable[tuple[Path, int, Structure]], extra: pa.Table | None = None
) -> Read:
    """Check structures one after another and put them into a table with the suite's columns, and those of `extra`."""
    import pyarrow as pa
    from ase.symbols import Symbols

    columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, "smiles", "energy")}
    stated: list[dict[str, Any]] = []
    periodic: bool | None = None
    for file, row, one in structures:
        smiles = one.stated.get("smiles")
        fault = structure_fault(*one[:4]) or (None if smiles is None else smiles_fault(str(smiles)))
        if fault:
            raise MalformedDataError(file, fault[1], row=row, column=fault[0])
        if periodic is None:
            periodic = bool(np.any(one.pbc))
        if periodic != bool(np.any(one.pbc)):
            here, first = ("does not repeat", "does") if periodic else ("repeats", "does not")
            reason = f"this item {here}, the first {first}: crystals and molecules go into two files"
            raise MalformedDataError(file, reason, row=row, column="pbc")
        numbers = np.asarray(one.numbers).astype(int)
        charge, spin = _charge_and_spin(file, row, one.stated, numbers, periodic)
        values = (numbers, np.asarray(one.positions), np.asarray(one.cell), np.asarray(one.pbc).astype(bool))
        for name, value in zip(COLUMNS, values, strict=False):
            columns[name].append(value.tolist())
        columns["charge"].append(charge)
        columns["spin"].append(spin)
        columns["formula"].append(Symbols(numbers).get_chemical_formula("hill"))
        columns["n_atoms"].append(len(numbers))
        columns["smiles"].append(smiles)
        columns["energy"].append(_energy(file, row, one.stated))
        stated.append(one.stated)
    if not stated:
        raise MalformedDataError(path, "there are no structures in it")
    arrays = {"id": pa.array(ids_of(path, stated), pa.string())}
    arrays |= {name: pa.array(columns[name], kind) for name, kind in _types().items()}
    views: tuple[View, ...] = ("id", "atoms")
    if None not in columns["smiles"]:
        arrays["smiles"] = pa.array(map(str, columns["smiles"]), pa.string())
        views = ("id", "smiles", "atoms")
    labelled = None not in columns["energy"]
    if labelled:
        arrays["energy"] = pa.array(columns["energy"], pa.float64())
    table = pa.table(arrays)
    if extra is not None:
        for name in extra.column_names:
            if name not in table.column_names:
                table = table.append_column(name, extra[name])
    return Read(table, "crystal" if periodic else "molecule", views, _ENERGY if labelled else None)


def _types() -> dict[str, Any]:
    """Arrow types of a structure's columns: the suite's, a little wider."""
    import pyarrow as pa

    triple = pa.list_(pa.float64(), 3)
    kinds = (pa.list_(pa.uint8()), pa.list_(triple), pa.list_(triple, 3), pa.list_(pa.bool_(), 3))
    return dict(zip(COLUMNS, (*kinds, pa.int16(), pa.uint16(), pa.string(), pa.uint32()), strict=True))


def _charge_and_spin(file: Path, row: int, stated: dict[str, Any], numbers: Any, periodic: bool) -> tuple[int, int]:
    """Charge and multiplicity: as stated, else 0 and the lowest that the number of electrons allows."""

    def whole(name: str) -> int | None:
        value = stated.get(name)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = np.nan
        if not number.is_integer():
            raise MalformedDataError(file, f"{value!r} is no whole number", row=row, column=name)
        return int(number)

    charge = whole("charge") or 0
    name = "spin" if "spin" in stated else "multiplicity"
    spin = whole(name)
    if spin is None:  # of a crystal's cell it says nothing, and the suite's own crystals have 1
        spin = 1 if periodic else 1 + int(numbers.sum() - charge) % 2
    if not 1 <= spin < 1000:
        raise MalformedDataError(file, f"{spin} is no multiplicity (2S + 1)", row=row, column=name)
    if abs(charge) > 1000:
        raise MalformedDataError(file, f"{charge} is no charge", row=row, column="charge")
    return charge, spin


def _energy(file: Path, row: int, stated: dict[str, Any]) -> float | None:
    value = stated.get("energy")
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise MalformedDataError(file, f"{value!r} is no energy", row=row, column="energy")
    return number
