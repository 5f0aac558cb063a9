"""JSON Schemas of all published and submitted files."""

from __future__ import annotations

from typing import Any

from consilience.records.board import BOARD_VERSION, Board
from consilience.records.pairs import PAIRS_VERSION, AllPairs
from consilience.records.record import RECORD_VERSION, Record
from consilience.records.run import RUN_VERSION, Comparison, SavedRun

from .withdrawals import Withdrawals


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of everything that is published or handed in, by file name: of the versions that are written now."""
    from consilience.board.submission import SUBMISSION_VERSION, Manifest  # which is made of records

    return {
        f"submission.v{SUBMISSION_VERSION}.json": Manifest.model_json_schema(mode="serialization"),
        f"record.v{RECORD_VERSION}.json": Record.model_json_schema(mode="serialization"),
        f"pairs.v{PAIRS_VERSION}.json": AllPairs.model_json_schema(mode="serialization"),
        f"board.v{BOARD_VERSION}.json": Board.model_json_schema(mode="serialization"),
        f"run.v{RUN_VERSION}.json": SavedRun.model_json_schema(mode="serialization"),
        "withdrawn.v1.json": Withdrawals.model_json_schema(mode="serialization"),
        "comparison.v1.json": Comparison.model_json_schema(mode="serialization"),
    }
