"""The site as a person opens it: as files, in a browser, without a network."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from .conftest import PHONE, REPOSITORY, SMALL_DATASETS, SMALL_TARGETS, WIDE, Site, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]  # one builds it, the others would wait

#: A page with all that it loads has to stay below this.
PAGE_BYTES = 5_000_000
#: Figures that every board like this one has, and that every data set with models has.
OF_THE_BOARD = ("discrimination", "embedding-map", "intrinsic-dimension", "local-in-and-out", "regimes")
OF_A_DATASET = ("heat-map", "evolutionary-tree", "convergence", "sweeps")
#: Parts that the pages are shared out in, so that parallel workers help each other.
PARTS = 4
#: Boxes of what stands on a page, in the order of the document: no two of them may lie on each other.
BOXES = """() => {
  const shown = element => {
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    return style.display !== 'none' && style.visibility !== 'hidden' && !['absolute', 'fixed', 'sticky']
      .includes(style.position) && box.width > 1 && box.height > 1;
  };
  const name = element => element.tagName.toLowerCase() + (element.id ? '#' + element.id : '')
    + (element.className && element.className.baseVal === undefined ? '.' + element.className : '');
  const groups = [[...document.body.children], [...(document.querySelector('main') || document.body).children],
    ...[...document.querySelectorAll('main section, main article, main > div, header, nav')]
      .map(one => [...one.children])];
  const found = [];
  for (const group of groups) {
    const boxes = group.filter(shown).map(element => [name(element), element.getBoundingClientRect()]);
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
      const [a, b] = [boxes[i][1], boxes[j][1]];
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 1) found.push(`${boxes[i][0]} and ${boxes[j][0]}: ${wide} x ${high}`);
    }
  }
  return found;
}"""
#: What reaches beyond the right edge without a box of its own that scrolls.
WIDER = """() => {
  const room = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= room + 1) return [];
  return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > room + 1)
    .slice(0, 8).map(e => `${e.tagName}.${e.getAttribute('class')} to ${e.getBoundingClientRect().right}`);
}"""


#: Words of plots that are cut off, or lie on each other where they stand level or upright.
WORDS = """() => {
  const found = [];
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    if (plot.offsetParent === null) continue;
    const room = plot.getBoundingClientRect();
    const name = plot.closest('[data-name]')?.dataset.name ?? '';
    for (const text of plot.querySelectorAll('svg.main-svg text')) {
      const box = text.getBoundingClientRect();
      if (box.width && (box.left < room.left - 2 || box.right > room.right + 2))
        found.push(`${name}: "${text.textContent}" is cut off`);
    }
    for (const ticks of ['.xtick text', '.ytick text', '.legendtext']) {
      const boxes = [...plot.querySelectorAll(ticks)].filter(text => {
        const turned = /rotate\\((-?[\\d.]+)/.exec(text.getAttribute('transform') || '');
        return text.textContent && (!turned || Number(turned[1]) % 90 === 0);
      }).map(text => [text.textContent, text.getBoundingClientRect()]);
      let lying = 0;
      for (let i = 1; i < boxes.length; i++) {
        const [a, b] = [boxes[i - 1][1], boxes[i][1]];
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        // Letters are lower than their box.
        lying += wide > 0 && high > 0 && wide * high > 0.35 * Math.min(a.width * a.height, b.width * b.height);
      }
      if (lying) found.push(`${name}: ${lying} of ${boxes.length} labels (${ticks}) lie on their neighbours`);
    }
  }
  return found;
}"""


@dataclass
class Links(HTMLParser):
    """Addresses and ids of a page, read without a browser."""

    path: Path
    followed: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        address = given.get("href") or given.get("src") or given.get("data")
        if tag == "a" and address is not None:
            self.followed.append(address)
        elif tag in ("link", "script", "img", "iframe", "object", "source", "embed", "use") and address:
            self.loaded.append(address)

    def file(self, address: str) -> Path:
        """File that an address inside the site means."""
        parts = urlsplit(address)
        path = self.path.parent / unquote(parts.path) if parts.path else self.path
        return path / "index.html" if path.is_dir() else path


def kind(site: Site, page: Path) -> str:
    """Kind of a page: its folder, or the name of a page that stands alone."""
    inside = page.relative_to(site.folder)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def one_of_each(site: Site) -> list[Path]:
    """One page of each kind, and of each figure."""
    found: dict[str, Path] = {}
    for page in site.pages:
        group = kind(site, page)
        found.setdefault(page.stem.split("--")[0] if group == "figure" else group, page)
    return list(found.values())


def draw_all(page: Page) -> None:
    """Bring every plot of a page into view and wait until it is drawn."""
    for canvas in page.locator(".canvas:visible").all():
        canvas.scroll_into_view_if_needed()
        expect_drawn(canvas)
    page.evaluate("() => window.scrollTo(0, 0)")


def expect_drawn(canvas: Locator) -> None:
    """Wait until a plot is drawn."""
    page = canvas.page
    page.wait_for_function(
        "one => ['drawn', 'failed'].includes(one.dataset.state)", arg=canvas.element_handle(), timeout=30_000
    )
    assert canvas.get_attribute("data-state") == "drawn", f"{page.url}: {canvas.inner_text()}"
    assert canvas.locator("svg.main-svg").count() > 0, page.url


def test_site_has_a_page_for_each_thing(site: Site) -> None:
    names = {str(page.relative_to(site.folder)) for page in site.pages}
    targets = {target for dataset in site.datasets for target in site.records(dataset)}
    assert {"index.html", "study.html"} <= names
    assert {f"dataset/{dataset}.html" for dataset in site.datasets} <= names
    assert {f"target/{target}.html" for target in targets} <= names
    figures = {f"figure/{name}.html" for name in OF_THE_BOARD}
    for dataset in site.datasets:
        drawn = set(OF_A_DATASET)
        if any(_measured(pair, "information_imbalance_to") for pair in site.pairs(dataset)):
            drawn.add("imbalance-plane")
        records = [one for one in site.records(dataset).values() if one["state"] == "ok"]
        if any(sum(one[error] is not None for one in records) > 3 for error in ("energy", "probe")):
            drawn.add("energy-and-alignment")
        figures |= {f"figure/{name}--{dataset}.html" for name in drawn}
    assert figures - names == set()


def _measured(pair: dict[str, Any], metric: str) -> bool:
    return pair["scores"].get("beyond_composition", {}).get("metrics", {}).get(metric) is not None


def test_links_resolve(site: Site, small_site: Site) -> None:
    broken = []
    for one in (site, small_site):
        pages = {page: Links(page) for page in one.pages}
        for page, links in pages.items():
            for address in [*links.followed, *links.loaded]:
                scheme = urlsplit(address).scheme
                if scheme in ("data", "mailto", "blob") or (scheme in ("http", "https") and address in links.followed):
                    continue
                file, fragment = links.file(address).resolve(), urlsplit(address).fragment
                inside = not scheme and file.is_relative_to(one.folder.resolve()) and file.is_file()
                # A state of the page rather than a place on it: sort=..., x:y.
                a_place = fragment and not set("=&:/") & set(fragment)
                if not inside or (a_place and file in pages and unquote(fragment) not in pages[file].ids):
                    broken.append(f"{page.relative_to(one.folder)}: {address}")
    assert not broken, "\n".join(broken)


def test_no_path_of_this_machine_in_the_site(site: Site) -> None:
    paths = [f"{path}/".encode() for path in (Path.home(), REPOSITORY, tempfile.gettempdir())]
    found = {}
    for path in site.folder.rglob("*"):
        if path.is_file() and (told := [one for one in paths if one in path.read_bytes()]):
            found[str(path.relative_to(site.folder))] = told
    assert found == {}


@pytest.mark.parametrize("part", range(PARTS))
def test_no_page_reports_an_error_or_is_too_large(part: int, site: Site, visit: Visit) -> None:
    page = visit.context().new_page()
    loaded: set[str] = set()
    page.on("request", lambda request: loaded.add(request.url))
    too_large = {}
    for path in site.pages[part::PARTS]:
        loaded.clear()
        visit.goto(page, path)
        draw_all(page)
        files = {Path(unquote(urlsplit(url).path)) for url in loaded if url.startswith("file:")}
        size = sum(file.stat().st_size for file in files if file.is_file())
        if size >= PAGE_BYTES:
            too_large[path.name] = size
        assert page.title(), path
        assert page.locator("h1").count() == 1, path
        assert page.locator("main").count() == 1, path
    assert too_large == {}


def test_small_board_of_a_user_opens(small_site: Site, visit: Visit) -> None:
    targets = {page.stem for page in (small_site.folder / "target").glob("*.html")}
    assert targets == set(SMALL_TARGETS)
    assert {page.stem for page in (small_site.folder / "dataset").glob("*.html")} == set(SMALL_DATASETS)
    page = visit.context().new_page()
    for path in small_site.pages:
        visit.goto(page, path)
        draw_all(page)


def test_report_is_one_file(report: Path, visit: Visit) -> None:
    assert report.stat().st_size < PAGE_BYTES
    links = Links(report)
    assert [address for address in links.loaded if not address.startswith("data:")] == []
    page = visit(report)
    draw_all(page)
    assert page.locator("h1").inner_text() == "My CHGNet"
    assert "my-chgnet" in page.locator("main").inner_text()
    assert page.locator("svg.main-svg").count() > 0


# -- tables ----------------------------------------------------------------------------------------------------------


def _visible_column(page: Page, table: str, column: int) -> list[float | str | None]:
    """A column of the rows that can be seen: numbers, words, None for what has no value."""
    found: list[str | None] = page.evaluate(
        """([table, column]) => [...document.querySelector(table).tBodies[0].rows]
          .filter(row => row.offsetParent !== null)
          .map(row => row.cells[column].dataset.v ?? row.cells[column].textContent.trim())""",
        [table, column],
    )
    return [_value(text) for text in found]


def _value(text: str | None) -> float | str | None:
    if text in (None, "", "–"):
        return None
    try:
        return float(text.replace("−", "-").split()[0].rstrip("%")) if text else None
    except ValueError:
        return str(text).casefold()


def test_a_press_on_a_head_sorts(site: Site, visit: Visit) -> None:
    page = visit(site.page("dataset/qm9-1k.html"))
    heads = page.locator("#board-table thead th")
    before = sorted(_visible_column(page, "#board-table", 1), key=str)
    orders = set()
    for column in range(heads.count() - 2):  # neither states nor links
        ways = set()
        for _ in range(2):
            heads.nth(column).get_by_role("button").click()
            assert heads.nth(column).get_attribute("aria-sort") in ("ascending", "descending")
            assert page.locator("#board-table th[aria-sort]").count() == 1
            ways.add(heads.nth(column).get_attribute("aria-sort"))
            values = _visible_column(page, "#board-table", column)
            known = [value for value in values if value is not None]
            if all(isinstance(value, float) for value in known):
                up = heads.nth(column).get_attribute("aria-sort") == "ascending"
                assert known == sorted(known, key=float, reverse=not up), heads.nth(column).inner_text()
            assert values[: len(known)] == known, "what has no value stands last"
            orders.add(tuple(_visible_column(page, "#board-table", 1)))
        assert ways == {"ascending", "descending"}
    assert len(orders) > 5
    assert sorted(_visible_column(page, "#board-table", 1), key=str) == before


def test_a_table_is_sorted_with_the_keyboard(site: Site, visit: Visit) -> None:
    page = visit(site.page("dataset/qm9-1k.html"))
    head = page.locator("#board-table thead th").nth(1)
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    names = _visible_column(page, "#board-table", 1)
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert _visible_column(page, "#board-table", 1) != names


def test_filters_leave_what_was_asked_for(site: Site, visit: Visit) -> None:
    records = site.records("qm9-1k")
    page = visit(site.page("dataset/qm9-1k.html"))
    form = page.locator("form.filter")
    told = form.get_by_role("status")

    def shown() -> set[str]:
        page.wait_for_timeout(50)  # a reset is applied when the fields have changed, just after its event
        names = page.locator("#board-table tbody tr:visible th a").all_inner_texts()
        assert told.inner_text().startswith(f"{len(names)} of {len(records)} "), told.inner_text()
        return set(names)

    assert shown() == set(records)
    form.get_by_label("Reads").select_option("graph")
    assert shown() == {name for name, one in records.items() if one["card"]["modality"] == "graph"}
    form.get_by_role("button", name="Clear").click()
    form.get_by_label("Distribution").select_option("out")
    assert shown() == {name for name, one in records.items() if one["distribution"] == "out"}
    form.get_by_role("button", name="Clear").click()
    form.get_by_label("hide controls").check()
    assert shown() == {name for name, one in records.items() if one["trained"]}
    form.get_by_label("hide what is not scored").check()
    assert shown() == {name for name, one in records.items() if one["trained"] and one["state"] == "ok"}
    form.get_by_label("Search").fill("chgnet")
    assert shown() == {name for name, one in records.items() if "chgnet" in name and one["trained"]}
    form.get_by_label("Search").fill("no such model")
    assert shown() == set()
    form.get_by_role("button", name="Clear").click()
    assert shown() == set(records)
    form.get_by_label("Family").select_option("chgnet")
    assert shown() == {name for name, one in records.items() if one["card"]["family"] == "chgnet"}


def test_every_cell_states_its_score_or_its_reason(site: Site, visit: Visit) -> None:
    page = visit.context().new_page()
    for dataset in site.datasets:
        visit.goto(page, site.page(f"dataset/{dataset}.html"))
        rows: dict[str, str] = page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll('#board-table tbody tr')]
              .map(row => [row.querySelector('th a').textContent, row.textContent]))"""
        )
        records = site.records(dataset)
        assert rows.keys() == records.keys()
        for name, record in records.items():
            if record["state"] != "ok":
                assert record["reason"] in rows[name], (dataset, name)
                continue
            for preset in ("beyond_composition", "standardized", "paper"):
                score = record["scores"].get(preset)
                if score and score["alignment"]["value"] is not None:
                    assert f"{score['alignment']['value']:.3f}" in rows[name], (dataset, name, preset)


