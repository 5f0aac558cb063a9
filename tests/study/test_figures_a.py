"""Heat map, imbalance plane, energy against alignment, local in and out, intrinsic dimension: numbers as recorded."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from scipy.stats import kstest, spearmanr

from consilience.cards import MODALITIES
from consilience.records.pairs import Pair
from consilience.scoring.presets import PRESETS, RANKED
from consilience.study.figure import Drawing
from consilience.study.figures import (
    energy_and_alignment,
    heat_map,
    imbalance_plane,
    intrinsic_dimension,
    local_in_and_out,
)
from consilience.study.palette import NEUTRAL, colour_of, layout, symbol_of
from consilience.study.study import Study, kind_of

BOARD = Path(__file__).parents[2] / "leaderboard" / "v1"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(BOARD)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Study]:
    """The board with the pairs of a data set changed: `change` takes each pair as it stands in the file."""

    def change_pairs(dataset: str, change: Callable[[int, dict[str, Any]], None]) -> Study:
        folder = Path(shutil.copytree(BOARD, tmp_path / "v1", dirs_exist_ok=True))
        path = folder / "pairs" / f"{dataset}.json"
        content = json.loads(path.read_text("utf-8"))
        for place, pair in enumerate(content["pairs"]):
            change(place, pair)
        path.write_text(json.dumps(content), "utf-8")
        return Study(folder)

    return change_pairs


def paired(study: Study) -> Iterator[str]:
    found = [name for name in study.datasets if study.pairs(name)]
    assert found
    yield from found


def by_names(study: Study, dataset: str) -> dict[frozenset[str], Pair]:
    return {frozenset((pair.first, pair.second)): pair for pair in study.pairs(dataset)}


def same_keys(drawing: Drawing) -> None:
    assert drawing.table
    assert len({tuple(line) for line in drawing.table}) == 1
    assert not any(isinstance(value, float) and math.isnan(value) for line in drawing.table for value in line.values())
    json.dumps(drawing.table)


# ---- palette


def test_every_modality_has_a_colour_of_its_own() -> None:
    assert len({colour_of(modality) for modality in MODALITIES}) == len(MODALITIES)
    assert len({symbol_of(kind) for kind in ("trained", "untrained", "baseline")}) == 3
    with pytest.raises(ValueError, match=r"modality: expected one of .*, found 'smell'"):
        colour_of("smell")


def test_layout_lies_on_light_and_dark_pages() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    made = layout("a", "b", xaxis={"range": [0, 1]}, height=300)
    assert made["paper_bgcolor"] == made["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert made["xaxis"]["range"] == [0, 1]
    assert made["xaxis"]["title"]["text"] == "a"  # merged, not replaced
    assert made["height"] == 300
    assert made["font"]["color"] == NEUTRAL
    # WCAG 2.2: text 4.5 to 1, the dark page being as good as black.
    assert 1.05 / (luminance(NEUTRAL) + 0.05) >= 4.5
    assert (luminance(NEUTRAL) + 0.05) / 0.05 >= 4.5
    assert go.Figure(layout=made).layout.yaxis.title.text == "b"


# ---- heat map


def test_heat_map_cells_are_the_records(study: Study) -> None:
    for dataset in paired(study):
        drawing = heat_map.draw(study, dataset)
        assert drawing is not None
        same_keys(drawing)
        pairs = by_names(study, dataset)
        assert len(drawing.table) == len(pairs)
        orders = {tuple(plot.data[0].x) for tab, plot in drawing.plots.items() if tab != "by family"}
        assert len(orders) == 1  # one order for all tabs
        for tab, preset in (("CKNNA", RANKED), ("CKNNA, paper's preparation", "paper")):
            cells = drawing.plots[tab].data[0]
            assert list(cells.x) == list(cells.y)
            for (i, first), (j, second) in combinations(enumerate(cells.x), 2):
                wanted = pairs[frozenset((first, second))].scores[preset]
                assert cells.z[i][j] == cells.z[j][i] == wanted.calibrated
                if wanted.low is not None:
                    assert f"{wanted.low:.3f} to {wanted.high:.3f}, p {wanted.p_value:.3f}" in cells.text[i][j]
                assert f"{pairs[frozenset((first, second))].items} items" in cells.text[j][i]
            assert np.isnan(np.diag(np.asarray(cells.z))).all()


def test_heat_map_of_directed_metrics_goes_from_row_to_column(study: Study) -> None:
    seen = 0
    for dataset in paired(study):
        pairs = study.pairs(dataset)
        if not pairs[0].scores[RANKED].metrics:
            continue
        drawing = heat_map.draw(study, dataset)
        assert drawing is not None
        cells = drawing.plots["information imbalance"].data[0]
        place = {name: i for i, name in enumerate(cells.x)}
        for pair in pairs:
            i, j = place[pair.first], place[pair.second]
            metrics = pair.scores[RANKED].metrics
            assert cells.z[i][j] == metrics["information_imbalance_to"]
            assert cells.z[j][i] == metrics["information_imbalance_from"]
            assert drawing.plots["dCor"].data[0].z[i][j] == metrics["distance_correlation"]
        seen += 1
    if not seen:
        pytest.skip("the board's pairs have no other metric than CKNNA yet")


def test_heat_map_by_family_averages_pairs(study: Study) -> None:
    drawing = heat_map.draw(study, "qm9-1k")
    assert drawing is not None
    records = study.records("qm9-1k")

    def group(name: str) -> str:
        return records[name].card.family + ("@untrained" if name.endswith("@untrained") else "")

    wanted: dict[frozenset[str], list[float]] = {}
    for pair in study.pairs("qm9-1k"):
        value = pair.scores[RANKED].calibrated
        assert value is not None
        wanted.setdefault(frozenset((group(pair.first), group(pair.second))), []).append(value)
    cells = drawing.plots["by family"].data[0]
    for i, first in enumerate(cells.y):
        for j, second in enumerate(cells.x):
            values = wanted.get(frozenset((first, second)))
            if values is None:
                assert first == second  # a family of one has no pair within
                assert np.isnan(cells.z[i][j])
            else:
                assert cells.z[i][j] == pytest.approx(np.mean(values))
    lines = list(csv.DictReader(io.StringIO(drawing.downloads["families.csv"])))
    assert {frozenset((line["first"], line["second"])): int(line["pairs"]) for line in lines} == {
        names: len(values) for names, values in wanted.items()
    }


def test_clustering_finds_groups_and_the_chain_within() -> None:
    random = np.random.default_rng(0)
    # Points on a line, in two groups: the order is that of the line, whichever way round.
    line = np.array([0, 1, 2.1, 3.3, 20, 21.2, 22.5, 24])
    shuffled = random.permutation(len(line))
    distances = np.abs(line[shuffled][:, None] - line[shuffled][None])
    order = heat_map.clustered(distances)
    assert list(line[shuffled][order]) in (sorted(line), sorted(line, reverse=True))
    distances[0, 1] = distances[1, 0] = np.nan
    assert sorted(heat_map.clustered(distances)) == list(range(len(line)))


def test_heat_map_survives_gaps(changed: Callable[..., Study]) -> None:
    def spoil(place: int, pair: dict[str, Any]) -> None:
        scores = pair["scores"][RANKED]
        if place == 0:
            scores.update(cknna=None, calibrated=None, p_value=None, low=None, high=None)
        if place == 1:
            del pair["scores"][RANKED]

    spoiled = changed("mp-1k", spoil)
    drawing = heat_map.draw(spoiled, "mp-1k")
    assert drawing is not None
    same_keys(drawing)
    cells = drawing.plots["CKNNA"].data[0]
    pair = spoiled.pairs("mp-1k")[0]
    i, j = list(cells.x).index(pair.first), list(cells.x).index(pair.second)
    assert np.isnan(cells.z[i][j])
    for draw in (imbalance_plane.draw, energy_and_alignment.draw):
        draw(spoiled, "mp-1k")
    local_in_and_out.draw(spoiled)


def test_heat_map_shows_every_metric_that_the_pairs_hold(changed: Callable[..., Study]) -> None:
    def measure(place: int, pair: dict[str, Any]) -> None:
        pair["scores"][RANKED]["metrics"] |= {"of-a-plug-in": place / 1000}

    board = changed("mp-1k", measure)
    drawing = heat_map.draw(board, "mp-1k")
    assert drawing is not None
    same_keys(drawing)
    assert {"dCor", "information imbalance", "I_dCor", "CKA", "mutual kNN", "of-a-plug-in"} <= set(drawing.plots)
    cells = drawing.plots["of-a-plug-in"].data[0]
    place = {name: i for i, name in enumerate(cells.x)}
    for pair in board.pairs("mp-1k"):
        i, j = place[pair.first], place[pair.second]
        assert cells.z[i][j] == cells.z[j][i] == pair.scores[RANKED].metrics["of-a-plug-in"]
    assert {line["of-a-plug-in"] for line in drawing.table} == {x / 1000 for x in range(len(drawing.table))}


def test_heat_map_of_no_pairs_is_none(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BOARD, tmp_path / "v1", ignore=shutil.ignore_patterns("pairs")))
    bare = Study(folder)
    assert heat_map.draw(bare, "mp-1k") is None
    assert imbalance_plane.draw(bare, "mp-1k") is None
    assert energy_and_alignment.draw(bare, "qm9-1k") is None
    assert local_in_and_out.draw(bare) is None
    assert intrinsic_dimension.draw(bare) is not None  # needs records alone


# ---- information imbalance


def points_of(plot: go.Figure) -> set[tuple[float, float]]:
    drawn = [(x, y) for trace in plot.data for x, y in zip(trace.x, trace.y, strict=True) if x is not None]
    return {(float(x), float(y)) for x, y in drawn}


def test_imbalance_plane_shows_each_pair_where_it_was_measured(changed: Callable[..., Study]) -> None:
    def measure(place: int, pair: dict[str, Any]) -> None:
        for preset in PRESETS:
            pair["scores"][preset]["metrics"] = {
                "information_imbalance_to": 0.01 * place,
                "information_imbalance_from": 0.5 + 0.01 * place,
                "distance_correlation": 1 - 0.02 * place,
                "intrinsic_dimension_correlation": 0.5,
            }

    study = changed("mp-1k", measure)
    drawing = imbalance_plane.draw(study, "mp-1k")
    assert drawing is not None
    same_keys(drawing)
    wanted = {(0.01 * place, 0.5 + 0.01 * place) for place in range(len(study.pairs("mp-1k")))}
    for plot in drawing.plots.values():
        assert points_of(plot) == wanted
        assert plot.layout.xaxis.range == plot.layout.yaxis.range
        assert plot.layout.yaxis.scaleanchor == "x"
    # The trained models of crystals were all trained on the Materials Project.
    trained = sum(record.trained for record in study.records("mp-1k").values())
    inside = [trace for trace in drawing.plots["in and out of distribution"].data if trace.name.startswith("both in")]
    assert [len(trace.x) for trace in inside] == [trained * (trained - 1) / 2]
    assert {line["regime"] for line in drawing.table} == {"both in distribution", "with a control"}


def test_imbalance_plane_is_none_without_imbalance(changed: Callable[..., Study]) -> None:
    def forget(place: int, pair: dict[str, Any]) -> None:
        for scores in pair["scores"].values():
            scores["metrics"] = {}

    assert imbalance_plane.draw(changed("mp-1k", forget), "mp-1k") is None


def test_imbalance_plane_numbers_are_the_records(study: Study) -> None:
    seen = 0
    for dataset in paired(study):
        pairs = [pair for pair in study.pairs(dataset) if "information_imbalance_to" in pair.scores[RANKED].metrics]
        if not pairs:
            assert imbalance_plane.draw(study, dataset) is None
            continue
        drawing = imbalance_plane.draw(study, dataset)
        assert drawing is not None
        for pair, line in zip(pairs, drawing.table, strict=True):
            scores = pair.scores[RANKED]
            assert (line["first"], line["second"]) == (pair.first, pair.second)
            assert line["imbalance_to"] == scores.metrics["information_imbalance_to"]
            assert line["imbalance_from"] == scores.metrics["information_imbalance_from"]
            assert line["calibrated"] == scores.calibrated
        apart = [line for line in drawing.table if line["pair"] == "trained, different families"]
        both = [(line["imbalance_to"] + line["imbalance_from"]) / 2 for line in apart]  # type: ignore[operator]
        assert f"is {np.mean(both):.2f} (" in drawing.sentence
        if len(apart) >= 6:
            rho = -spearmanr(both, [line["distance_correlation"] for line in apart]).statistic
            assert f"dCor {rho:.2f}" in drawing.sentence
        seen += 1
    if not seen:
        pytest.skip("the board's pairs have no information imbalance yet")


# ---- energy error and alignment

NAMES = ["ani-1x", "ani-2xt", "aimnet2-wb97m-d3", "so3lr", "diep-fold1", "chgnet-0.3.0", "chgnet-0.3.0@untrained"]


def test_models_are_compared_with_the_best_of_another_family(study: Study) -> None:
    records = [study.records("qm9-1k")[name] for name in NAMES]
    _, alignment = study.matrix("qm9-1k", targets=NAMES)
    # The best three: an untrained network, which is no model to be compared with, and two of one family.
    errors = np.array([0.2, 0.1, 0.3, 0.4, 0.5, 0.6, 0.05])
    found = energy_and_alignment.anchored(errors, alignment, records)
    assert found.best == "ani-2xt"
    assert found.anchors == ["aimnet2-wb97m-d3"] * 2 + ["ani-2xt"] * 5
    assert found.values == [alignment[0, 2], alignment[1, 2], *alignment[2:, 1]]


def test_controls_are_not_counted(study: Study) -> None:
    records = [study.records("qm9-1k")[name] for name in NAMES]
    _, alignment = study.matrix("qm9-1k", targets=NAMES)
    errors = np.array([0.2, 0.1, 0.3, 0.4, 0.5, 0.6, 0.05])
    test = energy_and_alignment.rank_correlation_of_errors(errors, alignment, records)
    errors[6] = 9.0
    assert energy_and_alignment.rank_correlation_of_errors(errors, alignment, records) == test
    assert (test.models, test.families) == (6, 5)
    found = energy_and_alignment.anchored(errors, alignment, records)
    assert test.value == pytest.approx(spearmanr(errors[:6], found.values[:6]).statistic)


def test_p_is_uniform_when_errors_say_nothing(study: Study) -> None:
    # Errors drawn at random know nothing of alignment, though the best is chosen by them: one model of each family.
    chosen: dict[str, str] = {}
    for name, record in study.records("qm9-1k").items():
        if record.trained:
            chosen.setdefault(record.card.family, name)
    records = [study.records("qm9-1k")[name] for name in chosen.values()]
    _, alignment = study.matrix("qm9-1k", targets=list(chosen.values()))
    random = np.random.default_rng(5)
    p_values = [
        energy_and_alignment.rank_correlation_of_errors(
            random.uniform(size=len(records)), alignment, records, permutations=999, seed=seed
        ).p_value
        for seed in range(60)
    ]
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_energy_figure_shows_the_records(study: Study) -> None:
    for dataset in paired(study):
        records = study.records(dataset)
        names, matrix = study.matrix(dataset)
        drawing = energy_and_alignment.draw(study, dataset)
        known = {
            "energy_mae": {n: r.energy.mae for n in names if (r := records[n]).energy},
            "energy_mae_out_of_sample": {n: r.energy.mae_out_of_sample for n in names if (r := records[n]).energy},
            "probe_mae": {n: r.probe.mae for n in names if (r := records[n]).probe},
        }
        tabs = [column for column, values in known.items() if len(values) >= 4]
        if drawing is None:
            assert not tabs
            continue
        same_keys(drawing)
        assert len(drawing.plots) == len(tabs)
        for column, plot in zip(tabs, drawing.plots.values(), strict=True):
            lines = [line for line in drawing.table if line["error"] == column]
            ranked = sorted((n for n in known[column] if records[n].trained), key=lambda name: known[column][name] or 0)
            for line in lines:
                name = line["target"]
                assert isinstance(name, str)
                assert line["value"] == known[column][name]
                others = [other for other in ranked if records[other].card.family != records[name].card.family]
                assert line["compared_with"] == others[0]
                assert line["calibrated"] == matrix[names.index(name), names.index(others[0])]
                assert line["counted"] == (kind_of(records[name]) == "trained")
            assert points_of(plot) == {(line["value"], line["calibrated"]) for line in lines}
            counted = [line for line in lines if line["counted"]]
            if len(counted) >= 4:
                rho = spearmanr([line["value"] for line in counted], [line["calibrated"] for line in counted]).statistic
                assert lines[0]["rank_correlation"] == pytest.approx(rho)
                assert f"{rho:+.2f} over {len(counted)} models" in drawing.sentence
                assert f"p = {lines[0]['family_permutation_p']:.2g}" in drawing.sentence
            else:
                assert lines[0]["rank_correlation"] is None
                assert "too few trained models" in drawing.sentence


def test_three_energies_make_no_tab(study: Study) -> None:
    records = study.records("mp-1k")
    if sum(record.energy is not None for record in records.values()) >= 4:
        pytest.skip("by now four models have an energy on mp-1k")
    drawing = energy_and_alignment.draw(study, "mp-1k")
    assert drawing is not None
    assert list(drawing.plots) == ["probe"]


# ---- local alignment in and out


def test_local_figure_sets_the_same_pairs_against_each_other(study: Study) -> None:
    drawing = local_in_and_out.draw(study)
    assert drawing is not None
    same_keys(drawing)
    matter = {name: study.dataset(name).card.matter for name in study.datasets}
    assert {tuple(sorted(tab.split(" and "))) for tab in drawing.plots} == {
        tuple(sorted(two))
        for two in combinations(study.datasets, 2)
        if matter[two[0]] == matter[two[1]]
        and len(by_names(study, two[0]).keys() & by_names(study, two[1]).keys()) >= 6
    }
    for tab, plot in drawing.plots.items():
        one, other = tab.split(" and ")
        lines = [line for line in drawing.table if (line["x_dataset"], line["y_dataset"]) == (one, other)]
        x, y = by_names(study, one), by_names(study, other)
        assert len(lines) == len(x.keys() & y.keys())
        for line in lines:
            names = frozenset((str(line["first"]), str(line["second"])))
            assert line["x_calibrated"] == x[names].scores[RANKED].calibrated
            assert line["y_calibrated"] == y[names].scores[RANKED].calibrated
        assert points_of(plot) == {(line["x_calibrated"], line["y_calibrated"]) for line in lines}


def test_local_figure_counts_trained_pairs_below_the_diagonal(study: Study) -> None:
    drawing = local_in_and_out.draw(study)
    assert drawing is not None
    assert "mp-1k and mof-500" in drawing.plots  # trained on crystals of the Materials Project, not on frameworks
    lines = [
        line
        for line in drawing.table
        if (line["x_dataset"], line["y_dataset"], line["pair"]) == ("mp-1k", "mof-500", "trained, different families")
    ]
    differences = [float(line["y_calibrated"]) - float(line["x_calibrated"]) for line in lines]  # type: ignore[arg-type]
    below = sum(difference < 0 for difference in differences)
    assert f"{below} of {len(lines)}" in drawing.sentence
    assert f"on mof-500 than on mp-1k, mean difference {np.mean(differences):+.3f}" in drawing.sentence


# ---- intrinsic dimension


def test_intrinsic_dimension_shows_the_records(study: Study) -> None:
    drawing = intrinsic_dimension.draw(study)
    assert drawing is not None
    same_keys(drawing)
    for preset, plot in zip((RANKED, "standardized", "paper"), drawing.plots.values(), strict=True):
        wanted = sorted(
            value
            for dataset in study.datasets
            for record in study.records(dataset).values()
            if (value := record.singles.get(preset, {}).get("intrinsic_dimension")) is not None
        )
        drawn = sorted(float(value) for trace in plot.data if trace.type == "scatter" for value in trace.x)
        assert drawn == wanted
        listed = [line[f"intrinsic_dimension_{preset}"] for line in drawing.table]
        assert sorted(float(value) for value in listed if value is not None) == wanted
    trained = [
        value
        for record in study.records("mp-1k").values()
        if record.trained and (value := record.singles[RANKED]["intrinsic_dimension"]) is not None
    ]
    assert f"mp-1k {median(trained):.1f}" in drawing.sentence
