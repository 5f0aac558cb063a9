"""Making a table from a draft, part by part; runs inside the recipe's environment.

A part is a parquet file of a few thousand rows, written whole or not at all. A killed build leaves its parts behind,
and the next one makes only those that are missing.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consilience.cards import DatasetCard
from consilience.checks import TOO_CLOSE, Contacts, sequence_fault, structure_fault

from .draft import Draft, DroppedError

#: Rows of a part.
PART = 4096
_BACKBONE = "backbone.list.element.list.element.list.element"
#: Larger tables are packed less hard: the last tenth would take minutes.
SMALL = 10_000

_draft: Draft | None = None  # of the processes forked for a build: a draft's `row` is a closure, which no pipe carries


@dataclass(frozen=True)
class Made:
    """A finished table and its counts."""

    path: Path
    items: int
    sha256: str
    dropped: dict[str, int]
    """Items left out, by reason."""
    duplicates: dict[str, int]
    """Items that share a label with an earlier one, by label: kept, but told."""


def make_table(
    draft: Draft, card: DatasetCard, folder: Path, code: str, progress: Callable[[int, int], None] = lambda *_: None
) -> Made:
    """Make the table of a draft as ``folder/NAME.parquet``.

    Parameters
    ----------
    draft
        What the recipe handed over.
    card
        The data set's card.
    folder
        Where parts and the table are written.
    code
        Hash of the recipe: parts of another one are not used.
    progress
        Called with (items done, items in all).

    Raises
    ------
    ValueError
        No item is left, ids are not unique, or the table does not hold as many items as its card says.
    """
    metadata_json = json.dumps(dict(draft.metadata), sort_keys=True)
    inputs = f"{code}/{card.name}/{len(draft.keys)}/{PART}/{metadata_json}"
    fingerprint = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    parts = folder / f"parts-{fingerprint}"
    parts.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(draft.keys), PART)
    done = sum(min(PART, len(draft.keys) - start) for start in starts if _path(parts, start).is_file())
    progress(done, len(draft.keys))
    with _rows(draft, card.contacts) as rows_of:
        for start in starts:
            path = _path(parts, start)
            if path.is_file():
                continue
            rows, reasons = [], []
            for row, reason in rows_of(draft.keys[start : start + PART]):
                rows += [row] if row is not None else []
                reasons += [reason] if reason is not None else []
                done += 1
                progress(done, len(draft.keys))
            table = pa.Table.from_pylist(rows, schema=draft.schema)
            left_out = {"dropped": json.dumps(Counter(reasons))}
            pq.write_table(table.replace_schema_metadata(left_out), temporary := path.with_suffix(".part"))
            temporary.replace(path)
    dropped = Counter(draft.dropped)
    tables = []
    for start in starts:
        table = pq.read_table(_path(parts, start))
        dropped.update(json.loads((table.schema.metadata or {}).get(b"dropped", b"{}")))
        tables.append(table.cast(draft.schema).replace_schema_metadata(None))
    whole = pa.concat_tables(tables).combine_chunks() if tables else draft.schema.empty_table()
    whole = whole.replace_schema_metadata(dict(draft.metadata) or None)
    if not len(whole):
        why = "; ".join(f"{reason}: {count:,}" for reason, count in dropped.most_common())
        raise ValueError(f"{card.name}: no item is left" + (f" ({why})" if why else ""))
    _expect_items(whole, card)
    path = folder / f"{card.name}.parquet"
    write(whole, path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for old in folder.glob("parts-*/*"):
        old.unlink()
    for empty in folder.glob("parts-*"):
        empty.rmdir()
    return Made(path, len(whole), digest, dict(dropped.most_common()), _duplicates(whole))


def write(table: pa.Table, path: Path) -> None:
    """Write a table with every setting that touches the bytes spelled out."""
    names = {field.name for field in table.schema}
    dictionary = ["formula", "scaffold", "prototype", "metals", "length_bin", "reduced_formula", "matched_group"]
    pq.write_table(
        table,
        path,
        row_group_size=SMALL,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=19 if len(table) <= SMALL else 3,
        use_dictionary=[*(names & set(dictionary)), "numbers.list.element", _BACKBONE],
        use_byte_stream_split=["positions.list.element.list.element", "energy"],  # a third smaller
        write_statistics=False,
        store_schema=True,
    )


class _rows:
    """Make rows in as many processes as there are cores, in order; in this one where processes can't be forked."""

    def __init__(self, draft: Draft, contacts: Contacts) -> None:
        global _draft  # noqa: PLW0603  (what forked processes see)
        _draft = draft
        self._row = partial(_row, contacts=contacts)
        forking = "fork" in multiprocessing.get_all_start_methods() and len(draft.keys) > PART
        self._pool = multiprocessing.get_context("fork").Pool(os.cpu_count()) if forking else None

    def __enter__(self) -> Callable[[Any], Iterator[tuple[dict[str, Any] | None, str | None]]]:
        if self._pool is None:
            return lambda keys: map(self._row, keys)
        pool = self._pool
        return lambda keys: pool.imap(self._row, keys, chunksize=64)

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.terminate()


