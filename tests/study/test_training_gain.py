"""What training adds, drawn: arrows and table say what the records say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from consilience.board.board import result_path
from consilience.records.record import Record
from consilience.records.schema import to_json
from consilience.scoring.gain import training_gains
from consilience.study.claims import judge
from consilience.study.figures import training_gain
from consilience.study.study import Study

from ..scoring.test_gain import DRAWS, REFERENCES, over_references, record  # noqa: TID252

SPEC = Path(__file__).parents[2] / "docs" / "studies" / "v2-confirmation.toml"


def study_of(folder: Path, records: list[Record]) -> Study:
    """A board of one data set that holds these records."""
    head, *entries = SPEC.read_text().split("[[datasets]]")
    free = 'free = [{ modality = "atoms", groups = [["soap"]] }]\n'
    (entry,) = [one for one in entries if 'name = "qm9-1k"' in one]
    entry = re.sub(r'revision = "\w+"', f'revision = "{records[0].revision}"', entry)
    entry = re.sub(r"references = .*", f"references = {list(REFERENCES)}".replace("'", '"'), entry)
    (folder / "spec.toml").write_text(f"{head}{free}\n[[datasets]]{entry}")
    for one in records:
        path = result_path(folder / "results", "qm9-1k", one.target)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(one.model_copy(update={"board": "confirmation", "coverage": 1.0})))
    return Study(folder)


@pytest.fixture
def records() -> list[Record]:
    random = np.random.default_rng(0)

    def noisy(name: str, *values: float) -> Record:
        draws = {one: 0.01 * random.normal(size=DRAWS) for one in REFERENCES}
        return record(name, over_references(*values), draws)

    return [
        noisy("diep-fold1", 0.5, 0.4, 0.45, 0.35),
        noisy("diep-fold1@untrained:1", 0.2, 0.2, 0.1, 0.1),
        noisy("diep-fold1@untrained:2", 0.1, 0.2, 0.1, 0.2),
        noisy("openff-nagl-am1bcc-1.0.0", 0.2, 0.2, 0.21, 0.19),
        noisy("openff-nagl-am1bcc-1.0.0@untrained:1", 0.3, 0.3, 0.32, 0.3),
        noisy("soap", 0.3, 0.31, 0.29, 0.3),
    ]


def test_arrows_lead_from_own_twins_to_the_trained_model(tmp_path: Path, records: list[Record]) -> None:
    drawing = training_gain.draw(study_of(tmp_path, records), "qm9-1k")
    assert drawing is not None
    gains = training_gains(records)
    assert [line["target"] for line in drawing.table] == ["diep-fold1", "openff-nagl-am1bcc-1.0.0"]
    for line in drawing.table:
        gain = gains[str(line["target"])]
        assert line["gain"] == pytest.approx(gain.estimate.value)
        assert line["untrained"] == pytest.approx(gain.untrained)
        assert line["twins"] == gain.seeds
    (plot,) = drawing.plots.values()
    arrows = [(one.ax, one.x) for one in plot.layout.annotations if one.showarrow]
    assert arrows == [(line["untrained"], line["trained"]) for line in drawing.table]
    (free,) = [one for one in plot.layout.annotations if "no training" in one.text]
    assert (free.text, free.x) == ("soap, no training", pytest.approx(0.3))
    assert "0 of 1 models of 2D graphs (0 clearly)" in drawing.sentence
    assert "1 of 1 models of atoms" in drawing.sentence


def test_there_is_nothing_to_draw_without_own_twins(tmp_path: Path, records: list[Record]) -> None:
    alone = [one for one in records if ":" not in one.target]
    assert training_gain.draw(study_of(tmp_path, alone), "qm9-1k") is None


def test_a_claim_is_judged_by_own_twins(tmp_path: Path, records: list[Record]) -> None:
    study = study_of(tmp_path, records)
    claim = next(one for one in judge(study) if one.claim.startswith("Training brings 3D networks"))
    assert claim.verdict == "held"
    assert claim.number == "qm9-1k 1.00 (8 comparisons, 1 lineages)."
