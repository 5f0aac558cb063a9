"""Code shared by the readers of users' files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from consilience.cards import Label, View

if TYPE_CHECKING:
    import pyarrow as pa

#: What the id of an item may be called.
NAMES = ("id", "name", "material_id")


class Read(NamedTuple):
    """Content of a file."""

    table: pa.Table
    matter: Literal["molecule", "crystal", "protein"]
    views: tuple[View, ...]
    energy: Label | None = None
    selection: str = "all items, in the order of the file"


def ids_of(path: Path, stated: list[dict[str, Any]]) -> list[str]:
    """Ids that the file states, where each item has another one; else the file's name and a number."""
    for name in NAMES:
        values = [one.get(name) for one in stated]
        ids = [" ".join(str(one).split()) for one in values if one is not None]
        if len(ids) == len(values) and all(ids) and len(set(ids)) == len(ids):
            return ids
    return [f"{stem(path)}-{row}" for row in range(1, len(stated) + 1)]


def stem(path: Path) -> str:
    """Name without the suffixes that say how it is written: ``a.b.xyz.gz`` is ``a.b``."""
    name = path.name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")
    return name if path.is_dir() else Path(name).stem
