"""What training adds, on a board: rows, ranks, the figures of a data set and its page."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from consilience.board.board import build_board, record_path
from consilience.board.columns import lay_out, lines_of
from consilience.board.groups import with_all_lineages
from consilience.board.headline import headline, training_section, training_table
from consilience.board.markdown import render
from consilience.board.schemas import json_schemas
from consilience.cards import target_of
from consilience.records.pairs import Pair, PairFigures
from consilience.records.record import Examined, Interval, Record
from consilience.records.schema import to_json
from consilience.records.spec import MEASUREMENT_1, Choice, Descriptors, Spec, SpecDataset
from consilience.registry import get_target
from consilience.study.study import Study

from ..scoring.test_gain import DRAWS, REFERENCES, record  # noqa: TID252
from .test_lock import _toml

MEASUREMENT = MEASUREMENT_1.model_copy(
    update={
        "calibration": Choice(name="excess"),
        "interval": Choice(name="lineages"),
        "left_out": "lineage",
        "free": (Descriptors(modality="atoms", groups=(("soap",), ("composition-relu-1", "composition-relu-2"))),),
    }
)
SPEC = Spec(
    schema_version=2,
    board="v2",
    title="A board.",
    datasets=(SpecDataset(name="qm9-1k", revision="0" * 64, references=REFERENCES, k=12),),
    controls=("soap", "composition-relu-1", "composition-relu-2"),
    measurement=MEASUREMENT,
)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Two trained models, one better; the references differ in how hard they are."""
    random = np.random.default_rng(0)
    easy = np.array([0.1, 0.0, 0.05, -0.1])

    def of(name: str, level: float) -> Record:
        aligned = level + easy + 0.005 * random.normal(size=4)
        draws = {one: 0.005 * random.normal(size=DRAWS) for one in REFERENCES}
        made = record(name, dict(zip(REFERENCES, aligned, strict=True)), draws)
        return made.model_copy(
            update={
                "coverage": 1.0,
                "examined": {"beyond_composition": Examined(dominant=1, largest_share=0.3, left=0.25)},
            }
        )

    levels = {
        "diep-fold1": 0.5, "diep-fold1@untrained:1": 0.2, "diep-fold1@untrained:2": 0.21,
        "ani-2xt": 0.3, "ani-2xt@untrained:1": 0.28, "ani-2xt@untrained:2": 0.3,
        "soap": 0.35, "composition-relu-1": 0.1, "composition-relu-2": 0.12,
    }  # fmt: skip
    return [of(name, level) for name, level in levels.items()]


def test_rows_say_what_training_adds(records: list[Record]) -> None:
    (table,) = build_board(SPEC, records).datasets
    rows = {row.target: row for row in table.rows}
    assert not any("@untrained:" in name for name in rows), "own twins stand in their target's row"
    diep, ani = rows["diep-fold1"], rows["ani-2xt"]
    assert diep.gain is not None
    assert diep.gain.value == pytest.approx(0.295, abs=0.01)
    assert diep.gain.untrained == pytest.approx(0.2175, abs=0.01)
    assert (diep.gain.seeds, diep.gain.clear, diep.gain.stays) == (2, True, True)
    assert ani.gain is not None
    assert not ani.gain.clear
    assert diep.above_free is not None
    assert (diep.above_free.best, rows["soap"].gain) == ("soap", None)
    assert diep.above_free.value == pytest.approx(0.15, abs=0.01)
    assert ani.above_free is not None
    assert ani.above_free.value < 0
    assert (diep.rank, diep.rank_interval) == (1, (1, 1))
    assert (ani.rank, ani.rank_interval) == (2, (2, 2))
    assert diep.left == 0.25


def test_the_figures_of_a_data_set(records: list[Record]) -> None:
    (table,) = build_board(SPEC, records).datasets
    training = table.training
    assert training is not None
    assert (training.targets, training.clear, training.stay) == (2, 1, 1)
    assert training.expected_false == pytest.approx(0.05)
    paired = training.paired["atoms"]
    assert (paired.comparisons, paired.lineages, paired.positive) == (16, 2, 2)
    assert 0.75 <= (paired.value or 0) < 1
    assert training.null is not None
    assert training.null.comparisons == 4


def test_models_of_a_narrower_domain_have_a_line_of_their_own(records: list[Record]) -> None:
    """Antibody models, say: what they lose on other proteins is not lost by models of proteins."""

    def narrowed(one: Record) -> Record:
        if one.card.family != "ani":
            return one
        return one.model_copy(
            update={"card": one.card.model_copy(update={"domain": "antibodies"}), "distribution": "out"}
        )

    board = build_board(SPEC, [narrowed(one) for one in records])
    training = board.datasets[0].training
    assert training is not None
    assert set(training.paired) == {"atoms", "antibodies"}
    assert training.paired["atoms"].targets == training.paired["antibodies"].targets == 1
    page = render(board, records=records)
    assert "- antibodies: " in page
    assert "out, for antibodies" in page


