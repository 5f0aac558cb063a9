"""Sites built once for all tests and workers, and a browser that is cut off the network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from consilience.records.migrations import read_record
from consilience.records.run import SavedRun
from consilience.records.schema import to_json
from consilience.records.spec import read_spec

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Playwright

REPOSITORY = Path(__file__).resolve().parents[2]
BOARD = REPOSITORY / "leaderboard" / "v1"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Whatever is not on this machine.
ELSEWHERE = re.compile(r"^(?!file:|data:|blob:|about:)")
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
#: A user's own board: two data sets, few targets; a twin, controls.
SMALL_DATASETS = ("mp-polymorphs", "mof-500")
SMALL_TARGETS = (
    "diep-fold1",
    "chgnet-0.3.0",
    "sevennet-0",
    "chgnet-0.3.0@untrained",
    "composition",
    "size",
    "random-gaussian",
    "morgan",  # needs a SMILES: a cell without a score
)


@dataclass(frozen=True)
class Site:
    """A site on disk and the board that it was built from."""

    folder: Path
    board: Path

    @property
    def pages(self) -> list[Path]:
        """All pages, in the order of their addresses."""
        return sorted(self.folder.rglob("*.html"))

    def page(self, address: str) -> Path:
        """A page by its address inside the site."""
        found = self.folder / address
        assert found.is_file(), f"{address} is not among {[str(p.relative_to(self.folder)) for p in self.pages][:40]}"
        return found

    def records(self, dataset: str) -> dict[str, dict[str, Any]]:
        """Records of a data set by target, read as plain JSON: nothing of the suite between them and a test."""
        found = [json.loads(path.read_text("utf-8")) for path in sorted((self.board / "results" / dataset).glob("*"))]
        return {record["target"]: record for record in found}

    def pairs(self, dataset: str) -> list[dict[str, Any]]:
        """Pairs of a data set, read as plain JSON."""
        path = self.board / "pairs" / f"{dataset}.json"
        pairs: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["pairs"]
        return pairs

    @property
    def datasets(self) -> list[str]:
        """Data sets of the board that have a score."""
        names = [path.name for path in sorted((self.board / "results").iterdir())]
        return [name for name in names if any(one["state"] == "ok" for one in self.records(name).values())]


def _consilience(*arguments: str | Path) -> None:
    """Run the suite's command as a person does; what it prints is shown where it fails."""
    name, *rest = map(str, arguments)
    command = [sys.executable, "-c", "from consilience.cli import main; main()", name, *rest]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run's, shared by its parallel workers; CONSILIENCE_TEST_SITES names one that is kept."""
    if kept := os.environ.get("CONSILIENCE_TEST_SITES"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        return Path(kept)
    base = tmp_path_factory.getbasetemp()
    # A worker's own folder lies inside that of the run.
    folder = (base.parent if base.name.startswith("popen-") else base) / "shared-site"
    folder.mkdir(exist_ok=True)
    return folder


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Let `make` fill a folder, once among the workers of a run."""
    with FileLock(f"{folder}.lock"):
        failed = folder.with_name(f"{folder.name}.failed")
        assert not failed.exists(), f"{folder.name} could not be built: see the first test that needs it"
        if not folder.exists():
            failed.touch()
            make(folder)
            failed.unlink()
    return folder


@pytest.fixture(scope="session")
def site(shared: Path) -> Site:
    """The site of the repository's board."""
    return Site(_once(shared / "site", lambda to: _consilience("site", "--board", BOARD, "--output", to)), BOARD)


@pytest.fixture(scope="session")
def small_site(shared: Path) -> Site:
    """The site of a user's own, small board, of real records."""
    board = _once(shared / "board", _write_small_board)
    return Site(_once(shared / "small", lambda to: _consilience("site", "--board", board, "--output", to)), board)


def _write_small_board(folder: Path) -> None:
    first, *entries = re.split(r"(?m)^(?=\[\[datasets\]\])", (BOARD / "spec.toml").read_text("utf-8"))
    chosen = [entry for entry in entries if re.search(r'name = "(.+)"', entry)[1] in SMALL_DATASETS]  # type: ignore[index]
    controls = [name for name in SMALL_TARGETS if name not in ("diep-fold1", "chgnet-0.3.0", "sevennet-0")]
    first = re.sub(r"(?s)controls = \[.*?\n\]", f"controls = {json.dumps(controls)}", first)
    (folder / "pairs").mkdir(parents=True)
    (folder / "spec.toml").write_text(first + "".join(chosen), "utf-8")
    for dataset in SMALL_DATASETS:
        (folder / "results" / dataset).mkdir(parents=True)
        for target in SMALL_TARGETS:
            shutil.copy(BOARD / "results" / dataset / f"{target}.json", folder / "results" / dataset)
        pairs = json.loads((BOARD / "pairs" / f"{dataset}.json").read_text("utf-8"))
        pairs["pairs"] = [pair for pair in pairs["pairs"] if {pair["first"], pair["second"]} <= set(SMALL_TARGETS)]
        (folder / "pairs" / f"{dataset}.json").write_text(json.dumps(pairs), "utf-8")


@pytest.fixture(scope="session")
def report(shared: Path) -> Path:
    """The one-page report of a run: chgnet-0.3.0 as the board has it, under the name of a new checkpoint."""

    def make(folder: Path) -> None:
        folder.mkdir()
        records = [read_record(path) for path in sorted((BOARD / "results").glob("*/chgnet-0.3.0.json"))]
        own = {"name": "my-chgnet", "title": "My CHGNet"}
        new = [
            one.model_copy(update={"target": "my-chgnet", "card": one.card.model_copy(update=own)}) for one in records
        ]
        spec = read_spec(BOARD / "spec.toml")
        run = SavedRun(created=datetime.now(UTC).isoformat(), suite_version="0.1.0", spec=spec, records=new)
        (folder / "run.json").write_text(to_json(run), "utf-8")
        _consilience("report", folder / "run.json", "--board", BOARD, "--output", folder / "report.html")

    return _once(shared / "report", make) / "report.html"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver."""
    with pytest.importorskip("playwright.sync_api").sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Playwright, browser_path: str) -> Iterator[Browser]:
    """The browser, cut off the network."""
    opened = playwright.chromium.launch(executable_path=browser_path, args=list(FLAGS))
    yield opened
    opened.close()


@dataclass
class Visit:
    """Opens pages as files, and keeps what went wrong on them."""

    browser: Browser
    troubles: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def context(self, *, viewport: dict[str, int] = WIDE, theme: str = "light", **more: Any) -> BrowserContext:
        """A window of its own, cut off the network."""
        context = self.browser.new_context(viewport=viewport, color_scheme=theme, reduced_motion="reduce", **more)
        context.set_default_timeout(20_000)
        context.route(ELSEWHERE, lambda route: route.abort())
        context.on("request", self._seen)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.troubles.append(f"{error.page.url}: {error.error}"))
        self.contexts.append(context)
        return context

    def _seen(self, request: Any) -> None:
        if ELSEWHERE.match(request.url):
            self.troubles.append(f"{request.frame.url} asks the network for {request.url}")

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.troubles.append(f"{message.page.url if message.page else ''}: {message.text}")

    def __call__(self, path: Path, fragment: str = "", **options: Any) -> Page:
        """Open a page in a window of its own and wait until it is drawn."""
        page = self.context(**options).new_page()
        self.goto(page, path, fragment)
        return page

    def goto(self, page: Page, path: Path, fragment: str = "") -> None:
        """Open another page in the same window."""
        page.goto(path.as_uri() + fragment, wait_until="load")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open pages; at the end no page may have reported an error or asked for anything elsewhere."""
    visit = Visit(browser)
    yield visit
    for context in visit.contexts:
        context.close()
    assert not visit.troubles, "\n".join(visit.troubles)
