"""Alignment over commits with ASV: a benchmark class made of records.

The suite's runner scores and saves a run; ASV only reads it. A model's repository has
``benchmarks/alignment.py``::

    from consilience.asv import misalignment_of_run

    Alignment = misalignment_of_run(".consilience/asv.json")

and, at each commit, ``pytest --benchmark target_mymodel.py --align-save asv`` before
``asv run --python=same --set-commit-hash=$(git rev-parse HEAD)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from consilience.records import DEFAULT_BOARD
from consilience.records.record import Record
from consilience.records.run import read_run


def misalignment_of_run(path: str | Path) -> type:
    """ASV benchmark of a run saved with ``--align-save``; without cells if the file does not exist yet."""
    path = Path(path).resolve()
    return misalignment(read_run(path).records if path.is_file() else ())


def misalignment(records: Iterable[Record]) -> type:
    """ASV benchmark with a series for each data set and target: 1 - score, since ASV assumes that lower is better.

    One Python float each: ASV takes neither numpy's floats nor dictionaries.
    """
    cells = {(record.dataset, record.target): record for record in records}
    boards = sorted({record.board for record in cells.values()}) or [DEFAULT_BOARD]

    class Alignment:  # ASV finds it again by this name
        """1 - calibrated alignment (beyond composition) and 1 - CKNNA (the paper's preset)."""

        params = (sorted({dataset for dataset, _ in cells}), sorted({target for _, target in cells}))
        param_names = ("dataset", "target")

        def setup(self, dataset: str, target: str) -> None:
            record = cells.get((dataset, target))
            if record is None or record.state != "ok" or record.ranking_score is None:
                raise NotImplementedError  # ASV's way to skip a combination
            self.record, self.score = record, record.ranking_score

        def track_misalignment_calibrated(self, dataset: str, target: str) -> float:
            return float(1 - (self.score.alignment.value or 0.0))

        def track_misalignment_paper(self, dataset: str, target: str) -> float:
            if "paper" not in self.record.scores:  # a board of one's own
                raise NotImplementedError
            return float(1 - (self.record.scores["paper"].cknna or 0.0))

    tracked: Any
    for tracked in (Alignment.track_misalignment_calibrated, Alignment.track_misalignment_paper):
        # ASV would hash this file instead, and drop the history with every edit. Series of two boards do not compare:
        # ASV drops the earlier one. The first board's is "1".
        tracked.version = "1" if boards == ["v1"] else "+".join(boards)
        tracked.unit = "1 - score"
    return Alignment