def _row(key: Any, contacts: Contacts) -> tuple[dict[str, Any] | None, str | None]:
    """Row of a key, or why there is none: the recipe's own reason, or what the gates found."""
    assert _draft is not None
    try:
        row = _draft.row(key)
    except DroppedError as dropped:
        return None, str(dropped)
    fault = None
    if "numbers" in row:
        fault = structure_fault(row["numbers"], row["positions"], row["cell"], row["pbc"], contacts=contacts)
    if fault is None and "sequence" in row:
        fault = sequence_fault(row["sequence"])
    if fault is None:
        return row, None
    if " Angstrom apart, " in fault[1]:
        return None, TOO_CLOSE[contacts]
    # Without its figures, so that items with the same fault are counted together.
    return None, f"{fault[0]}: " + re.sub(r"-?\d+(\.\d+)?", "#", fault[1])


def _path(parts: Path, start: int) -> Path:
    return parts / f"{start:09d}.parquet"


def _expect_items(table: pa.Table, card: DatasetCard) -> None:
    ids = table["id"].to_pylist()
    if len(set(ids)) != len(ids):
        twice = [one for one, count in Counter(ids).items() if count > 1]
        raise ValueError(f"{card.name}: ids are not unique, {twice[0]!r} for one")
    if card.items is not None and len(ids) != card.items:
        raise ValueError(f"{card.name}: {len(ids)} items were made, its card says {card.items}")


def _duplicates(table: pa.Table) -> dict[str, int]:
    """How many items share their SMILES, sequence or structure with an earlier one."""
    repeats = {}
    for label in ("smiles", "sequence"):
        if label in table.column_names:
            values = [value for value in table[label].to_pylist() if value]
            repeats[label] = len(values) - len(set(values))
    if "positions" in table.column_names:
        columns = [table[name].to_pylist() for name in ("numbers", "positions", "cell")]
        hashes = [hashlib.sha256(repr(row).encode()).digest() for row in zip(*columns, strict=True)]
        repeats["structure"] = len(hashes) - len(set(hashes))
    return {label: count for label, count in repeats.items() if count}


def build(job: dict[str, Any], say: Callable[..., None]) -> None:
    """Carry out the job of building one data set (see :func:`consilience.building.build.build_dataset`)."""
    from consilience.registry import load_dataset_file

    from .sources import Sources

    entry = load_dataset_file(Path(job["recipe_file"]), job["dataset"])
    assert entry.recipe is not None
    local = Path(job["local"]) if job.get("local") else None
    sources = Sources(Path(job["sources"]), tell=lambda line: say("stage", text=line), local=local)
    draft = entry.recipe(entry.card, sources)
    last = [0.0]

    def progress(done: int, total: int) -> None:
        now = time.monotonic()
        if now - last[0] > 0.1 or done == total:
            last[0] = now
            say("progress", done=done, total=total)

    say("stage", text=f"making {len(draft.keys):,} items")
    made = make_table(draft, entry.card, Path(job["folder"]), job["code"], progress)
    say("made", **asdict(made) | {"path": str(made.path), "sources": sources.used})
