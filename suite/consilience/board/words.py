"""Where a target stands, in plain words: nearest references, place among the published, controls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from consilience.cards import is_twin
from consilience.records import DEFAULT_BOARD
from consilience.records.board import Board, DatasetBoard, Row
from consilience.records.record import Interval, Record
from consilience.scoring.presets import RANKED

from .board import find_board
from .numbers import PLAIN


@lru_cache(maxsize=1)
def published() -> Mapping[str, DatasetBoard]:
    """Tables of the published board by data set; empty where the package came without it, or with an older one."""
    try:
        path = find_board(DEFAULT_BOARD, own=False) / "leaderboard.json"
        board = Board.model_validate(json.loads(path.read_text("utf-8")))
    except (ValueError, FileNotFoundError):  # of another version: words are a help, no reason to fail
        return {}
    return {table.name: table for table in board.datasets}


def in_words(record: Record, table: DatasetBoard | None) -> list[str]:
    """Say where a scored target stands on a data set.

    Parameters
    ----------
    record
        Its record, scored on all items.
    table
        The published table of the data set; None where there is none to compare with.
    """
    score = record.ranking_score
    if record.state != "ok" or score is None or score.alignment.value is None:
        return []
    lines = [_nearest(record)]
    if table is not None and table.revision == record.revision:
        rows = {row.target: row for row in table.rows if row.state == "ok" and row.target != record.target}
        lines += [_place(score.alignment, rows), _controls(record, score.alignment, rows)]
    return [line for line in lines if line]


def _nearest(record: Record) -> str:
    score = record.ranking_score
    scored = {} if score is None else score.pairs
    pairs = {name: pair.alignment for name, pair in scored.items() if pair.alignment is not None}
    if not pairs:
        return ""
    ordered = sorted(pairs, key=lambda name: -pairs[name])
    text = f"closest to {ordered[0]} ({PLAIN.number(pairs[ordered[0]])})"
    return text + (f", farthest from {ordered[-1]} ({PLAIN.number(pairs[ordered[-1]])})" if len(ordered) > 1 else "")


def _place(own: Interval, rows: Mapping[str, Row]) -> str:
    """Between which published models it stands."""
    models = {name: _value(row) for name, row in rows.items() if row.rank is not None}
    if not models or own.value is None:
        return ""
    above = [name for name in models if models[name] > own.value]
    below = [name for name in models if models[name] <= own.value]
    text = f"place {len(above) + 1} of {len(models) + 1} with the published models"
    if above:
        nearest = min(above, key=lambda name: models[name])
        text += f", below {nearest} ({PLAIN.number(models[nearest])})"
    if below:
        nearest = max(below, key=lambda name: models[name])
        text += f", above {nearest} ({PLAIN.number(models[nearest])})"
    return text


def _controls(record: Record, own: Interval, rows: Mapping[str, Row]) -> str:
    """Against what is no achievement: untrained networks (its own architecture's above all), and composition."""
    family = [name for name, row in rows.items() if is_twin(name) and row.family == record.card.family]
    twins = family or [name for name in rows if is_twin(name)]
    told = []
    if twins:
        best = max(twins, key=lambda name: _value(rows[name]))
        what = "its untrained twin" if family else "the best untrained network"
        told.append(f"{_against(own, rows[best])} {what} ({best}, {PLAIN.number(_value(rows[best]))})")
    for name in ("composition", "amino-acids"):
        if name in rows:
            told.append(
                f"{_against(own, rows[name])} {name.replace('-', ' ')} alone ({PLAIN.number(_value(rows[name]))})"
            )
    return "; ".join(told)


def _against(own: Interval, row: Row) -> str:
    other = row.alignment[RANKED]
    if own.value is None or other.value is None or own.low is None or other.high is None:
        return "beside"
    if own.low > other.high:
        return f"{PLAIN.number(own.value - other.value)} above"
    if other.low is not None and own.high is not None and own.high < other.low:
        return f"{PLAIN.number(other.value - own.value)} BELOW"
    return "not clearly apart from"


def _value(row: Row) -> float:
    found = row.alignment.get(RANKED)
    return -1.0 if found is None or found.value is None else found.value
