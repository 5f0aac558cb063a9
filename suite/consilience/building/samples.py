"""Samples of large collections: of ASE-LMDB files that a user downloads, and of ColabFit's parquet mirrors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .draft import Draft, choose
from .formats import PATTERNS, AseLmdb, Mirror, RowAddress, structure

if TYPE_CHECKING:
    import pyarrow as pa

    from .sources import Sources


def sample_of_archives(
    sources: Sources,
    what: str,
    row: Callable[[str, dict[str, Any], dict[str, Any]], dict[str, Any]],
    schema: pa.Schema,
    *,
    hint: str,
    count: int,
    seed: str,
    check: Callable[[AseLmdb], None] = lambda database: None,
) -> Draft:
    """Sample of the structures in ASE-LMDB files of a folder, ordered by file and number.

    Parameters
    ----------
    sources
        Where files come from.
    what
        Name of the collection, for messages.
    row
        Makes the row of an id from its structure and what else is noted with it.
    schema
        Columns of the rows.
    hint
        How to obtain the files.
    count, seed
        Size of the sample, and the seed of its draw.
    check
        Raises `SourceError` where the files are of another collection.
    """
    files = sources.files(what, PATTERNS, hint=hint)
    database = AseLmdb.open(files, sources)
    check(database)
    keys = _sample(database.places, count, seed)
    return Draft(schema, keys, lambda one: row(one, *database.read(one)), metadata={"source": files.origin})


def sample_of_mirror(
    sources: Sources,
    repository: str,
    row: Callable[[str, dict[str, Any]], dict[str, Any]],
    schema: pa.Schema,
    *,
    count: int,
    seed: str,
    also: Sequence[str] = (),
) -> Draft:
    """Sample of the rows of one of ColabFit's mirrors on the hub, ordered by file and number.

    Parameters
    ----------
    sources
        Where files come from.
    repository
        Name of the mirror on the hub.
    row
        Makes the row of an id from the row of the mirror; `structure_of` has its structure.
    schema
        Columns of the rows.
    count, seed
        Size of the sample, and the seed of its draw.
    also
        Columns of the mirror to read besides the structure.
    """
    files = sources.hub(repository, ["co/co_*.parquet"])
    mirror = Mirror(files, also=also)
    keys = _sample(mirror.places, count, seed)
    mirror.load(keys)
    return Draft(schema, keys, lambda one: row(one, mirror.read(one)), metadata={"source": files.origin})


def structure_of(one: str, mirrored: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Structure in a row of a mirror; `more` as for `structure`."""
    return structure(
        one, *(mirrored[name] for name in ("atomic_numbers", "positions", "cell", "pbc", "energy")), **more
    )


def _sample(places: Mapping[str, RowAddress], count: int, seed: str) -> list[str]:
    return sorted(choose(places, count, seed=seed), key=places.__getitem__)
