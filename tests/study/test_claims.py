"""Claims are judged by rules, from what a board holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from consilience.records.pairs import Pair
from consilience.study import Study, list_figures
from consilience.study.claims import _vote, judge, verdict_of

BOARD = Path(__file__).parents[2] / "leaderboard" / "v1"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(BOARD)


def test_every_claim_is_judged_with_numbers_and_a_figure(study: Study) -> None:
    claims = judge(study)
    assert len(claims) >= 12
    assert len({claim.claim for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.verdict in ("held", "not held", "can't be judged here")
        assert claim.figure in list_figures(), claim
        if claim.verdict != "can't be judged here":
            assert any(character.isdigit() for character in claim.number), claim


def test_discrimination_claims_repeat_the_board(study: Study) -> None:
    by_figure = [claim for claim in judge(study) if claim.figure == "discrimination"]
    for claim, preset in zip(by_figure, ("paper", "beyond_composition"), strict=True):
        values = {d.name: d.discrimination[preset].value for d in study.board.datasets}
        known = {name: value for name, value in values.items() if value is not None}
        for name, value in known.items():
            assert f"{name} {value:.2f}" in claim.number
        held = min(known.values()) < 0.8 if preset == "paper" else min(known.values()) >= 0.95
        assert claim.verdict == ("held" if held else "not held")


def test_the_verdict_follows_the_pairs(study: Study) -> None:
    """With sequence and structure models made to agree fully, proteins do align more than molecules."""
    altered = Study(BOARD)
    altered.board  # noqa: B018
    pairs: list[Pair] = []
    modality = {name: record.card.modality for name, record in study.records("proteins-500").items()}
    for pair in study.pairs("proteins-500"):
        kinds = {modality[pair.first], modality[pair.second]}
        if kinds == {"protein_sequence", "protein_structure"}:
            scores = {preset: one.model_copy(update={"cknna": 1.0}) for preset, one in pair.scores.items()}
            pair = pair.model_copy(update={"scores": scores})
        pairs.append(pair)
    altered._pairs["proteins-500"] = pairs
    before, after = (
        next(claim for claim in judge(one) if claim.claim.startswith("Protein sequence")) for one in (study, altered)
    )
    assert after.verdict == "held"
    assert before.number != after.number


def test_one_voice_against_is_enough() -> None:
    assert verdict_of([(1, ""), (0, ""), (-1, "")]) == "not held"
    assert verdict_of([(1, ""), (0, "")]) == "held"
    assert verdict_of([(0, "")]) == "can't be judged here"
    assert verdict_of([]) == "can't be judged here"


@pytest.mark.parametrize(
    ("value", "p_value", "models", "expected"),
    [
        (0.8, 0.01, 8, 1),
        (0.8, 0.2, 8, 0),
        (0.1, 0.6, 30, -1),
        (-0.8, 0.01, 8, -1),
        (-0.2, 0.6, 8, 0),
        (0.9, 0.01, 4, 0),
        (float("nan"), float("nan"), 30, 0),
    ],
)
def test_few_models_neither_hold_nor_refute(value: float, p_value: float, models: int, expected: int) -> None:
    assert _vote(value, p_value, models, sign=1) == expected
