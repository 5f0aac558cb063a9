"""What a figure shows and lets people download is what the records say: read here as plain JSON, by other code."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from .conftest import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]  # one builds it, the others would wait

PRESETS = ("paper", "standardized", "beyond_composition")


def download(site: Site, name: str) -> list[dict[str, Any]]:
    """Lines of a figure's download; its CSV has to say the same as its JSON."""
    folder = site.folder / "download"
    lines: list[dict[str, Any]] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as text:
        table = list(csv.DictReader(text))
    assert [{key: _written(value) for key, value in line.items()} for line in lines] == table
    assert lines, name
    return lines


def _written(value: Any) -> str:
    """A value as the csv module writes it."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([value])
    return next(csv.reader([out.getvalue()]), [""])[0] if value is not None else ""


def plots(site: Site, name: str) -> list[dict[str, Any]]:
    """Plots of a figure as its page loads them."""
    found = []
    for path in sorted((site.folder / "data" / "figures").glob(f"{name}-[0-9]*.js")):
        text = path.read_text("utf-8")
        found.append(json.loads(text[text.index("]=") + 2 :].rstrip().rstrip(";")))
    assert found, name
    return found


def paired(site: Site, dataset: str) -> list[dict[str, Any]]:
    """Pairs of targets that both have a score."""
    scored = {target for target, record in site.records(dataset).items() if record["state"] == "ok"}
    return [pair for pair in site.pairs(dataset) if {pair["first"], pair["second"]} <= scored]


@pytest.mark.parametrize("which", ["site", "small_site"])
def test_heat_map(which: str, request: pytest.FixtureRequest) -> None:
    site: Site = request.getfixturevalue(which)
    for dataset in site.datasets:
        found = {frozenset((line["first"], line["second"])): line for line in download(site, f"heat-map--{dataset}")}
        pairs = {frozenset((pair["first"], pair["second"])): pair for pair in paired(site, dataset)}
        assert found.keys() == pairs.keys(), dataset
        for ends, pair in pairs.items():
            line = found[ends]
            for prefix, preset in (("", "beyond_composition"), ("paper_", "paper")):
                told = pair["scores"].get(preset) or {}
                for figure in ("calibrated", "cknna", "p_value", "low", "high"):
                    assert line[prefix + figure] == told.get(figure), (dataset, ends, preset, figure)
            metrics = pair["scores"].get("beyond_composition", {}).get("metrics", {})
            for name in ("distance_correlation", "intrinsic_dimension_correlation"):
                assert line[name] == metrics.get(name), (dataset, ends, name)
            ways = ["information_imbalance_to", "information_imbalance_from"]
            ways = ways if line["first"] == pair["first"] else ways[::-1]
            told = [metrics.get(f"information_imbalance_{way}") for way in ("to", "from")]
            assert [line[way] for way in ways] == told, (dataset, ends)


def test_heat_map_draws_the_numbers_that_it_lets_download(site: Site) -> None:
    for dataset in site.datasets:
        values: dict[frozenset[str], float | None] = {}
        for pair in paired(site, dataset):
            told = pair["scores"].get("beyond_composition") or {}
            values[frozenset((pair["first"], pair["second"]))] = told.get("calibrated")
        trace = plots(site, f"heat-map--{dataset}")[0]["data"][0]
        z = decoded(trace["z"])
        assert len(z) == len(trace["y"])
        drawn = 0
        for (i, row), (j, column) in product(enumerate(trace["y"]), enumerate(trace["x"])):
            expected = values.get(frozenset((row, column))) if row != column else None
            value = None if z[i][j] is None or z[i][j] != z[i][j] else z[i][j]
            assert value == expected, (dataset, row, column)
            drawn += value is not None
        assert drawn == 2 * sum(value is not None for value in values.values())


def decoded(values: Any) -> list[Any]:
    """Numbers of a trace, which plotly writes as lists or as base64 of a typed array."""
    import numpy as np

    if not isinstance(values, dict):
        return list(values)
    import base64

    array = np.frombuffer(base64.b64decode(values["bdata"]), dtype=np.dtype(values["dtype"]))
    if "shape" in values:
        array = array.reshape([int(size) for size in str(values["shape"]).split(",")])
    found: list[Any] = array.tolist()
    return found


@pytest.mark.parametrize("which", ["site", "small_site"])
def test_discrimination(which: str, request: pytest.FixtureRequest) -> None:
    site: Site = request.getfixturevalue(which)
    found: dict[tuple[str, str], dict[str, dict[frozenset[str], float]]] = defaultdict(lambda: defaultdict(dict))
    told: dict[tuple[str, str], set[float]] = defaultdict(set)
    for line in download(site, "discrimination"):
        place = (line["dataset"], line["preparation"])
        found[place][line["kind"]][frozenset((line["first"], line["second"]))] = line["cknna"]
        told[place].add(line["discrimination"])
    expected = {}
    for dataset, preset in product(site.datasets, PRESETS):
        trained, mixed = _compared(site.records(dataset), preset)
        if trained and mixed:
            expected[dataset, preset] = {"both trained": trained, "one untrained": mixed}
    assert {place: dict(kinds) for place, kinds in found.items()} == expected
    for place, kinds in expected.items():
        wins = [(a > b) + 0.5 * (a == b) for a, b in product(*(list(pairs.values()) for pairs in kinds.values()))]
        assert len(told[place]) == 1, place
        assert told[place].pop() == pytest.approx(sum(wins) / len(wins), abs=1e-6), place


def _compared(records: dict[str, Any], preset: str) -> tuple[dict[frozenset[str], float], dict[frozenset[str], float]]:
    """Pairs of both kinds with their CKNNA: of targets with references of other families that read the same."""
    twins = {name for name in records if name.endswith("@untrained")}
    reads = {records[name]["card"]["modality"] for name in twins}
    trained: dict[frozenset[str], float] = {}
    mixed: dict[frozenset[str], float] = {}
    for name, record in records.items():
        alike = record["trained"] and record["card"]["modality"] in reads
        group = mixed if name in twins else trained if alike else None
        if group is None or record["state"] != "ok":
            continue
        for reference, score in record["scores"].get(preset, {"pairs": {}})["pairs"].items():
            if score["cknna"] is not None:
                group[frozenset((name, reference))] = score["cknna"]
        own = record["twin"].get(preset, {}).get("cknna") if record["trained"] else None
        if own is not None:
            mixed[frozenset((name, f"{name}@untrained"))] = own
    return trained, mixed


def test_energy_and_alignment(site: Site) -> None:
    from scipy.stats import spearmanr

    drawn = [page.stem for page in (site.folder / "figure").glob("energy-and-alignment--*.html")]
    assert drawn
    for name in drawn:
        dataset = name.split("--")[1]
        records = {target: one for target, one in site.records(dataset).items() if one["state"] == "ok"}
        scores = {
            frozenset((pair["first"], pair["second"])): pair["scores"].get("beyond_composition") or {}
            for pair in paired(site, dataset)
        }
        known = {target for ends in scores for target in ends}
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in download(site, name):
            groups[line["error"]].append(line)
        for error, lines in groups.items():
            errors = {target: _error(record, error) for target, record in records.items()}
            ranked = sorted(
                (value, target)
                for target, value in errors.items()
                if value is not None and records[target]["trained"] and target in known
            )
            assert {target for _, target in ranked} == {line["target"] for line in lines if line["counted"]}, error
            for line in lines:
                target = line["target"]
                assert line["value"] == errors[target]
                assert line["parameters"] == records[target]["card"]["parameters"]
                assert line["best"] == ranked[0][1]
                family = records[target]["card"]["family"]
                best = next(other for _, other in ranked if records[other]["card"]["family"] != family)
                assert line["compared_with"] == best, (dataset, error, target)
                pair = scores[frozenset((target, best))]
                for figure in ("calibrated", "low", "high", "p_value"):
                    assert line[figure] == pair.get(figure), (dataset, error, target, figure)
            counted = [line for line in lines if line["counted"]]
            if len(counted) < 4:  # too few for a rank correlation
                assert {line["rank_correlation"] for line in lines} == {None}
                continue
            correlation = spearmanr(*([line[key] for line in counted] for key in ("value", "calibrated"))).statistic
            told = {line["rank_correlation"] for line in lines}
            assert len(told) == 1
            assert told.pop() == pytest.approx(correlation, abs=1e-9), (dataset, error)


def _error(record: dict[str, Any], name: str) -> float | None:
    kind, _, which = name.partition("_")
    found: float | None = (record[kind] or {}).get(which)
    return found


def test_records_that_pages_link_to_are_those_of_the_board(site: Site) -> None:
    for dataset in site.datasets:
        for target, record in site.records(dataset).items():
            path = site.folder / "records" / dataset / f"{target}.json"
            written = json.loads(path.read_text("utf-8"))
            for name in ("state", "reason", "trained", "scores", "singles", "twin", "energy", "probe"):
                assert written[name] == record.get(name), (path, name)


def test_every_figure_has_its_numbers_beside_it(site: Site) -> None:
    for page in sorted((site.folder / "figure").glob("*.html")):
        assert download(site, page.stem), page.name
        assert plots(site, page.stem), page.name
        assert Path(site.folder / "download" / f"{page.stem}.csv").stat().st_size > 0
