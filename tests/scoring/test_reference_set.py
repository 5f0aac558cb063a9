"""Intervals and draws of a panel, against halves scored one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from consilience.board.ranking import rank_intervals
from consilience.datasets import Items, open_dataset
from consilience.embedding.store import Embedding
from consilience.metrics import cknna, prepare
from consilience.metrics.inference.resampling import draw_halves
from consilience.records.record import PresetScore
from consilience.records.spec import SpecSettings, read_spec
from consilience.registry import get_target
from consilience.scoring import reference_set as panel_module
from consilience.scoring.protocol import Protocol
from consilience.scoring.reference_set import ReferenceSet

from ..boards import V1_SPEC  # noqa: TID252

N = 160
SETTINGS = SpecSettings(k=8, permutations=39, subsamples=20, seed=5)


def of(settings: SpecSettings) -> Protocol:
    return Protocol.of(read_spec(V1_SPEC).model_copy(update={"settings": settings}))


PROTOCOL = of(SETTINGS)


class NoItems:
    """A data set of which nothing is known but the order of its items."""

    electronic_energy = None

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def controls(self) -> np.ndarray:
        return np.arange(float(self.n))[:, None]

    def select(self, usable: np.ndarray) -> NoItems:
        return NoItems(int(usable.sum()))


def target(name: str) -> Any:
    return SimpleNamespace(card=SimpleNamespace(family=name, descends_from=None, ancestor=None), trained=True)


def embedding(rows: np.ndarray) -> Embedding:
    return Embedding(rows.astype(np.float32), np.full(len(rows), np.nan), [str(i) for i in range(len(rows))])


@pytest.fixture(scope="module")
def views() -> dict[str, Embedding]:
    """Views of the same hidden variables, from faithful to unrelated."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(N, 4))
    noises = {"first": 0.3, "second": 0.3, "near": 0.1, "far": 1.5, "nothing": 1e3}
    return {
        name: embedding(np.tanh(hidden @ random.normal(size=(4, 12))) + noise * random.normal(size=(N, 12)))
        for name, noise in noises.items()
    }


@pytest.fixture(scope="module")
def panel(views: dict[str, Embedding]) -> ReferenceSet:
    references = {name: (target(name), views[name]) for name in ("first", "second")}
    return ReferenceSet(NoItems(N), PROTOCOL, references)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scores(panel: ReferenceSet, views: dict[str, Embedding]) -> dict[str, PresetScore]:
    return {
        name: panel.score(target(name), views[name])["scores"]["paper"] for name in ("near", "far", "nothing", "first")
    }


@pytest.mark.parametrize("name", ["near", "far", "nothing", "first"])
def test_draws_and_interval_against_halves_scored_one_by_one(
    scores: dict[str, PresetScore], views: dict[str, Embedding], name: str
) -> None:
    found = scores[name]
    rows = {other: prepare(views[other].features, scheme="unit") for other in ("first", "second", name)}
    centres, draws = [], []
    for reference, pair in found.pairs.items():
        assert pair.null_quantile is not None
        assert pair.cknna is not None
        room = 1 - pair.null_quantile
        halves = [cknna(rows[name][r], rows[reference][r], k=4) for r in draw_halves(N, 10, seed=5)]
        centres.append((pair.cknna - pair.null_quantile) / room)
        draws.append(
            [centres[-1] + (halves[s] - halves[s ^ 1]) / 2 / room for s in range(20)]  # s ^ 1: the complement
        )
    assert len(draws) == (1 if name == "first" else 2)  # a family is left out of its own score
    np.testing.assert_allclose(found.draws, np.mean(np.maximum(draws, 0), axis=0), rtol=1e-6, atol=1e-9)
    centre = np.mean(centres)
    reach = 1.959963984540054 * np.sqrt(np.mean((np.mean(draws, axis=0) - centre) ** 2))
    value, low, high = found.alignment.value, found.alignment.low, found.alignment.high
    assert value == pytest.approx(np.mean(np.maximum(centres, 0)), abs=1e-9)
    assert low == pytest.approx(max(0, min(centre - reach, value)), abs=1e-6)
    assert high == pytest.approx(max(centre + reach, value), abs=1e-6)
    assert low <= value <= high


def test_what_does_not_agree_has_an_interval_down_to_nothing(scores: dict[str, PresetScore]) -> None:
    alignment = scores["nothing"].alignment
    assert alignment.low == 0
    assert alignment.high is not None
    assert 0 < alignment.high < 0.1


def test_draws_are_joint_for_all_targets(panel: ReferenceSet, views: dict[str, Embedding]) -> None:
    """Two targets that differ by little move together, so that their order is told apart better than each value."""
    random = np.random.default_rng(1)
    near = views["near"].features
    drawn = {
        name: panel.score(target(name), embedding(near + noise * random.normal(size=near.shape)))["scores"]["paper"]
        for name, noise in (("better", 0.0), ("worse", 0.25))
    }
    better, worse = (np.array(drawn[name].draws) for name in ("better", "worse"))
    assert np.corrcoef(better, worse)[0, 1] > 0.5
    assert (better > worse).all()
    intervals = [drawn[name].alignment for name in ("better", "worse")]
    assert intervals[0].low < intervals[1].high  # type: ignore[operator]
    assert rank_intervals({name: one.draws for name, one in drawn.items()}) == {"better": (1, 1), "worse": (2, 2)}


