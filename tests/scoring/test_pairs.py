"""All pairs of a data set, and what a board makes of them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from consilience.board.groups import agreement, read_pairs, write_pairs
from consilience.datasets.items import open_dataset
from consilience.embedding.store import Embedding
from consilience.metrics import calibrate, cka, distance_correlation, information_imbalance, prepare
from consilience.records.pairs import AllPairs, Pair, PairFigures
from consilience.records.record import Record
from consilience.records.spec import SpecSettings, read_spec
from consilience.scoring.pairs import score_all_pairs
from consilience.scoring.presets import PRESETS
from consilience.scoring.protocol import Protocol

from ..boards import V1_SPEC  # noqa: TID252

N = 120
SETTINGS = SpecSettings(**{**read_spec(V1_SPEC).settings.model_dump(), "k": 10, "permutations": 50})
PROTOCOL = Protocol.of(read_spec(V1_SPEC).model_copy(update={"settings": SETTINGS}))


@pytest.fixture(scope="module")
def items() -> Any:
    return open_dataset("qm9-1k").head(N)


def embeddings(items: Any) -> dict[str, Embedding]:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(N, 6))
    views = {name: np.tanh(hidden @ rng.normal(size=(6, 20))) for name in ("a", "b")}
    rows = {**views, "noise": rng.normal(size=(N, 20)), "constant": np.ones((N, 20))}
    return {name: Embedding(one.astype(np.float32), np.full(N, np.nan), list(items.ids)) for name, one in rows.items()}


def test_every_pair_agrees_with_the_pair_scored_alone(items: Any) -> None:
    found = embeddings(items)
    pairs = {(p.first, p.second): p for p in score_all_pairs(items, found, PROTOCOL)}
    assert set(pairs) == set(combinations(["a", "b", "noise"], 2))  # rows that do not differ have no neighbours
    for (first, second), pair in pairs.items():
        assert pair.items == N
        assert set(pair.scores) == set(PRESETS)
        x, y = (
            prepare(found[name].features, scheme="standardized", controls=items.controls()) for name in (first, second)
        )
        alone = calibrate(x, y, metric="cknna", k=10, permutations=50, seed=SETTINGS.seed, alpha=SETTINGS.alpha)
        got = pair.scores["beyond_composition"]
        assert got.cknna == pytest.approx(alone.score, abs=1e-12)
        assert got.calibrated == pytest.approx(alone.calibrated, abs=1e-12)
        assert got.p_value == pytest.approx(alone.p_value, abs=1e-12)
    assert pairs["a", "b"].scores["standardized"].p_value == pytest.approx(1 / 51)
    assert pairs["a", "noise"].scores["standardized"].p_value > 0.05


def test_items_that_a_target_lacks_are_missing_from_its_own_pairs_only(items: Any) -> None:
    found = embeddings(items)
    before = {(p.first, p.second): p for p in score_all_pairs(items, found, PROTOCOL)}
    for name, gone in (("b", slice(0, 7)), ("noise", slice(5, 9))):
        rows = found[name].features.copy()
        rows[gone] = np.nan
        found[name] = Embedding(rows, found[name].energies, found[name].ids)
    found["c"] = Embedding(found["a"].features + 1, found["a"].energies, found["a"].ids)
    pairs = {(p.first, p.second): p for p in score_all_pairs(items, found, PROTOCOL)}
    counts = {("a", "b"): N - 7, ("a", "noise"): N - 4, ("a", "c"): N, ("b", "noise"): N - 9}
    counts |= {("b", "c"): N - 7, ("noise", "c"): N - 4}
    assert {key: pair.items for key, pair in pairs.items()} == counts
    assert pairs["a", "b"] != before["a", "b"]
    kept = found["b"].embedded
    alone = score_all_pairs(items.select(kept), {name: found[name].take(kept) for name in ("a", "b")}, PROTOCOL)[0]
    assert pairs["a", "b"].scores == alone.scores
    # Two that lack the same items: one group, and all of their pairs.
    found["d"] = Embedding(found["c"].features.copy(), found["c"].energies, found["c"].ids)
    found["d"].features[~kept] = np.nan
    pairs = {(p.first, p.second): p for p in score_all_pairs(items, found, PROTOCOL)}
    assert set(pairs) == set(combinations(["a", "b", "noise", "c", "d"], 2))
    assert {name: pairs[name].items for name in (("b", "d"), ("a", "d"), ("noise", "d"))} == {
        ("b", "d"): N - 7, ("a", "d"): N - 7, ("noise", "d"): N - 9,
    }  # fmt: skip


def test_pairs_hold_the_other_metrics_and_an_interval_around_the_calibrated_score(items: Any) -> None:
    found = embeddings(items)
    (pair,) = score_all_pairs(items, {name: found[name] for name in ("a", "b")}, PROTOCOL)
    x, y = (prepare(found[name].features, scheme="standardized", controls=items.controls()) for name in ("a", "b"))
    got = pair.scores["beyond_composition"]
    assert got.metrics["distance_correlation"] == pytest.approx(distance_correlation(x, y), abs=1e-6)
    there, back = information_imbalance(x, y)
    assert got.metrics["information_imbalance_to"] == pytest.approx(there, abs=1e-6)
    assert got.metrics["information_imbalance_from"] == pytest.approx(back, abs=1e-6)
    assert got.low < got.calibrated < got.high
    assert pair.scores["standardized"].low is None
    assert pair.scores["paper"].metrics["cka"] == pytest.approx(
        cka(*(prepare(found[name].features, scheme="unit") for name in ("a", "b"))), abs=1e-9
    )


def _pair(first: str, second: str, value: float, p: float) -> Pair:
    figures = PairFigures(cknna=value, calibrated=value, p_value=p)
    return Pair(first=first, second=second, items=N, scores=dict.fromkeys(PRESETS, figures))


def _record(name: str, family: str, modality: str, *, trained: bool = True) -> Record:
    card: Any = {"name": name.partition("@")[0], "family": family, "modality": modality}
    if modality == "baseline":
        card["view"] = "smiles"
    return Record(
        board="v1", dataset="qm9-1k", revision="0" * 64, target=name, card=card, trained=trained, state="ok"
    )  # fmt: skip


def test_groups_leave_siblings_and_baselines_out() -> None:
    records = {
        r.target: r
        for r in (
            _record("s1", "s", "string"),
            _record("s2", "s", "string"),
            _record("g", "g", "graph"),
            _record("g@untrained", "g", "graph", trained=False),
            _record("base", "base", "baseline", trained=False),
        )
    }
    pairs = [
        _pair("g", "s1", 0.2, 0.1),
        _pair("s2", "g", 0.4, 0.3),
        _pair("s1", "s2", 0.9, 0.0),
        _pair("g", "g@untrained", 0.9, 0.0),
        _pair("g@untrained", "s1", 0.1, 0.9),
        _pair("base", "s1", 0.9, 0.0),
    ]
    found = {(g.first, g.second): g for g in agreement(pairs, records, PRESETS)}
    assert set(found) == {("string", "graph"), ("string", "untrained")}
    assert found["string", "graph"].pairs == 2
    assert found["string", "graph"].calibrated["paper"] == pytest.approx(0.3)
    assert found["string", "graph"].p_value["paper"] == pytest.approx(0.4)
    assert found["string", "untrained"].p_value["paper"] == 1.0


def test_published_pairs_stay_where_an_embedding_is_not_at_hand(tmp_path: Any) -> None:
    def published(*pairs: Pair) -> AllPairs:
        return AllPairs(board="v1", dataset="qm9-1k", revision="0" * 64, pairs=list(pairs))

    write_pairs(tmp_path, published(_pair("a", "b", 0.1, 0.1), _pair("a", "gone", 0.1, 0.1)), {"a", "b", "gone"})
    write_pairs(tmp_path, published(_pair("b", "c", 0.2, 0.1), _pair("b", "a", 0.3, 0.1)), {"a", "b", "c"})
    found = read_pairs(tmp_path, "qm9-1k")
    assert found is not None
    assert [(p.first, p.second, p.scores["paper"].cknna) for p in found.pairs] == [("b", "a", 0.3), ("b", "c", 0.2)]


def test_published_pairs_of_another_embedding_go(tmp_path: Any) -> None:
    old = [_pair("a", "b", 0.1, 0.1), _pair("b", "c", 0.1, 0.1)]
    write_pairs(tmp_path, AllPairs(board="v1", dataset="qm9-1k", revision="0" * 64, pairs=old), {"a", "b", "c"})
    none = AllPairs(board="v1", dataset="qm9-1k", revision="0" * 64, pairs=[])
    write_pairs(tmp_path, none, {"a", "b", "c"}, {"a"})
    found = read_pairs(tmp_path, "qm9-1k")
    assert found is not None
    assert [(p.first, p.second) for p in found.pairs] == [("b", "c")]


def test_a_file_of_pairs_that_is_something_else_is_named(tmp_path: Any) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "qm9-1k.json").write_text("{}")
    with pytest.raises(ValueError, match=r"qm9-1k\.json does not hold pairs"):
        read_pairs(tmp_path, "qm9-1k")


def test_pairs_with_strata_agree_with_the_pair_scored_alone() -> None:
    items = open_dataset("mp-polymorphs").sample(N, stratify="reduced_formula")
    found = embeddings(items)
    strata = items.strata("reduced_formula")
    pairs = {(p.first, p.second): p for p in score_all_pairs(items, found, PROTOCOL, "reduced_formula")}
    free = {(p.first, p.second): p for p in score_all_pairs(items, found, PROTOCOL)}
    for (first, second), pair in pairs.items():
        x, y = (prepare(found[name].features, scheme="standardized") for name in (first, second))
        alone = calibrate(
            x, y, metric="cknna", k=10, permutations=50, seed=SETTINGS.seed, alpha=SETTINGS.alpha, strata=strata
        )
        got = pair.scores["standardized"]
        assert got.calibrated == pytest.approx(alone.calibrated, abs=1e-12)
        assert got.p_value == pytest.approx(alone.p_value, abs=1e-12)
        assert got.cknna == free[first, second].scores["standardized"].cknna
    # Most items have no other of their formula here, so relabelling changes little, and little is above it.
    assert pairs["a", "b"].scores["standardized"].calibrated < free["a", "b"].scores["standardized"].calibrated


def test_strata_of_pairs_are_those_of_the_items_that_both_embed() -> None:
    items = open_dataset("mp-polymorphs").sample(N, stratify="reduced_formula")
    found = embeddings(items)
    rows = found["b"].features.copy()
    rows[:11] = np.nan
    found["b"] = Embedding(rows, found["b"].energies, found["b"].ids)
    pairs = {(p.first, p.second): p for p in score_all_pairs(items, found, PROTOCOL, "reduced_formula")}
    kept = found["b"].embedded
    few = {name: found[name].take(kept) for name in ("a", "b")}
    (alone,) = score_all_pairs(items.select(kept), few, PROTOCOL, "reduced_formula")
    assert pairs["a", "b"].items == N - 11
    assert pairs["a", "b"].scores == alone.scores
