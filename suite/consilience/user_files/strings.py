"""Text files of SMILES and of sequences."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from consilience.bounds import MOST_COLUMNS, MOST_LINE
from consilience.checks import MalformedDataError, sequence_fault, smiles_fault

from .reading import NAMES, Read, ids_of

_SMILES_COLUMNS = ("smiles", "canonical_smiles")


def read_smiles(path: Path) -> Read:
    """Read SMILES: one a line with an optional name behind it, or a column of a table."""
    import pyarrow as pa

    rows = _lines(path, _delimited if path.suffix.lower() in (".csv", ".tsv") else _smi)
    smiles = []
    stated = []
    for line, row in rows:
        if fault := smiles_fault(row["smiles"]):
            raise MalformedDataError(path, fault[1], row=line, column=row["column"], unit="line")
        smiles.append(row["smiles"].strip())
        stated.append(row)
    if not smiles:
        raise MalformedDataError(path, "there are no SMILES in it")
    return Read(pa.table({"id": ids_of(path, stated), "smiles": smiles}), "molecule", ("id", "smiles"))


def _smi(path: Path, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """One SMILES a line, a name behind it; a heading is skipped."""
    for line, text in enumerate(file, 1):
        words = text.split(maxsplit=1)
        if words and not (line == 1 and words[0].lower() in _SMILES_COLUMNS):
            yield line, {"smiles": words[0], "name": words[1] if len(words) > 1 else None, "column": "smiles"}


def _delimited(path: Path, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table with a heading."""
    reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    heading = list(reader.fieldnames or ())
    if len(heading) > MOST_COLUMNS:
        reason = f"{len(heading):,} columns, at most {MOST_COLUMNS:,} are read"
        raise MalformedDataError(path, reason, row=1, unit="line")
    lowered = [name.strip().lower() for name in heading]
    column = next((heading[lowered.index(name)] for name in _SMILES_COLUMNS if name in lowered), None)
    if column is None:
        expected = f"no column of SMILES ({' or '.join(_SMILES_COLUMNS)}); there are {', '.join(heading)}"
        raise MalformedDataError(path, expected, row=1, column="smiles", unit="line")
    names = {name: heading[lowered.index(name)] for name in NAMES if name in lowered}
    for row in reader:
        yield reader.line_num, {"smiles": row[column], "column": column, **{k: row[v] for k, v in names.items()}}


def read_fasta(path: Path) -> Read:
    """Read protein sequences; the first word of each title is the id."""
    import pyarrow as pa

    sequences: list[str] = []
    stated: list[dict[str, Any]] = []
    for line, row in _lines(path, _fasta):
        if fault := sequence_fault(row["sequence"]):
            raise MalformedDataError(path, fault[1], row=line, column=fault[0], unit="line")
        sequences.append(row["sequence"])
        stated.append(row)
    if not sequences:
        raise MalformedDataError(path, "there are no sequences in it")
    return Read(pa.table({"id": ids_of(path, stated), "sequence": sequences}), "protein", ("id", "sequence"))


def _fasta(path: Path, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sequences with the line of their heading; a closing asterisk (the stop codon) is left out."""
    began, name, parts = 0, None, list[str]()
    for line, text in enumerate(file, 1):
        text = text.strip()
        if text.startswith(">"):
            if began:
                yield began, {"name": name, "sequence": "".join(parts).upper().removesuffix("*")}
            began, name, parts = line, next(iter(text[1:].split()), None), []
        elif text and not began:
            raise MalformedDataError(path, "a FASTA file begins with '>'", row=line, column="sequence", unit="line")
        else:
            parts.append("".join(text.split()))
    if began:
        yield began, {"name": name, "sequence": "".join(parts).upper().removesuffix("*")}


def _lines(
    path: Path, read: Callable[[Path, Any], Iterator[tuple[int, dict[str, Any]]]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from read(path, bounded_lines(path, file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedDataError(path, f"not a text file: {error}") from error


def bounded_lines(path: Path, file: TextIO) -> Iterator[str]:
    """Lines of a text file; one that is longer than any item is refused before it is read to its end."""
    number = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        if len(line) > MOST_LINE:
            reason = f"has more than {MOST_LINE:,} characters: one item a line is expected"
            raise MalformedDataError(path, reason, row=number, unit="line")
        yield line
