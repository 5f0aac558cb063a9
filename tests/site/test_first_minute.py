"""A person's first minute: which model is closest to CHGNet on crystals, and is that more than composition?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import Site, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]  # one builds it, the others would wait

MODEL = "chgnet-0.3.0"
COMPOSITION = {"composition", "amino-acids", "size"}


def _crystals(site: Site, page: Page) -> list[str]:
    """Data sets of crystals on which the model has a score, by the columns of the front page's table."""
    heads = page.get_by_role("table", name=re.compile("^Models of crystals")).locator("thead th").all_inner_texts()
    named = {head.strip() for head in heads}
    return [name for name in site.datasets if name in named and site.records(name)[MODEL]["state"] == "ok"]


def expected(site: Site, dataset: str) -> dict[str, Any]:
    """The answer, from the pairs alone."""
    records = site.records(dataset)
    family = records[MODEL]["card"]["family"]
    paired: dict[str, dict[str, Any]] = {}
    for pair in site.pairs(dataset):
        ends = {pair["first"], pair["second"]}
        if MODEL in ends and "beyond_composition" in pair["scores"]:
            other = (ends - {MODEL}).pop()
            if records[other]["state"] == "ok" and pair["scores"]["beyond_composition"]["calibrated"] is not None:
                paired[other] = pair["scores"]["beyond_composition"]

    def best(names: set[str]) -> str | None:
        return max(names, key=lambda name: paired[name]["calibrated"], default=None)

    models = {name for name in paired if records[name]["trained"] and records[name]["card"]["family"] != family}
    closest = best(models)
    assert closest is not None, dataset
    controls = [best(paired.keys() & COMPOSITION), best({name for name in paired if name.endswith("@untrained")})]
    found = [paired[name] for name in controls if name is not None]
    low = paired[closest].get("low")
    # Without an interval (boards of before) the value stands for its ends.
    low = paired[closest]["calibrated"] if low is None else low
    highs = [one["calibrated"] if one.get("high") is None else one["high"] for one in found]
    return {
        "closest": closest,
        "figures": paired[closest],
        "controls": found,
        "more": bool(found)
        and paired[closest]["p_value"] <= 0.05
        and paired[closest]["calibrated"] > 0
        and all(low > high for high in highs),
    }


def test_two_clicks_answer(site: Site, visit: Visit) -> None:
    page = visit(site.page("index.html"))
    datasets = _crystals(site, page)
    assert len(datasets) > 1
    clicks = 0

    # First click: the model's name, in the table of crystals on the front page.
    crystals = page.get_by_role("table", name=re.compile("^Models of crystals"))
    crystals.get_by_role("rowheader", name=MODEL, exact=True).get_by_role("link").click()
    clicks += 1
    page.wait_for_url(f"**/target/{MODEL}.html")
    question = page.get_by_role("heading", name="Which model is closest, and is that more than composition?")
    assert question.is_visible()
    box = question.bounding_box()
    assert box is not None
    assert box["y"] < page.viewport_size["height"], "the answer stands where the page opens"  # type: ignore[index]
    table = page.get_by_role("table", name=re.compile("^The closest trained model"))
    heads = [head.strip() for head in table.locator("thead th").all_text_contents()]
    for dataset in datasets:
        answer = expected(site, dataset)
        row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name=dataset, exact=True))
        cells = dict(zip(heads, row.locator("th, td").all_inner_texts(), strict=True))
        assert cells["closest model"].strip() == answer["closest"], dataset
        figures = answer["figures"]
        assert f"{figures['calibrated']:.3f}" in cells["agreement"], dataset
        if figures.get("low") is not None:
            assert f"[{figures['low']:.3f}, {figures['high']:.3f}]" in cells["agreement"], dataset
        words = cells["more than composition?"]
        assert words.startswith("Yes") == answer["more"], (dataset, words)
        assert re.match(r"Yes:|No:|Not clearly:", words), (dataset, words)
        for control in answer["controls"]:
            if answer["more"]:
                assert f"{control['calibrated']:.3f}" in words, (dataset, words)

    # Second click: all that it was paired with on one of these data sets, closest first.
    page.get_by_text(re.compile(rf"^Everyone it was paired with on {datasets[0]}\b")).click()
    clicks += 1
    everyone = page.get_by_role("table", name=re.compile(rf"^Agreement of {MODEL}.* on {datasets[0]}"))
    names = everyone.locator("tbody th a").all_inner_texts()
    pairs = [one for one in site.pairs(datasets[0]) if MODEL in (one["first"], one["second"])]
    values = {
        one["first"] if one["second"] == MODEL else one["second"]: one["scores"]["beyond_composition"]["calibrated"]
        for one in pairs
        if "beyond_composition" in one["scores"]
    }
    assert set(names) == set(values)
    told = [values[name] for name in names if values[name] is not None]
    assert told == sorted(told, reverse=True)
    assert clicks == 2