# -- figures ---------------------------------------------------------------------------------------------------------


def test_tabs_follow_the_keyboard(site: Site, visit: Visit) -> None:
    page = visit(site.page("figure/heat-map--qm9-1k.html"))
    draw_all(page)
    tabs = page.get_by_role("tab")
    count = tabs.count()
    assert count > 1
    tabs.first.focus()

    def chosen() -> int:
        selected = [tab.get_attribute("aria-selected") for tab in tabs.all()]
        assert selected.count("true") == 1
        place = selected.index("true")
        assert page.evaluate("document.activeElement.id") == tabs.nth(place).get_attribute("id")
        panels = page.locator("[role=tabpanel]:visible")
        assert panels.count() == 1
        assert panels.get_attribute("id") == tabs.nth(place).get_attribute("aria-controls")
        return place

    for key, expected in (
        ("ArrowRight", 1),
        ("ArrowLeft", 0),
        ("ArrowLeft", count - 1),
        ("Home", 0),
        ("End", count - 1),
    ):
        page.keyboard.press(key)
        assert chosen() == expected
    draw_all(page)


def test_a_figure_is_taken_away_as_svg_and_csv(site: Site, visit: Visit, tmp_path: Path) -> None:
    page = visit(site.page("figure/heat-map--qm9-1k.html"), accept_downloads=True)
    draw_all(page)
    with page.expect_download() as waited:
        page.get_by_role("button", name="SVG").click()
    waited.value.save_as(tmp_path / "figure.svg")
    picture = (tmp_path / "figure.svg").read_text("utf-8")
    assert picture.startswith("<svg")
    assert "chgnet-0.3.0" in picture
    with page.expect_download() as waited:
        page.get_by_role("link", name="CSV", exact=True).click()
    waited.value.save_as(tmp_path / "figure.csv")
    assert (tmp_path / "figure.csv").read_bytes() == (site.folder / "download/heat-map--qm9-1k.csv").read_bytes()


