"""A saved run, and its comparison with a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from consilience.bounds import parse_json, read_text
from consilience.cards import Name

from .migrations import migrated
from .record import Interval, Record, State
from .schema import SchemaModel, Value, refuse_newer, validated
from .spec import Spec

RUN_VERSION: Literal[2] = 2


class SavedRun(SchemaModel):
    """A run kept to be compared with: its records, and what they were measured by."""

    schema_version: Literal[1, 2] = RUN_VERSION
    """Version of this schema."""
    created: str
    """UTC time of saving."""
    suite_version: str
    """Version of consilience."""
    spec: Spec
    """What was measured: the board's spec, with the data sets asked for beyond it."""
    limit: int | None = None
    """Size of the sample of each data set, in a quick look."""
    records: list[Record]
    """Scored cells, and the reasons of those that were not."""


Verdict = Literal["same", "better", "noise", "worse", "regressed", "undecided"]


class ComparedFigure(SchemaModel):
    """One figure of a cell, before and now."""

    name: str
    """``alignment``, ``cknna``, a pair metric (of a directed one ``_to`` or ``_from`` the references), or an error."""
    old: Value
    """In the baseline."""
    new: Value
    """In the run compared with it."""
    difference: Interval
    """New - old; the ends are null where the figure has no interval."""
    paired: bool | None = None
    """Whether the interval is that of the difference on the same halves, and not two intervals put together."""
    allowed: Value = None
    """Largest worsening that passes, in the figure's own unit; null where nothing was asked."""
    verdict: Verdict
    """``noise``: another value, within the interval; ``worse``: beyond it, but allowed or not gated."""
    reason: str | None = None
    """Why it is undecided."""


class ComparedCell(SchemaModel):
    """A target on a data set, before and now."""

    dataset: Name
    """Data set."""
    target: str
    """Target in the run."""
    baseline: str
    """Target in the baseline: the same, or the only other checkpoint read by the same adapter."""
    states: tuple[State, State]
    """State before and now."""
    reason: str | None = None
    """Why it has no score now."""
    figures: list[ComparedFigure] = []
    """Figures, where both are scored."""


class Comparison(SchemaModel):
    """A run against a baseline."""

    schema_version: Literal[1] = 1
    """Version of this schema."""
    baseline: str
    """What it was compared with."""
    verdict: Literal["ok", "regressed", "undecided", "refused"]
    """Undecided: a gate could not be judged. Refused: the two were measured differently."""
    gates: list[str]
    """What was asked for, such as ``cknna:5%``."""
    limit: int | None
    """Size of the sample of each data set, in a quick look."""
    cells: list[ComparedCell] = []
    """What both hold."""
    gone: list[str] = []
    """Cells of the baseline that the run does not hold."""
    added: list[str] = []
    """Cells of the run that the baseline does not hold, or holds without a score."""
    remarks: list[str] = []
    """What differs between the two besides the scores: hardware, packages, code."""
    problems: list[str] = []
    """Gates that could not be judged, and why; what was measured differently."""


def read_run(path: Path) -> SavedRun:
    """Read a saved run; raises `ValueError` naming the file when it is not one of this schema version."""
    try:
        content = parse_json(read_text(path))
        if isinstance(content, dict) and {"board", "datasets"} <= set(content):
            raise ValueError("it is a board; what --align-save (consilience run --save) keeps can be compared")
        refuse_newer(content.get("schema_version"), RUN_VERSION)
        records = [migrated(record) for record in content["records"]]
        return validated(SavedRun, {**content, "schema_version": RUN_VERSION, "records": records})
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a saved run of schema version 1 or {RUN_VERSION}: {error}") from error
