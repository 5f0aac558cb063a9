"""Bounds on what is read from files of other people: expansion, nesting, numbers, length of an item.

What a file announces is held against its size before anything is allocated. Needs the standard library alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: A compressed file may expand to so many bytes, or to so many times its own size where that is more.
MOST_EXPANDED, MOST_RATIO = 200_000_000, 100
#: Length of one item: atoms of a structure, residues of a chain, characters of a SMILES.
MOST_ATOMS, MOST_RESIDUES, MOST_SMILES = 100_000, 100_000, 10_000
#: Characters of one line of a text file, columns of a table.
MOST_LINE, MOST_COLUMNS = 2_000_000, 10_000
#: Bytes of a text that is parsed as a whole, such as JSON or TOML: pairs of the largest board take a tenth.
MOST_TEXT = 256 * 2**20
_CHUNK = 2**20
#: No whole number in a file of the suite is longer; longer ones do not fit a float.
_MOST_DIGITS = 100


def allowance(path: Path) -> int:
    """Bytes that a compressed file may expand to."""
    return max(MOST_EXPANDED, MOST_RATIO * path.stat().st_size)


def too_large(path: Path) -> str:
    """What is said of a file that expands beyond its allowance."""
    size, most = path.stat().st_size, allowance(path)
    return (
        f"it has {size:,} bytes and expands to more than {most:,}: unpack it, or write it anew with its content alone"
    )


def expands_too_far(path: Path) -> bool:
    """Whether a ``.gz``, ``.bz2`` or ``.xz`` file expands beyond its allowance; nothing of it is stored.

    Raises
    ------
    OSError, EOFError, ValueError
        It is damaged.
    """
    import bz2
    import gzip
    import lzma
    import zlib

    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opener = openers.get(path.suffix.lower())
    if opener is None:
        return False
    left = allowance(path)
    try:
        with opener(path) as file:
            while chunk := file.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    return True
    except (zlib.error, lzma.LZMAError) as error:
        raise ValueError(str(error)) from error
    return False


def parse_json(text: bytes | str) -> Any:
    """Parse JSON as its standard has it.

    Raises
    ------
    ValueError
        It is no JSON, a key stands twice in an object, a number is not finite, or it is nested too deep or too long.
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"it has {len(text):,} bytes, at most {MOST_TEXT:,} are read")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(
            text, object_pairs_hook=_once, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_short
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return table


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _short(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"the number {text[:40]}... has {len(text):,} digits")
    return int(text)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; raises `ValueError` also where it is nested too deep or too long."""
    import tomllib

    if len(text) > MOST_TEXT:
        raise ValueError(f"it has {len(text):,} characters, at most {MOST_TEXT:,} are read")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_text(path: Path) -> str:
    """Text of a file that is parsed as a whole; raises `ValueError` where it is too large, or no UTF-8."""
    size = path.stat().st_size
    if size > MOST_TEXT:
        raise ValueError(f"it has {size:,} bytes, at most {MOST_TEXT:,} are read")
    return path.read_text("utf-8")