def test_items_that_are_not_embedded_are_left_out_of_the_halves(
    panel: ReferenceSet, views: dict[str, Embedding]
) -> None:
    missing = views["near"].features.copy()
    missing[[3, 70, 71]] = np.nan
    usable = np.isfinite(missing).all(axis=1)
    references = {name: (one, view.take(usable)) for name, (one, view) in panel.references.items()}
    alone = ReferenceSet(NoItems(N - 3), PROTOCOL, references)  # type: ignore[arg-type]
    found = panel.score(target("near"), embedding(missing))["scores"]["paper"]
    expected = alone.score(target("near"), embedding(missing[usable]))["scores"]["paper"]
    assert found.draws == expected.draws
    assert found.alignment == expected.alignment


def test_an_undefined_half_leaves_the_ends_open(
    panel: ReferenceSet, views: dict[str, Embedding], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consilience.scoring.alignment.subsample_scores", lambda a, b, rows: np.full(len(rows), np.nan))
    found = panel.score(target("far"), views["far"])["scores"]["paper"]
    assert found.alignment.value > 0
    assert found.alignment.low is None
    assert found.alignment.high is None
    assert set(found.draws) == {None}


@pytest.fixture(scope="module")
def polymorphs() -> Items:
    return open_dataset("mp-polymorphs")


def composition(items: Items) -> Embedding:
    chosen = get_target("composition")
    return embedding(chosen.load(chosen.card, chosen.weights, "cpu")(items.view("atoms")).features)


def structural(items: Items) -> Embedding:
    """What a good model might see: the composition, and how much room an atom has."""
    random = np.random.default_rng(0)
    fractions = composition(items).features[:, 118:]
    volume = np.log([atoms.cell.volume / len(atoms) for atoms in items.view("atoms")])
    volume = (volume - volume.mean()) / volume.std()
    return embedding(np.tanh(np.column_stack([3 * fractions @ random.normal(size=(118, 16)), volume])))


def test_permutations_stay_within_the_strata(polymorphs: Items) -> None:
    formulas = polymorphs.strata("reduced_formula")
    within = ReferenceSet(polymorphs, PROTOCOL, {}, strata="reduced_formula")._permutations
    assert within.shape == (39, 1068)
    assert (formulas[within] == formulas).all()
    assert (within != np.arange(1068)).any(axis=0).mean() > 0.99
    free = ReferenceSet(polymorphs, PROTOCOL, {})._permutations
    assert (formulas[free] == formulas).mean() < 0.02


def test_relabelled_within_formulas_composition_is_no_merit(polymorphs: Items) -> None:
    settings = SETTINGS.model_copy(update={"k": 25})
    references = {"reference": (target("reference"), structural(polymorphs))}
    baseline, better = composition(polymorphs), structural(polymorphs)
    free = ReferenceSet(polymorphs, of(settings), references).score(target("composition"), baseline)["scores"]
    panel = ReferenceSet(polymorphs, of(settings), references, strata="reduced_formula")
    within = panel.score(target("composition"), baseline)["scores"]
    for preset in ("paper", "standardized"):
        before, after = free[preset].pairs["reference"], within[preset].pairs["reference"]
        assert before.cknna == after.cknna > 0.4
        assert before.calibrated > 0.4
        assert before.p_value == pytest.approx(1 / 40)
        assert after.calibrated < 0.002
        assert after.p_value > 0.05
    # What sees more than composition keeps its merit.
    scores = panel.score(target("better"), better)["scores"]
    assert scores["standardized"].pairs["reference"].calibrated == pytest.approx(1)
    assert scores["standardized"].pairs["reference"].p_value == pytest.approx(1 / 40)


def test_strata_of_a_panel_are_those_of_the_items_left(polymorphs: Items) -> None:
    settings = SETTINGS.model_copy(update={"k": 25})
    reference, some = structural(polymorphs), composition(polymorphs)
    some.features[::9] = np.nan
    kept = some.embedded
    assert 0 < kept.sum() < 1068
    whole = ReferenceSet(polymorphs, of(settings), {"r": (target("r"), reference)}, strata="reduced_formula")
    part = ReferenceSet(
        polymorphs.select(kept), of(settings), {"r": (target("r"), reference.take(kept))}, strata="reduced_formula"
    )
    got, wanted = (
        one.score(target("c"), rows)["scores"]["standardized"] for one, rows in ((whole, some), (part, some.take(kept)))
    )
    assert got == wanted


def test_many_items_are_scored_in_tiles_and_score_the_same(
    scores: dict[str, PresetScore], views: dict[str, Embedding], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_module, "MAX_DENSE_ITEMS", N - 1)
    references = {name: (target(name), views[name]) for name in ("first", "second")}
    tiled = ReferenceSet(NoItems(N), PROTOCOL, references).score(target("near"), views["near"])["scores"]["paper"]  # type: ignore[arg-type]
    assert tiled.alignment == scores["near"].alignment
    assert tiled.metrics.keys() == scores["near"].metrics.keys()
    for name, value in scores["near"].metrics.items():
        assert tiled.metrics[name] == pytest.approx(value, abs=1e-5), name