def test_hovering_a_heat_map_tells_the_pair(site: Site, visit: Visit) -> None:
    page = visit(site.page("figure/heat-map--mp-1k.html"))
    draw_all(page)
    area = page.locator(".nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    size = page.evaluate("document.querySelector('.js-plotly-plot').data[0].y.length")
    page.mouse.move(box["x"] + 1.5 * box["width"] / size, box["y"] + 0.5 * box["height"] / size, steps=3)
    hover = page.locator(".hoverlayer .hovertext").first
    hover.wait_for()
    row, column = page.evaluate(
        "() => { const one = document.querySelector('.js-plotly-plot').data[0]; return [one.y[0], one.x[1]]; }"
    )
    pair = next(one for one in site.pairs("mp-1k") if {one["first"], one["second"]} == {row, column})
    text = hover.text_content() or ""
    assert row in text
    assert column in text
    assert f"{pair['scores']['beyond_composition']['calibrated']:.3f}" in text


# -- structures ------------------------------------------------------------------------------------------------------


def test_an_item_is_turned_in_3d(site: Site, visit: Visit) -> None:
    page = visit(site.page("dataset/mp-1k.html"))
    item = page.locator("button.item").first
    item.click()
    dialog = page.get_by_role("dialog")
    dialog.locator("canvas").first.wait_for()
    page.get_by_text("Unit cell").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.className").startswith("item"), "where the reader was before"


def test_a_point_of_the_map_opens_its_structure(site: Site, visit: Visit) -> None:
    page = visit(site.page("figure/embedding-map.html"))
    draw_all(page)
    page.locator(".nsewdrag").first.scroll_into_view_if_needed()
    find = """() => {
      const plot = document.querySelector('.js-plotly-plot'), trace = plot._fullData[0];
      const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
      // The point that stands most alone, so that a press can mean no other.
      const all = plot._fullData.flatMap(one => [...one.x].map((x, i) => [xaxis.l2p(x), yaxis.l2p(one.y[i])]));
      let best = 0, most = -1;
      for (let i = 0; i < Math.min(200, trace.x.length); i++) {
        const [px, py] = [xaxis.l2p(trace.x[i]), yaxis.l2p(trace.y[i])];
        const near = all.map(one => Math.hypot(one[0] - px, one[1] - py)).sort((a, b) => a - b)[1];
        if (near > most) { most = near; best = i; }
      }
      const [set, id] = trace.customdata[best];
      return [box.left + xaxis._offset + xaxis.l2p(trace.x[best]), box.top + yaxis._offset
        + yaxis.l2p(trace.y[best]), set, id];
    }"""
    before, point = None, page.evaluate(find)
    for _ in range(50):  # a plot drawn late moves those below it
        if point == before:
            break
        page.wait_for_timeout(200)
        before, point = point, page.evaluate(find)
    x, y, dataset, item = point
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y, steps=3)
    # Plotly looks for the point under the mouse at intervals, and a press means the point that it has found last.
    page.wait_for_function(
        "id => document.querySelector('.js-plotly-plot')._hoverdata?.some(one => one.customdata[1] === id)", arg=item
    )
    page.mouse.click(x, y)
    dialog = page.get_by_role("dialog")
    dialog.locator("canvas").first.wait_for()
    title = dialog.get_by_role("heading").inner_text()
    assert item in title
    assert dataset in title


