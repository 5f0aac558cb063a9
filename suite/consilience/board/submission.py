"""Submissions: the archive that the author of a model hands to the publisher of a board.

A submission is one zip file about one target: per data set the embedding and the record, the card, the text of the
author's target file, and a manifest with the SHA-256 of each: against damage, since who forges a file can forge its
checksum. :mod:`.packing` writes it, :mod:`.receiving` verifies it and puts it on a board. Reading it runs, unpickles
and unpacks nothing.
"""

from __future__ import annotations

import errno
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from consilience._moved import moved_names
from consilience.bounds import parse_json
from consilience.cards import Card, FrozenModel, Name, Sha256, is_twin
from consilience.embedding.store import Embedding
from consilience.records.migrations import read_record
from consilience.records.schema import refuse_newer, validated
from consilience.registry import Target

from .board import result_path

SUBMISSION_VERSION: Literal[1] = 1
#: All that an archive may hold, unpacked: it is read into memory.
MOST_BYTES = 2**31
MOST_TEXT = 2**24
MOST_FILES = 200
#: Columns of an embedding.
MOST_COLUMNS = 2**16
#: What an embedding's file may hold beside its arrays: so many bytes, and so many per item (its id, a reason).
_HEADER, _HEADER_OF_ITEM = 2**20, 2**10
#: Names that an archive may hold: no path of any other form is ever looked at.
_NAMES = re.compile(
    r"(manifest|card)\.json|records/[a-z0-9][a-z0-9.+_-]*\.json|embeddings/[a-z0-9][a-z0-9.+_-]*\.safetensors"
    r"|source/[A-Za-z0-9_.-]+\.py\.txt"
)
_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,79}(@[a-z0-9.+_-]{1,79})?")
#: What a card may say instead of a licence.
_NO_LICENCE = {"", "unknown", "none", "other", "tbd", "noassertion", "?"}


class Check(NamedTuple):
    """One line of the checklist of a submission."""

    what: str
    """What is asked for."""
    missing: str
    """Why it is not there; empty where it is."""


class Manifest(FrozenModel):
    """What a submission holds."""

    schema_version: Literal[1] = SUBMISSION_VERSION
    """Version of this schema."""
    suite_version: str
    """Version of consilience that packed it."""
    board: Name
    """Board that it is meant for."""
    target: str
    """Target."""
    created: str
    """UTC time."""
    weights: Literal["published", "file"]
    """Whether the weights are published ones or the author's file."""
    trusted: bool
    """Whether the author's file was read although it could run code."""
    datasets: tuple[Name, ...]
    """Data sets with a record."""
    dimension: int | None = Field(default=None, ge=1, le=MOST_COLUMNS)
    """Columns of the embeddings; with the items of the data sets it bounds their files."""
    packages: tuple[str, ...]
    """Packages of the target's environment."""
    files: dict[str, Sha256]
    """SHA-256 of every other file of the archive."""


def card_checks(card: Card, *, measured: bool = False) -> list[Check]:
    """Check a card for publication; `measured` where the embedding is yet to tell the dimension."""
    missing = [name for name in card.missing_for_publication() if not (measured and name == "dimension")]
    licences = {"licence_code": card.licence_code, "licence_weights": card.licence_weights}
    unknown = [name for name, text in licences.items() if text is not None and text.strip().casefold() in _NO_LICENCE]
    # These are printed on the board's page.
    odd = [text for text in (card.title or "", *(card.trained_on or ())) if re.search(r"[\x00-\x1f<>|`]", text)]
    return [
        Check("a card with all that a board states", ", ".join(missing)),
        Check("known licences", ", ".join(unknown)),
        Check("plain text on the board", "; ".join(map(repr, odd))),
    ]


def read_archive(path: Path, items: Callable[[str], int | None] | None = None) -> dict[str, bytes]:
    """Read a submission's files into memory.

    Parameters
    ----------
    path
        The zip file.
    items
        Number of items of a data set, None for one that is not known: no file is read that is larger than these need.

    Raises
    ------
    ValueError
        It is no zip file, damaged, too large, or holds what a submission does not hold.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES:,} bytes")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _refuse_odd(entries)
            _refuse_large(archive, entries, items)
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"not a whole zip file: {error}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # the disk's fault
            raise
        raise ValueError(f"not a whole zip file: {error}") from error  # it names places that there are not


def _refuse_odd(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse by the directory alone; `zipfile` never unpacks more of an entry than the directory says."""
    if len(entries) > MOST_FILES:
        raise ValueError(f"{len(entries)} files, at most {MOST_FILES} are taken")
    names = [entry.filename for entry in entries]
    for entry in entries:
        if not _NAMES.fullmatch(entry.filename):
            raise ValueError(f"holds {entry.filename!r}, which no submission does")
        if names.count(entry.filename) > 1:
            raise ValueError(f"holds {entry.filename!r} more than once")
        if not entry.filename.endswith(".safetensors") and entry.file_size > MOST_TEXT:
            raise ValueError(f"{entry.filename} has {entry.file_size:,} bytes, at most {MOST_TEXT:,} are taken")
    total = sum(entry.file_size for entry in entries)
    if total > MOST_BYTES:
        raise ValueError(f"{total:,} bytes unpacked, at most {MOST_BYTES:,} are taken")


