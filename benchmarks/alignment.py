"""Misalignment of every target over commits, read from the published records."""

from pathlib import Path

from consilience.asv import misalignment
from consilience.records import DEFAULT_BOARD
from consilience.records.migrations import read_record

RESULTS = Path(__file__).resolve().parents[1] / "leaderboard" / DEFAULT_BOARD / "results"

Alignment = misalignment(map(read_record, sorted(RESULTS.glob("*/*.json"))))
