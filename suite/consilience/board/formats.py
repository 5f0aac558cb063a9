"""How values of a board's columns are written: as text, and by which element the site draws them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consilience.records.board import Row

from .numbers import Numbers


@dataclass(frozen=True)
class Format:
    """How a value is written.

    Attributes
    ----------
    text
        Text of a value.
    numeric
        Whether values are numbers, which the site aligns to the right.
    key
        What the site sorts by, of a value; None where the text sorts by itself.
    element
        Name of the element that the site draws (`consilience.site.cells`); empty for the text alone.
    """

    text: Callable[[Any, Numbers], str]
    numeric: bool = False
    key: Callable[[Any], Any] | None = None
    element: str = ""


@dataclass(frozen=True)
class Undefined:
    """A figure that is undefined, and why in one word.

    Attributes
    ----------
    word
        The word.
    """

    word: str
    value: None = None


def digits(number: int) -> Format:
    """Format of a figure with so many decimals."""
    return Format(lambda value, numbers: numbers.number(value, number), numeric=True)


def _distribution(value: tuple[str | None, float | None, str | None], numbers: Numbers) -> str:
    side, overlap, domain = value
    seen = f" ({numbers.percent(overlap)} seen)" if overlap is not None else ""
    return (side or numbers.absent) + seen + (f", for {domain}" if domain and side == "out" else "")


def _two_errors(value: tuple[float | None, float | None], numbers: Numbers) -> str:
    return numbers.absent if value[0] is None else f"{numbers.number(value[0])} / {numbers.number(value[1])}"


def _beside_baseline(value: tuple[float | None, float | None], numbers: Numbers) -> str:
    return numbers.number(value[0], 4) + (f" ({numbers.number(value[1], 4)})" if value[1] is not None else "")


def _carried(value: Any, numbers: Numbers) -> str:
    if isinstance(value, Undefined):
        return value.word
    return numbers.carried(value.value, value.low, value.high) if value else numbers.absent


def _marked(row: Row) -> str:
    marks = "".join(mark for mark, shown in (("c", row.control), ("r", row.reference)) if shown)
    return f"{row.target} ({marks})" if marks else row.target


TEXT = Format(lambda value, numbers: numbers.absent if value is None else str(value))
WORDS = Format(TEXT.text, element="words")
NAMES = Format(lambda value, numbers: ", ".join(value or ()))
NUMBER = digits(3)
COUNT = Format(lambda value, numbers: numbers.count(value), numeric=True, key=lambda value: value)
SHARE = Format(lambda value, numbers: numbers.percent(value), numeric=True)
RANK = Format(lambda value, numbers: numbers.rank(*value), numeric=True, key=lambda value: value[0])
INTERVAL = Format(
    lambda value, numbers: numbers.interval(value.value, value.low, value.high) if value else numbers.absent,
    numeric=True,
    key=lambda value: value.value if value else None,
    element="interval",
)
#: Interval of boards that state gains: of few lineages, a wide one.
CARRIED = Format(
    _carried,
    numeric=True,
    key=lambda value: value.value if value else None,
    element="carried",
)
#: A training gain; an asterisk where it is clear at the false discovery rate of the table.
GAIN = Format(
    lambda gain, numbers: CARRIED.text(gain, numbers) + (" *" if gain and gain.stays else ""),
    numeric=True,
    key=lambda gain: gain.value if gain else None,
    element="carried",
)
#: A share that may be tiny.
PART = Format(lambda value, numbers: numbers.part(value), numeric=True, key=lambda value: value)
#: The value is the row: the site links it and explains its marks.
TARGET = Format(lambda row, numbers: _marked(row), element="target")
#: The same without marks.
NAME = Format(lambda row, numbers: row.target, element="name")
DISTRIBUTION = Format(_distribution, element="distribution")
TWO_ERRORS = Format(_two_errors, numeric=True)
BESIDE_BASELINE = Format(_beside_baseline, numeric=True, key=lambda value: value[0], element="baseline")
#: The value is the row: its state and, where that says more, the reason.
STATE = Format(lambda row, numbers: row.state, element="state")
#: The value is the row: the site links the file of its record.
RECORD = Format(lambda row, numbers: row.target, element="record")
