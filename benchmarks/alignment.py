"""Misalignment of every target over commits, read from the published records.

ASV believes that lower is better, always, so what is tracked is 1 - score. The work happens in the suite's own
runner (``make benchmark``); here it is only read.
"""

from pathlib import Path

from consilience.results import PRESETS, RANKED, read_record

RESULTS = Path(__file__).resolve().parents[1] / "leaderboard" / "v1" / "results"
CELLS = {(path.parent.name, path.stem): path for path in sorted(RESULTS.glob("*/*.json"))}


class Alignment:
    """1 - calibrated alignment (beyond composition) and 1 - CKNNA (the paper's preset)."""

    params = (sorted({dataset for dataset, _ in CELLS}), sorted({target for _, target in CELLS}))
    param_names = ("dataset", "target")
    unit = "1 - score"
    version = "1"

    def setup(self, dataset, target):
        path = CELLS.get((dataset, target))
        self.record = read_record(path) if path else None
        if self.record is None or self.record.state != "ok":
            raise NotImplementedError  # ASV's way to skip a combination

    def track_misalignment_calibrated(self, dataset, target):
        return float(1 - (self.record.scores[RANKED].alignment.value or 0.0))

    def track_misalignment_paper(self, dataset, target):
        return float(1 - (self.record.scores[PRESETS[0]].cknna or 0.0))

    track_misalignment_calibrated.version = track_misalignment_paper.version = "1"
    track_misalignment_calibrated.unit = track_misalignment_paper.unit = "1 - score"