def _refuse_large(
    archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], items: Callable[[str], int | None] | None
) -> None:
    """Refuse what no data set of the manifest accounts for, before it is read."""
    names = {entry.filename for entry in entries}
    if "manifest.json" not in names:
        return  # said where the manifest is asked for
    manifest = read_manifest({"manifest.json": archive.read("manifest.json")})
    columns = manifest.dimension
    if columns is None and "card.json" in names:  # packed by the first release
        columns = Card.model_validate_json(archive.read("card.json")).dimension
    for entry in entries:
        folder, _, name = entry.filename.partition("/")
        if folder not in ("records", "embeddings"):
            continue
        dataset = name.rpartition(".")[0]
        count = items(dataset) if items is not None else None
        if count is None and dataset not in manifest.datasets:
            raise ValueError(f"holds {entry.filename!r} of a data set that its manifest does not name")
        if folder == "records" or count is None:
            continue
        if columns is None or columns > MOST_COLUMNS:
            raise ValueError(f"its card and manifest state {columns} columns, expected 1 to {MOST_COLUMNS:,}")
        # Features (float32), energies (float64) and truncated shares (float32) of each item, and the header.
        most = count * (4 * columns + 8 + 4 + _HEADER_OF_ITEM) + _HEADER
        if entry.file_size > most:
            raise ValueError(
                f"{entry.filename} has {entry.file_size:,} bytes, {count:,} items with {columns} columns need at most "
                f"{most:,}"
            )


def read_manifest(files: dict[str, bytes]) -> Manifest:
    """Read the manifest of an archive's files; raises `ValueError` where there is none."""
    try:
        content = parse_json(files["manifest.json"])
        refuse_newer(content.get("schema_version"), SUBMISSION_VERSION)
        return validated(Manifest, content)
    except KeyError:
        raise ValueError("holds no manifest.json") from None
    except (AttributeError, RecursionError) as error:
        raise ValueError(f"manifest.json is not a manifest: {error}") from error


def sound(embedding: Embedding, n: int) -> None:
    """Refuse arrays that no target of this suite can have made.

    Raises
    ------
    ValueError
        A type or shape is another; a row is infinite, or undefined in part.
    """
    features = embedding.features
    if features.dtype != np.float32 or features.ndim != 2 or features.shape[0] != n or features.shape[1] < 1:
        raise ValueError(f"features are {features.dtype} {features.shape}, not float32 ({n}, d)")
    if np.isinf(features).any() or (np.isnan(features).any(axis=1) != np.isnan(features).all(axis=1)).any():
        raise ValueError("a row of the features is infinite, or undefined in part")
    if embedding.energies.dtype != np.float64 or embedding.energies.shape != (n,):
        raise ValueError(f"energies are {embedding.energies.dtype} {embedding.energies.shape}, not float64 ({n},)")
    cut = embedding.truncated
    if cut.shape not in ((n,), (0,)) or not ((cut >= 0) & (cut <= 1)).all():
        raise ValueError("truncated does not hold a share of each item")
    if not all(0 <= place < n for place in embedding.reasons):
        raise ValueError("reasons are given of items that there are not")


def bad_name(target: Target) -> str:
    """Say why a board can't show a target under its name; empty where it can."""
    if is_twin(target.name):
        return f"{target.name}: untrained twins are controls, which the board's spec names"
    return "" if _TARGET_NAME.fullmatch(target.name) else f"{target.name!r} has characters that are not allowed"


def taken(board: Path | None, target: Target, datasets: Sequence[str], card: Card | None = None) -> str:
    """Say by what else a name is taken on the board; empty where it is free, or is this very target."""
    card = card or target.card
    for dataset in datasets if board else ():
        path = result_path((board or Path()) / "results", dataset, target.name)
        if path.is_file():
            old = read_record(path).card
            told = [(one.family, one.weights_sha256, one.source, one.revision) for one in (old, card)]
            if told[0] != told[1]:
                return f"{target.name} is on the board with another card or other weights"
    return ""


__getattr__ = moved_names(
    __name__,
    {
        **dict.fromkeys(("complete_card", "pack"), "board.packing"),
        **dict.fromkeys(("Verified", "verify_submission", "add_submission"), "board.receiving"),
    },
)
