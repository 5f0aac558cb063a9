"""Columns of a board's tables: one entry each, for all places that show it.

A further column is a further entry in `COLUMNS`: what it is named, how its value is read from a line of a table, how
the value is written, and where it stands. Markdown pages, terminal, README, reports and the site loop over the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consilience.metrics import get_metric
from consilience.records.board import DatasetBoard, Row
from consilience.records.record import Interval, Record
from consilience.scoring.presets import LEAST_LEFT, RANKED

from .formats import (
    BESIDE_BASELINE,
    CARRIED,
    COUNT,
    DISTRIBUTION,
    GAIN,
    INTERVAL,
    NAME,
    NAMES,
    NUMBER,
    PART,
    RANK,
    RECORD,
    SHARE,
    STATE,
    TARGET,
    TEXT,
    TWO_ERRORS,
    WORDS,
    Format,
    Undefined,
    digits,
)
from .numbers import PLAIN, Numbers

#: Tables that hold columns, by the name of their place.
PLACES: Mapping[str, str] = {
    "page": "main table of a data set on the Markdown page",
    "details": "second table of the Markdown page, and of a terminal",
    "terminal": "main table of a run's end on a terminal",
    "readme": "excerpt of the board in README.md",
    "run": "table of a run's own cells as Markdown",
    "site": "main table of a data set on the site",
    "site details": "second table of a data set on the site",
    "target": "table of a target's scores on the site",
    "overview": "first table of a checkpoint's report",
    "standings": "table of a checkpoint's report beside the board",
}
_MARKDOWN = ("page", "terminal", "readme", "run")
_WIDE = ("page", "run")


@dataclass(frozen=True)
class Line:
    """One line of a table: all that the value of a column is read from.

    Attributes
    ----------
    row
        Its row on the board.
    record
        Its record; None where a table is laid out without records.
    table
        The board's table of its data set; None where the board lacks it.
    own
        Whether it is the checkpoint that a report is about.
    """

    row: Row
    record: Record | None = None
    table: DatasetBoard | None = None
    own: bool = False

    @property
    def kind(self) -> str:
        """``trained``, ``untrained`` or ``baseline``; without a record, from the row."""
        if self.record is not None:
            return self.record.kind
        if not self.row.control:
            return "trained"
        return "baseline" if self.row.modality == "baseline" else "untrained"


@dataclass(frozen=True)
class Column:
    """A column of tables.

    Attributes
    ----------
    name
        Its name in the list, once.
    title
        Its head.
    value
        Reads the value of a line; what only the record has is read from ``line.record``.
    format
        How the value is written.
    where
        Places that show it, of `PLACES`.
    titles
        Other heads, by place.
    key
        What the site sorts a line by, where that is not the value.
    """

    name: str
    title: str
    value: Callable[[Line], Any]
    format: Format
    where: tuple[str, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    key: Callable[[Line], Any] | None = None

    def text(self, line: Line, numbers: Numbers = PLAIN) -> str:
        """Text of a line's value."""
        return self.format.text(self.value(line), numbers)

    def title_in(self, place: str) -> str:
        """Head of the column in a place."""
        return self.titles.get(place, self.title)


@dataclass(frozen=True)
class ColumnGroup:
    """Columns that depend on what a table holds, at one place in the list.

    Attributes
    ----------
    name
        Its name in the list, once.
    columns
        Makes the columns of a table's lines.
    where
        Places that show them, of `PLACES`.
    """

    name: str
    columns: Callable[[Sequence[Line]], list[Column]]
    where: tuple[str, ...]


def _alignment(preset: str) -> Callable[[Line], Interval | None]:
    return lambda line: line.row.alignment.get(preset)


def _alignment_value(preset: str) -> Callable[[Line], float | None]:
    return lambda line: one.value if (one := line.row.alignment.get(preset)) else None


def _coverage(line: Line) -> float | None:
    return line.row.coverage if line.row.state == "ok" else None


def _parameters(line: Line) -> int | None:
    return None if line.kind == "baseline" else line.row.parameters


def _metrics(lines: Sequence[Line]) -> list[Column]:
    """Columns of the other pair metrics that a table holds."""
    names = sorted({name for line in lines for name in line.row.metrics})
    return [_metric(name) for name in names]


def _aligned(lines: Sequence[Line]) -> list[Column]:
    """Alignment beyond composition, with the digits that its interval carries where boards state gains."""
    title, titles = "alignment [95 %]", dict.fromkeys(_SITE, "beyond composition")
    return [Column("alignment", title, _alignment_or_linear, _interval_of(lines), (), titles)]


def _alignment_or_linear(line: Line) -> Interval | Undefined | None:
    """Alignment beyond composition; said to be linear where nothing is left of the embedding there."""
    one, left = line.row.alignment.get(RANKED), line.row.left
    undefined = one is None or one.value is None
    return Undefined("linear") if undefined and left is not None and left < LEAST_LEFT else one