def test_every_other_lineage_counts_once(records: list[Record]) -> None:
    """Two siblings are one voice, and one's own lineage none."""

    def pair(first: str, second: str, aligned: float) -> Pair:
        figures = PairFigures(cknna=0.5, calibrated=0.4, p_value=0.01, aligned=aligned)
        return Pair(first=first, second=second, items=1000, scores={"beyond_composition": figures})

    of = {one.target: one for one in records}
    for name in ("sevennet-0", "hienet-v3", "chgnet-0.3.0"):
        of[name] = of["diep-fold1"].model_copy(update={"target": name, "card": get_target(name).card})
    pairs = [
        pair("diep-fold1", "sevennet-0", 0.6),
        pair("diep-fold1", "hienet-v3", 0.4),  # of SevenNet's lineage
        pair("chgnet-0.3.0", "diep-fold1", 0.3),
        pair("hienet-v3", "sevennet-0", 0.9),
        pair("diep-fold1", "soap", 0.8),  # nobody trained it
    ]
    found = with_all_lineages(pairs, of, "beyond_composition")
    assert found == pytest.approx({"diep-fold1": 0.4, "sevennet-0": 0.6, "hienet-v3": 0.4, "chgnet-0.3.0": 0.3})
    (table,) = build_board(SPEC, records, pairs={"qm9-1k": pairs}).datasets
    assert {row.target: row.all_lineages for row in table.rows}["soap"] is None


def test_the_page_says_it_and_the_files_follow_the_schema(records: list[Record]) -> None:
    board = build_board(SPEC, records)
    plain = [
        one.model_copy(update={"card": one.card.model_copy(update={"twin": None})}) if one.card.family == "ani" else one
        for one in records
    ]
    page = render(board, records=plain)
    assert "training gain [95 %]" in page
    assert "**Training against own untrained twins**" in page
    assert "2 of 2 lineages gain" in page
    assert "would be expected if training added nothing" in page
    assert "**Training gain** is the alignment minus" in page
    assert "calibrated" not in page  # these boards' alignments are cut off nowhere
    assert "k = 12." in page
    twins = page.split("## How own twins are drawn")[1]
    drawn = {cells[1].strip(): cells[3].strip() for line in twins.splitlines() if len(cells := line.split("|")) > 3}
    assert drawn["ani"] == "all weights as the package draws them"
    assert "reference" in drawn["diep"]
    jsonschema.validate(json.loads(to_json(board)), json_schemas()["board.v2.json"])
    for one in records:
        jsonschema.validate(json.loads(to_json(one)), json_schemas()["record.v2.json"])


def test_a_board_without_own_twins_has_none_of_it(records: list[Record]) -> None:
    alone = [one for one in records if "@untrained" not in one.target]
    spec = SPEC.model_copy(update={"measurement": MEASUREMENT.model_copy(update={"free": ()})})
    board = build_board(spec, alone)
    assert board.datasets[0].training is None
    content = json.loads(to_json(board))["datasets"][0]
    assert "training" not in content
    assert not {"gain", "above_free"} & set(content["rows"][0])
    page = render(board, records=alone)
    assert "training gain [95 %]" not in page
    assert "own untrained twins" not in page
    assert "| soap" not in page.split("## How own twins are drawn")[1]


def test_what_is_linear_in_composition_says_so_in_place_of_a_score(records: list[Record]) -> None:
    soap = next(one for one in records if one.target == "soap")
    score = soap.scores["beyond_composition"]
    undefined = score.model_copy(update={"alignment": Interval(value=None, low=None, high=None), "pairs": {}})
    linear = soap.model_copy(
        update={
            "scores": {**soap.scores, "beyond_composition": undefined},
            "examined": {"beyond_composition": Examined(dominant=0, largest_share=0.1, left=1e-16)},
        }
    )
    board = build_board(SPEC, [linear if one is soap else one for one in records])
    head, *lines = lay_out("page", lines_of(board.datasets[0], board.datasets[0].rows))
    place = head.index("alignment [95 %]")
    assert {line[head.index("target")]: line[place] for line in lines}["soap (c)"] == "linear"
    assert "twin distance" not in head  # own twins stand in its place


def test_the_headline_says_what_training_adds_for_each_kind(records: list[Record]) -> None:
    board = build_board(SPEC, records)
    (sentence,) = headline(board)
    assert sentence.startswith("Networks that read atoms in space: a trained model aligns with a reference more than")
    assert "of the comparisons, on " in sentence
    assert "0.50 is a coin toss" in sentence
    head, line = training_table(board)
    assert head == ["data set", "atoms", "clear gains", "pooled, for comparison"]
    assert (line[0], line[2]) == ("qm9-1k", "1 of 2")
    page = render(board, records=records)
    assert page.index("## What training adds") < page.index("## qm9-1k")
    assert sentence in page
    nothing = build_board(SPEC, [one for one in records if "@untrained" not in one.target])
    assert training_section(nothing) == ([], [])


def test_own_twins_have_files_that_every_system_takes_and_no_page(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(_toml(SPEC.model_dump(mode="json")))
    for one in records:
        path = record_path(tmp_path / "results", one)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(one), "utf-8")
        assert not set(path.name) & set('<>:"/\\|?*'), "Windows takes no such file"
        assert target_of(path.stem) == one.target
    study = Study(tmp_path)
    everyone = {one.target for one in records}
    assert set(study.records("qm9-1k", own_twins=True)) == everyone
    assert set(study.records("qm9-1k")) == {name for name in everyone if "@untrained" not in name}
