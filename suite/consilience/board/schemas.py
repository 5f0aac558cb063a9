"""JSON Schemas of everything that is published or handed in."""

from __future__ import annotations

from typing import Any

from consilience.records.board import BOARD_VERSION, Board
from consilience.records.pairs import AllPairs
from consilience.records.record import RECORD_VERSION, Record
from consilience.records.run import Comparison, SavedRun


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of everything that is published or handed in, by file name."""
    from consilience.board.submission import SUBMISSION_VERSION, Manifest  # which is made of records

    return {
        f"submission.v{SUBMISSION_VERSION}.json": Manifest.model_json_schema(mode="serialization"),
        f"record.v{RECORD_VERSION}.json": Record.model_json_schema(mode="serialization"),
        "pairs.v1.json": AllPairs.model_json_schema(mode="serialization"),
        f"board.v{BOARD_VERSION}.json": Board.model_json_schema(mode="serialization"),
        "run.v1.json": SavedRun.model_json_schema(mode="serialization"),
        "comparison.v1.json": Comparison.model_json_schema(mode="serialization"),
    }