def _twin_distance(lines: Sequence[Line]) -> list[Column]:
    """Distance to the first untrained twin; boards that state gains have own twins instead."""
    if any(line.row.gain for line in lines) and all(line.row.twin_distance is None for line in lines):
        return []
    titles = dict.fromkeys(_SITE, "distance to twin")
    return [Column("twin_distance", "twin distance", lambda line: line.row.twin_distance, NUMBER, (), titles)]


def _of_preset(name: str, title: str, preset: str) -> Callable[[Sequence[Line]], list[Column]]:
    return lambda lines: [Column(name, title, _alignment(preset), _interval_of(lines), ())]


def _interval_of(lines: Sequence[Line]) -> Format:
    return CARRIED if any(line.row.gain or line.row.left is not None for line in lines) else INTERVAL


def _training(lines: Sequence[Line]) -> list[Column]:
    """What training adds, in tables of boards that say so."""
    if not any(line.row.gain or line.row.above_free for line in lines):
        return []
    return [
        Column("gain", "training gain [95 %]", lambda line: line.row.gain, GAIN, ()),
        Column("untrained", "own twins", lambda line: line.row.gain and line.row.gain.untrained, NUMBER, ()),
        Column("above_free", "above free [95 %]", lambda line: line.row.above_free, CARRIED, ()),
    ]


def _left(lines: Sequence[Line]) -> list[Column]:
    """Share of variance beyond composition, and alignment with all lineages, where a board states them."""
    left = Column("left", "beyond composition", lambda line: line.row.left, PART, ())
    everyone = Column("all_lineages", "with all lineages", lambda line: line.row.all_lineages, NUMBER, ())
    return [
        *([left] if any(line.row.left is not None for line in lines) else []),
        *([everyone] if any(line.row.all_lineages is not None for line in lines) else []),
    ]


def _origin(lines: Sequence[Line]) -> list[Column]:
    """What is known of where rows come from, in tables with submitted cells."""
    own = Column("origin", "rows", lambda line: _submitted(line) or "computed here", TEXT, ())
    return [own] if any(map(_submitted, lines)) else []


def _submitted(line: Line) -> str | None:
    submission = None if line.record is None else line.record.submission
    return None if submission is None else submission.label


def _metric(name: str) -> Column:
    return Column(name, metric_title(name), lambda line: line.row.metrics.get(name), NUMBER, ())


def metric_title(name: str) -> str:
    """Title of a metric; a directed one appears twice, to and from the references."""
    base, _, direction = name.rpartition("_")
    if direction in ("to", "from"):
        return f"{get_metric(base).card.title} {direction}"
    return get_metric(name).card.title


_SITE = ("site", "target", "overview", "standings")

