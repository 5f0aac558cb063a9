"""Mutations of bytes, texts and JSON, each by a seeded generator."""

from __future__ import annotations

import json
import random
import re
import struct
from typing import Any

HOSTILE: list[Any] = [
    float("nan"), float("inf"), -1, -1e308, 1e308, 0, 2**63, 10**30, "", None, [], {}, True, "\x00", "a\nb", "<b>",
    "=1+1", "../../etc/passwd", "/etc/passwd", "x" * 200_000, "\U0001f600", "\u202e", "1e5", "NaN", [[[[]]]],
    {"a": {"b": 1}}, 1.5, "0.5", "C" * 30, "|x|",
]  # fmt: skip
WORDS = [
    "nan", "inf", "-1", "1e308", "1e400", "Xx", "999", "0", "", "-0.0", "<b>", "\x00", "99999999999999999999",
    "\u0661", "1_000", "C" * 1000, "True", "../x", "0x1F", "1d3", "=1+1", "(" * 500, "1,5", "1.0.0",
]  # fmt: skip


def flip(rng: random.Random, data: bytes) -> bytes:
    """Turn over 1 to 32 bits."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 4, 32])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def mutate_bytes(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Flip, cut, append, zero, swap, or announce another length."""
    kind = rng.choice(["flip"] * 5 + ["head"] * 2 + ["cut", "append", "zero", "swap", "length", "empty", "twice"])
    size = len(data)
    if kind == "flip" or size < 4:
        return "flip", flip(rng, data)
    if kind == "head":
        changed = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            changed[rng.randrange(min(size, 512))] = rng.randrange(256)
        return kind, bytes(changed)
    if kind == "cut":
        return kind, data[: rng.randrange(size)]
    if kind == "append":
        return kind, data + rng.randbytes(rng.choice([1, 100, 10_000]))
    if kind == "zero":
        first, count = rng.randrange(size), rng.choice([1, 8, 512, 4096])
        return kind, data[:first] + bytes(min(count, size - first)) + data[first + count :]
    if kind == "swap":
        one, other = sorted(rng.sample(range(size), 2))
        count = min(64, other - one, size - other)
        changed = bytearray(data)
        changed[one : one + count], changed[other : other + count] = (
            data[other : other + count],
            data[one : one + count],
        )
        return kind, bytes(changed)
    if kind == "length":
        return kind, struct.pack("<Q", rng.choice([2**63, 2**40, size, 2**64 - 1, 0, 10**8])) + data[8:]
    return (kind, b"") if kind == "empty" else (kind, data + data)


def mutate_text(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Exchange words, drop or repeat lines, cut, lengthen, insert control characters and huge numbers."""
    text = data.decode("utf-8", "replace")
    kind = rng.choice(
        ["flip", "flip", "word", "word", "word", "words", "line", "twice", "cut", "long", "control", "number", "bytes"]
    )
    if kind == "flip":
        return kind, flip(rng, data)
    if kind == "bytes":
        return mutate_bytes(rng, data)
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    if kind in ("word", "words"):
        words = re.split(r"(\s+|,|\")", lines[place])
        if kind == "words" and len(words) > 2:
            one, other = rng.sample(range(len(words)), 2)
            words[one], words[other] = words[other], words[one]
        else:
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        lines[place] = "".join(words)
    elif kind == "line":
        del lines[place]
    elif kind == "twice":
        lines.insert(place, lines[place])
    elif kind == "cut":
        return kind, text[: rng.randrange(max(len(text), 1))].encode()
    elif kind == "long":
        lines[place] += rng.choice(["x", "C", " ", "(", "9", "[", '"', "{", "="]) * rng.choice([1000, 100_000])
    elif kind == "control":
        lines[place] += rng.choice(["\x00", "\x1b[31m", "\r", "\u2028", "\ufeff", "\x85", "\v", "\u202e"])
    elif kind == "number":
        huge = rng.choice(["9" * 5000, "9" * 19, "1e999", "1000000000", "-1"])
        lines[place] = re.sub(r"\d+", huge, lines[place], count=1)
    return kind, "\n".join(lines).encode("utf-8", "surrogatepass")


def leaves(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside a value."""
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = list(enumerate(value[:400]))
    else:
        return []
    return [path for key, one in inside for path in ((*at, key), *leaves(one, (*at, key)))]


def mutate_json(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Exchange, drop, add and repeat values; nest them deep; other encodings; other versions."""
    kind = rng.choice(
        ["bytes", "bytes", *["leaf"] * 4, "delete", "add", "repeat", "deep", "number", "version", "cut", "encoding"]
    )
    if kind == "bytes":
        return kind, flip(rng, data)
    if kind == "cut":
        return kind, data[: rng.randrange(len(data))]
    if kind == "deep":
        return kind, rng.choice([b"[", b'{"a":']) * rng.choice([10, 1000, 100_000])
    if kind == "encoding":
        return kind, rng.choice([b"\xef\xbb\xbf" + data, data.decode().encode("utf-16"), b"\xff" + data, bytes(9)])
    value = json.loads(data)
    paths = leaves(value)
    path = ("schema_version",) if kind == "version" else rng.choice(paths)
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    if kind == "version":
        parent[key] = rng.choice([2, 3, 0, -1, "1", True, 1.0, None, [1], {}, 10**30, float("nan")])
    elif kind == "leaf":
        old = parent[key]
        parent[key] = rng.choice([*HOSTILE, str(old), [old], {"x": old}])
    elif kind == "delete":
        del parent[key]
    elif kind == "add":
        if isinstance(parent, dict):
            parent[rng.choice(["extra", "", "__class__", "\n", "../x"])] = rng.choice(HOSTILE)
        else:
            parent.append(rng.choice(HOSTILE))
    text = json.dumps(value)
    if kind == "repeat":
        names = list(value) if isinstance(value, dict) else ["state"]
        other = rng.choice(names)
        text = text[:-1] + f', "{other}": {json.dumps(rng.choice(HOSTILE))}}}'
    elif kind == "number":
        numbers = list(re.finditer(r"(?<=[ \[:])-?\d+\.?\d*(?:e-?\d+)?(?=[,\]}])", text))
        if numbers:
            one = rng.choice(numbers)
            huge = rng.choice(["9" * 4000, "9" * 1_000_000, "1e999999999", "-0", "00", "0x10", "1" + "0" * 400 + ".5"])
            text = text[: one.start()] + huge + text[one.end() :]
    return f"{kind} {'.'.join(map(str, path))[:60]}", text.encode("utf-8", "surrogatepass")
