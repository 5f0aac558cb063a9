"""Figures whose numbers have to be those of the records, on the published board."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("plotly")
from skbio import TreeNode

from consilience import metrics
from consilience.registry import get_target
from consilience.scoring.presets import PRESETS, RANKED
from consilience.study import Drawing, Study, list_figures
from consilience.study.figures import convergence, discrimination, embedding_map, evolutionary_tree, regimes, sweeps

BOARD = Path(__file__).parents[2] / "leaderboard" / "v1"
NAMES = ("sweeps", "embedding-map", "evolutionary-tree", "regimes", "discrimination", "convergence")


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(BOARD)


def check(drawing: Drawing | None) -> Drawing:
    """What every drawing has to be."""
    assert drawing is not None
    assert drawing.plots
    assert drawing.sentence.endswith(".")
    assert any(character.isdigit() for character in drawing.sentence)
    assert drawing.table
    assert len({tuple(line) for line in drawing.table}) == 1, "the same keys in all lines"
    for line in drawing.table:
        assert not any(isinstance(value, float) and np.isnan(value) for value in line.values()), line
    for plot in drawing.plots.values():
        assert len(plot.to_json()) < 5e6
    return drawing


def test_all_are_registered() -> None:
    assert set(NAMES) <= set(list_figures())


def test_discrimination_is_that_of_the_board(study: Study) -> None:
    drawing = check(discrimination.draw(study, ""))
    for dataset in study.board.datasets:
        for preset in PRESETS:
            lines = [x for x in drawing.table if (x["dataset"], x["preparation"]) == (dataset.name, preset)]
            of = {k: np.array([x["cknna"] for x in lines if x["kind"] == k]) for k in ("both trained", "one untrained")}
            stated = dataset.discrimination[preset]
            assert (len(of["both trained"]), len(of["one untrained"])) == (stated.trained_pairs, stated.untrained_pairs)
            above, below = of["both trained"][:, None], of["one untrained"][None]
            assert ((above > below) + 0.5 * (above == below)).mean() == pytest.approx(stated.value)
            assert {x["discrimination"] for x in lines} == {stated.value}


def test_convergence_repeats_the_table(study: Study) -> None:
    drawing = check(convergence.draw(study, "qm9-1k"))
    rows = {row.target: row for row in study.dataset("qm9-1k").rows}
    for line in drawing.table:
        row = rows[str(line["target"])]
        assert line["alignment"] == row.alignment[RANKED].value
        assert line["parameters"] == row.parameters
        assert not row.control
    assert "training-set size is not drawn" in drawing.note.casefold()


@pytest.mark.parametrize(
    ("target", "year"),
    [
        ("minimol", 2024),  # arXiv.2404.14986
        ("chgnet-0.3.0", 2023),  # s42256-023-00716-3
        ("sevennet-0", 2024),  # acs.jctc.4c00190
        ("chemnet", 2018),  # acs.jcim.8b00234
        ("diep-fold1", 2024),  # D4DD00246F
        ("ani-1x", None),  # 10.1063/1.5023802 states none
    ],
)
def test_years_are_those_in_identifiers(target: str, year: int | None) -> None:
    assert convergence.year_of(get_target(target).card) == year


def test_tree_holds_the_trained_models(study: Study) -> None:
    drawing = check(evolutionary_tree.draw(study, "qm9-1k"))
    tree = TreeNode.read(io.StringIO(drawing.downloads["tree.nwk"]))
    trained = {name for name, record in study.records("qm9-1k").items() if record.trained}
    leaves = {tip.name for tip in tree.tips()}
    assert leaves <= trained
    assert len(leaves) >= 15
    apart = tree.cophenet()
    for line in drawing.table:
        if line["preparation"] == RANKED:
            first, second = str(line["target"]), str(line["nearest"])
            assert line["tree_distance"] == pytest.approx(min(apart[first, other] for other in leaves - {first}))
            pair = next(p for p in study.pairs("qm9-1k") if {p.first, p.second} == {first, second})
            assert line["cknna"] == pair.scores[RANKED].cknna


def test_kinship_counts_against_chance() -> None:
    nearest = {"a": "b", "b": "a", "c": "a", "d": "c"}
    found = evolutionary_tree.kinship(nearest, {"a": "x", "b": "x", "c": "y", "d": "y"})
    assert found == evolutionary_tree.Kinship(near=3, of=4, chance=pytest.approx(1 / 3))
    assert evolutionary_tree.kinship(nearest, dict.fromkeys(nearest, "x")) is None
    assert evolutionary_tree.kinship(nearest, {name: name for name in nearest}) is None


def test_regimes_are_means_over_pairs(study: Study) -> None:
    drawing = check(regimes.draw(study, ""))
    records = study.records("mp-1k")
    values = [
        pair.scores["paper"].calibrated
        for pair in study.pairs("mp-1k")
        if all(records[name].distribution == "in" for name in (pair.first, pair.second))
        and records[pair.first].card.family != records[pair.second].card.family
    ]
    line = next(
        x
        for x in drawing.table
        if (x["dataset"], x["preparation"], x["group"], x["quantity"]) == ("mp-1k", "paper", regimes.IN, "calibrated")
    )
    assert line["value"] == pytest.approx(np.mean([value for value in values if value is not None]))
    assert line["count"] == len(values)


def test_shifts_compare_the_same_pairs(study: Study) -> None:
    """Calibrated CKNNA of the crystal potentials on MOFs, less that on crystals; polymorphs have another null."""
    found = {(one.dataset, one.metric): one for one in regimes.shifts(study, RANKED)}
    one = found["mof-500", "calibrated"]
    families = {name: record.card.family for name, record in study.records("mof-500").items() if record.trained}
    values = {
        dataset: {
            frozenset((pair.first, pair.second)): pair.scores[RANKED].calibrated
            for pair in study.pairs(dataset)
            if {pair.first, pair.second} <= set(families) and families[pair.first] != families[pair.second]
        }
        for dataset in ("mp-1k", "mof-500")
    }
    both = sorted(set(values["mp-1k"]) & set(values["mof-500"]), key=sorted)
    before, after = (np.array([values[dataset][pair] for pair in both]) for dataset in ("mp-1k", "mof-500"))
    assert one.inside == ("mp-1k",)
    assert one.shift == pytest.approx((after - before).mean())
    assert one.risen == (after > before).sum()


def test_sweeps_meet_the_board_at_its_own_k_and_n(study: Study) -> None:
    drawing = check(sweeps.draw(study, "mp-1k"))
    assert set(drawing.plots) == {"k", "n"}
    names, matrix = study.matrix("mp-1k", "cknna")
    k, items = study.board.spec.settings.k, study.dataset("mp-1k").card.items
    own = [x for x in drawing.table if (x["k"], x["n"]) == (k, items)]
    assert len(own) == 2 * len({(x["first"], x["second"]) for x in drawing.table}), "once in each sweep"
    for line in own:
        expected = matrix[names.index(str(line["first"])), names.index(str(line["second"]))]
        assert line["cknna"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("neighbors", [None, 3])
def test_sweeps_show_a_metric_that_is_not_one_of_the_suite(
    study: Study, monkeypatch: pytest.MonkeyPatch, neighbors: int | None
) -> None:
    random = np.random.default_rng(0)
    count = 4 * study.board.spec.settings.k
    x = random.normal(size=(count, 5))
    given = sweeps.References({"a": x, "b": x + 0.1 * random.normal(size=x.shape)}, None)
    entry = metrics.get_metric("cka")
    card = entry.card.model_copy(update={"name": "first-column", "title": "first column"})

    def first_column(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x[:, 0], y[:, 0])[0, 1])

    def with_neighbors(x: np.ndarray, y: np.ndarray, *, k: int = 3) -> float:
        return first_column(x, y) * (1 - k / len(x))

    function = first_column if neighbors is None else with_neighbors
    monkeypatch.setattr("consilience.metrics.card._metrics", metrics.list_metrics())
    monkeypatch.setitem(metrics.card._metrics, "first-column", type(entry)(card, function))
    assert sweeps.swept_metrics() == ["cknna", "first-column"]
    plots = sweeps._plots_of("first-column", given, [("a", "b")], study.board.spec.settings)
    assert set(plots) == {"n, first column", *(["k, first column"] if neighbors else [])}
    for plot in plots.values():
        values = plot.data[0].y
        assert len(values) > 0
        assert all(0 < value < 1 for value in values)


def test_groups_of_relatives_are_not_broken_up(study: Study) -> None:
    drawing = check(sweeps.draw(study, "mp-polymorphs"))
    assert set(drawing.plots) == {"k"}


def test_energy_errors_average_to_the_record(study: Study) -> None:
    for target in ("chgnet-0.3.0", "sevennet-0"):
        embedding = study.embedding("mp-1k", target)
        assert embedding is not None
        errors = embedding_map.energy_errors(embedding, study.items("mp-1k"), seed=study.board.spec.settings.seed)
        energy = study.records("mp-1k")[target].energy
        assert energy is not None
        assert np.nanmean(errors) == pytest.approx(energy.mae_per_atom, rel=1e-4)
        assert np.isfinite(errors).sum() == energy.items


@pytest.mark.slow
def test_map_places_every_item_once(study: Study) -> None:
    drawing = check(embedding_map.draw(study, ""))
    target, names = embedding_map.choose_target(study, ("crystal", "molecule")) or ("", [])
    expected = sum(int(study.embedding(name, target).embedded.sum()) for name in names)  # type: ignore[union-attr]
    plot = drawing.plots[f"{target}: data sets"]
    shown = [tuple(one) for trace in plot.data for one in trace.customdata]
    assert len(shown) == len({one[:2] for one in shown}) == expected
    assert all(trace.type == "scattergl" for trace in plot.data)
    assert len(drawing.downloads[f"{target}.csv"].splitlines()) == expected + 1
    for line in drawing.table:
        assert 0 <= float(line["own_neighbors"] or 0) <= 1
