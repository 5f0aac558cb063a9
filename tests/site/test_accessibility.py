"""The site for people who use a keyboard, a screen reader, a phone or a dark screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import Site, Visit
from .test_browser import draw_all, one_of_each

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]  # one builds it, the others would wait


def violations(page: Page) -> list[str]:
    """What axe finds on a page, each with its weight and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # Without preload: a page opened from a file may not fetch its own style sheet.
    options = {"resultTypes": ["violations"], "preload": False}
    found: list[dict[str, Any]] = axe.run(page, options=options).response["violations"]
    return [
        f"{one['impact']} {one['id']}: {one['help']}; {node['target']} {node['failureSummary'][:300]}"
        for one in found
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(site: Site, report: Path, visit: Visit, theme: str) -> None:
    page = visit.context(theme=theme).new_page()
    found: list[str] = []
    for path in [*one_of_each(site), report]:
        visit.goto(page, path)
        draw_all(page)
        found += [f"{path.name}: {one}" for one in violations(page)]
    assert not found, "\n".join(found)


def test_axe_finds_what_is_wrong(tmp_path: Path, visit: Visit) -> None:
    # Or a page on which axe could not run would pass as well.
    bad = tmp_path / "bad.html"
    bad.write_text("<html><body><img src='data:,'><button></button><p style='color:#eee'>pale</p></body></html>")
    told = " ".join(violations(visit(bad)))
    assert "image-alt" in told
    assert "button-name" in told
    assert "color-contrast" in told


def test_the_first_stop_of_the_keyboard_leads_past_the_header(site: Site, visit: Visit) -> None:
    page = visit(site.page("dataset/mp-1k.html"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    box = page.locator(":focus").bounding_box()
    assert box is not None
    assert box["x"] >= 0, "it is seen once it is reached"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_tables_stand_without_scripts(site: Site, visit: Visit) -> None:
    page = visit(site.page("dataset/mp-1k.html"), java_script_enabled=False)
    assert page.locator("#board-table tbody tr:visible").count() == len(site.records("mp-1k"))
    assert not page.locator("form.filter").is_visible(), "what needs scripts is not offered"


def test_dark_is_dark(site: Site, visit: Visit) -> None:
    light, dark = (
        visit(site.page("index.html"), theme=theme).evaluate("getComputedStyle(document.body).backgroundColor")
        for theme in ("light", "dark")
    )
    assert _brightness(light) > 200
    assert _brightness(dark) < 60


def _brightness(colour: str) -> float:
    parts = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(parts) / 3