def test_neighbours_of_an_item_stand_beside_a_reference_s(site: Site, visit: Visit) -> None:
    page = visit(site.page("target/chgnet-0.3.0.html"))
    section = page.locator("#neighbours")
    section.scroll_into_view_if_needed()
    section.locator("button.item").first.wait_for()
    first = section.locator("#neighbours-out").inner_text()
    section.get_by_label("Item").select_option(index=1)
    page.wait_for_function("text => document.getElementById('neighbours-out').innerText !== text", arg=first)
    assert section.locator("button.item").count() == 11  # the item, five and five
    shared = section.locator("button.item.shared").count()
    assert shared % 2 == 0
    section.get_by_label("Data set").select_option("mp-1k")
    section.locator("button.item[data-dataset=mp-1k]").first.wait_for()


# -- layout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_overlaps_or_overflows(site: Site, report: Path, visit: Visit, viewport: dict[str, int]) -> None:
    page = visit.context(viewport=viewport).new_page()
    found: list[str] = []
    for path in [*one_of_each(site), report]:
        visit.goto(page, path)
        draw_all(page)
        troubles = [*page.evaluate(BOXES), *page.evaluate(WIDER), *page.evaluate(WORDS)]
        head, top = page.locator("header").first.bounding_box(), page.locator("h1").bounding_box()
        table = page.locator("main table:visible").first
        if head and top and head["y"] + head["height"] > top["y"]:
            troubles.append("the header reaches into the heading")
        if top and table.count() and (box := table.bounding_box()) and box["y"] < top["y"] + top["height"]:
            troubles.append("the table begins above the end of the heading")
        found += [f"{path.name}: {one}" for one in troubles]
    assert not found, "\n".join(found)


def test_what_overlaps_or_overflows_is_found(tmp_path: Path, visit: Visit) -> None:
    # Or the test above would pass for any page.
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html><body><main><p style='height:40px'>first</p><p style='margin-top:-30px'>second</p>"
        "<p style='width:3000px'>wide</p></main></body></html>"
    )
    page = visit(bad)
    assert any("and p" in told for told in page.evaluate(BOXES))
    assert any(told.startswith("P") for told in page.evaluate(WIDER))


def test_dark_stays_dark_on_the_next_page(site: Site, visit: Visit) -> None:
    page = visit(site.page("index.html"))
    page.get_by_role("button", name="dark").click()
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("link", name="Figures", exact=True).click()
    page.wait_for_url("**/figures.html")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colour