#: All columns, in the order of the Markdown page; `ORDER` has that of places which differ.
COLUMNS: list[Column | ColumnGroup] = [
    Column(
        "rank", "rank", lambda line: (line.row.rank, line.row.rank_interval), RANK,
        ("page", "terminal", "readme", "site", "target"),
    ),
    Column("target", "target", lambda line: line.row, TARGET, (*_MARKDOWN, "site")),
    Column("name", "target", lambda line: line.row, NAME, ("details", "site details", "standings")),
    Column(
        "modality", "modality", lambda line: line.row.modality, WORDS, (*_MARKDOWN, "site", "standings"),
        titles={"site": "reads", "standings": "reads"},
    ),
    Column("family", "family", lambda line: line.row.family, TEXT, ("site", "standings")),
    Column(
        "parameters", "parameters", _parameters, COUNT, (*_WIDE, "site"), key=lambda line: line.row.parameters,
    ),
    Column("trained_on", "trained on", lambda line: line.row.trained_on, NAMES, _WIDE),
    Column(
        "distribution", "in/out", lambda line: (line.row.distribution, line.row.overlap, line.row.domain),
        DISTRIBUTION,
        (*_MARKDOWN, "site"), titles={"site": "distri\u00adbution"},
    ),
    Column("side", "distri\u00adbution", lambda line: line.row.distribution, TEXT, ("target",)),
    Column("coverage", "covered", _coverage, SHARE, (*_WIDE, "site"), key=lambda line: line.row.coverage),
    Column("covered", "covered", _coverage, SHARE, ("target", "overview")),
    ColumnGroup("alignment", _aligned, (*_MARKDOWN, *_SITE)),
    ColumnGroup("training", _training, (*_MARKDOWN, *_SITE)),
    Column("standardized", "standardized", _alignment_value("standardized"), NUMBER, _MARKDOWN),
    ColumnGroup("alignment_standardized", _of_preset("alignment_standardized", "standardized", "standardized"), _SITE),
    ColumnGroup("alignment_paper", _of_preset("alignment_paper", "paper (rows L2)", "paper"), _SITE),
    Column(
        "cknna_paper", "paper", lambda line: line.row.cknna.get("paper"), NUMBER, (*_MARKDOWN, "site"),
        titles={"site": "CKNNA, paper, as measured"},
    ),
    ColumnGroup("twin_distance", _twin_distance, (*_MARKDOWN, *_SITE)),
    ColumnGroup("metrics", _metrics, ("details", "site details")),
    ColumnGroup("left", _left, ("details", "site details", "target")),
    Column(
        "intrinsic_dimension", "I_d", lambda line: line.row.intrinsic_dimension, digits(1),
        ("details", "site details", "target"),
    ),
    Column(
        "energy_errors", "energy MAE, eV", lambda line: (line.row.energy_mae, line.row.energy_mae_out_of_sample),
        TWO_ERRORS, ("details",),
    ),
    Column(
        "energy_mae", "energy MAE, eV", lambda line: line.row.energy_mae, NUMBER,
        ("site details", "target", "overview", "standings"),
    ),
    Column(
        "energy_mae_out_of_sample", "out of sample, eV", lambda line: line.row.energy_mae_out_of_sample, NUMBER,
        ("site details", "overview"),
    ),
    Column(
        "probe_mae", "probe MAE, eV/atom", lambda line: line.row.probe_mae, digits(4),
        ("details", "site details", "standings"), titles={"standings": "probe, eV/atom"},
    ),
    Column("probe_baseline", "without embedding", lambda line: line.row.probe_baseline, digits(4), ("site details",)),
    Column(
        "probe", "probe, eV/atom (without)", lambda line: (line.row.probe_mae, line.row.probe_baseline),
        BESIDE_BASELINE, ("target", "overview"),
    ),
    Column(
        "items_per_second", "items/s", lambda line: line.row.items_per_second, COUNT, ("details", "site details"),
    ),
    ColumnGroup("origin", _origin, ("page", "site", "target")),
    Column("state", "state", lambda line: line.row, STATE, ("site", "target", "overview")),
    Column("record", "record", lambda line: line.row, RECORD, ("site", "target")),
]  # fmt: skip

#: Order of columns in places where it is not that of the list; columns without a name here stand at the "*".
ORDER: Mapping[str, tuple[str, ...]] = {
    "site": (
        "rank", "target", "alignment", "training", "alignment_standardized", "alignment_paper", "modality", "family",
        "distribution", "cknna_paper", "twin_distance", "parameters", "coverage", "*", "state", "record",
    ),
    "target": (
        "rank", "side", "alignment", "training", "alignment_standardized", "alignment_paper", "twin_distance",
        "intrinsic_dimension", "energy_mae", "probe", "covered", "*", "state", "record",
    ),
    "overview": (
        "alignment", "training", "alignment_standardized", "alignment_paper", "twin_distance", "energy_mae",
        "energy_mae_out_of_sample", "probe", "covered", "*", "state",
    ),
    "standings": (
        "name", "alignment", "training", "alignment_standardized", "alignment_paper", "modality", "family", "*",
    ),
}  # fmt: skip


def columns_of(place: str, lines: Sequence[Line] = (), *, without: Iterable[str] = ()) -> list[Column]:
    """Columns of a place, in order.

    Parameters
    ----------
    place
        A place, of `PLACES`.
    lines
        Lines of the table, which decide which metrics have a column.
    without
        Names of columns to leave out.

    Raises
    ------
    ValueError
        There is no such place.
    """
    if place not in PLACES:
        raise ValueError(f"place: expected one of {', '.join(PLACES)}, found {place!r}")
    entries = [entry for entry in COLUMNS if place in entry.where and entry.name not in without]
    order = ORDER.get(place, ("*",))
    entries.sort(key=lambda entry: order.index(entry.name if entry.name in order else "*"))
    return [
        column for entry in entries for column in (entry.columns(lines) if isinstance(entry, ColumnGroup) else [entry])
    ]


def lay_out(place: str, lines: Sequence[Line], *, without: Iterable[str] = ()) -> list[list[str]]:
    """Lay out a table as text: its head, then the texts of each line; `columns_of` has the parameters."""
    columns = columns_of(place, lines, without=without)
    head = [column.title_in(place) for column in columns]
    return [head, *([column.text(line) for column in columns] for line in lines)]


def lines_of(table: DatasetBoard, rows: Iterable[Row], records: Iterable[Record] = ()) -> list[Line]:
    """Lines of a table's rows, each with its record where `records` hold it."""
    by_target = {record.target: record for record in records if record.dataset == table.name}
    return [Line(row, by_target.get(row.target), table) for row in rows]
