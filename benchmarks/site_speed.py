"""Speed of the static site: how long it takes to build, to show, and to answer a hand that moves over its figures.

    .venv/bin/python -m benchmarks.site_speed
    .venv/bin/python -m benchmarks.site_speed --board leaderboard/v1 --targets 60 --points 60000

Two things here are larger than what is published, and made for the purpose: a board on which one data set has
``--targets`` scored targets (copies of real records and pairs under further names: what is timed is how much there is
to draw, not what it says), and an embedding map of ``--points`` items (the points of the real map, several times over,
moved a little). The pages are opened as files in a headless Chromium that is cut off the network and draws in
software: there is no GPU in these figures, and a person's machine has one.

While the mouse hovers, zooms and pans, two things are recorded: the gaps between animation frames (what a person sees;
on a machine that does other things too, it waits for them), and from Chromium's own trace the longest task on the
page's main thread, by the clock and in CPU time (what the page itself costs).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from consilience.records import DEFAULT_BOARD

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
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
#: The bars of the site: seconds to build, to first paint, and of the longest frame.
BUILD, PAINT, FRAME = 60.0, 1.0, 0.1
#: Height of the window.
HEIGHT = 900
#: The plot that a page shows first.
PLOT = ".js-plotly-plot"
#: Name of the figure that maps items.
MAP = "embedding-map"
#: What a trace has to hold to tell the tasks of the main thread.
CATEGORIES = ["-*", "toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]

FRAMES = """() => {
  window.frames_ = []; window.watching_ = true; let last = null;
  const tick = now => {
    if (last !== null) window.frames_.push(now - last);
    last = now;
    if (window.watching_) requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}"""
STOP = "() => { window.watching_ = false; return window.frames_; }"
PAINTED = """() => new Promise(resolve => new PerformanceObserver(list => {
  for (const entry of list.getEntriesByName('first-contentful-paint')) resolve(entry.startTime);
}).observe({type: 'paint', buffered: true}))"""
#: What a plot shows of its axes.
RANGES = """plot => { const {xaxis, yaxis} = document.querySelector(plot)._fullLayout;
  return [...xaxis.range, ...yaxis.range]; }"""
#: Multiplies the points of the plot: each is drawn again, moved by a hundredth of the map's width.
MULTIPLY = """async ([selector, wanted]) => {
  const plot = document.querySelector(selector);
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647 - 0.5;
  const held = value => Array.isArray(value) || ArrayBuffer.isView(value);
  const points = plot._fullData.filter(trace => held(trace.x) && held(trace.y) && trace.x.length > 1);
  const total = points.reduce((sum, trace) => sum + trace.x.length, 0);
  const span = key => {
    let low = Infinity, high = -Infinity;
    for (const trace of points) for (const value of trace[key]) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return high - low;
  };
  const width = {x: span('x'), y: span('y')};
  const times = wanted / total;
  const many = plot.data.map((trace, place) => {
    const full = plot._fullData[place];
    if (!points.includes(full)) return trace;
    const count = full.x.length, size = Math.round(count * times);
    const spread = value => held(value) && value.length === count
      ? Array.from({length: size}, (_, i) => value[i % count]) : value;
    const moved = key => Float64Array.from({length: size},
      (_, i) => full[key][i % count] + (i < count ? 0 : 0.02 * width[key] * random()));
    const marker = full.marker || {};
    return {...trace, x: moved('x'), y: moved('y'), text: spread(full.text), hovertext: spread(full.hovertext),
      customdata: spread(full.customdata), ids: undefined,
      marker: {...trace.marker, color: spread(marker.color), size: spread(marker.size)}};
  });
  const started = performance.now();
  await Plotly.react(plot, many, plot.layout);
  await new Promise(requestAnimationFrame);
  return {total, drawn: plot._fullData.reduce((sum, trace) => sum + (held(trace.x) ? trace.x.length : 0), 0),
    types: [...new Set(many.map(trace => trace.type))].join(', '), seconds: (performance.now() - started) / 1000};
}"""


@dataclass(frozen=True)
class Motion:
    """What a hand on the mouse cost."""

    gaps: list[float]
    """Seconds between animation frames."""
    task: float
    """Longest task of the main thread, seconds by the clock."""
    task_cpu: float
    """The same in CPU seconds."""
    drawing: float
    """CPU seconds per frame of the process that draws: in software, what a GPU would take over."""

    @property
    def longest(self) -> float:
        """Longest gap between two frames, seconds."""
        return max(self.gaps, default=0.0)

    def share_over(self, seconds: float) -> float:
        """Share of the frames that took longer."""
        return sum(gap > seconds for gap in self.gaps) / max(1, len(self.gaps))


def larger_board(source: Path, folder: Path, dataset: str, targets: int) -> int:
    """Copy a board and let one data set have `targets` scored targets; return how many are copies under other names.

    A copy keeps the record of its original; its pairs are those of the original, and that with the original itself is
    the one that the original has with its nearest target.
    """
    shutil.copytree(source, folder)
    results = folder / "results" / dataset
    records = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(results.glob("*.json"))}
    scored = [name for name, record in records.items() if record["state"] == "ok"]
    trained = [name for name in scored if records[name]["trained"]]
    origin = {name: name for name in scored}
    for number, name in enumerate(cycle(trained)):
        if len(origin) >= targets:
            break
        origin[f"{name}-copy-{number // len(trained) + 1}"] = name
    for name, original in origin.items():
        if name != original:
            record = records[original]
            new = {**record, "target": name, "card": {**record["card"], "name": name}}
            (results / f"{name}.json").write_text(json.dumps(new), "utf-8")
    path = folder / "pairs" / f"{dataset}.json"
    content = json.loads(path.read_text("utf-8"))
    pairs = {frozenset((pair["first"], pair["second"])): pair for pair in content["pairs"]}

    def nearest(name: str) -> dict[str, Any]:
        own = [pair for names, pair in pairs.items() if name in names]
        return max(own, key=lambda pair: pair["scores"]["beyond_composition"]["calibrated"] or 0.0)

    made = []
    for first, second in combinations(sorted(origin), 2):
        ends = frozenset((origin[first], origin[second]))
        pair = pairs.get(ends) if len(ends) == 2 else nearest(origin[first])
        if pair is not None:
            made.append({**pair, "first": first, "second": second})
    path.write_text(json.dumps({**content, "pairs": made}), "utf-8")
    return sum(name != original for name, original in origin.items())


def build(board: Path, output: Path) -> tuple[float, float]:
    """Build a site; return the seconds it took, start of the program included, by the clock and of CPU time."""
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    code = "from consilience.cli.site import site_command as run; run()"
    command = [sys.executable, "-c", code, "--quiet", "--board", str(board), "--output", str(output)]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if done.returncode > 1 or not (output / "index.html").is_file():  # 1: a figure failed, the site stands
        raise subprocess.CalledProcessError(done.returncode, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime


def _open(browser: Browser, path: Path, fragment: str = "") -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": HEIGHT}, offline=True).new_page()
    page.goto(path.as_uri() + fragment, wait_until="load")
    return page


def first_paints(browser: Browser, path: Path, times: int = 7) -> list[float]:
    """Seconds to the first contentful paint of a page, each time in a window of its own."""
    found = []
    for _ in range(times):
        page = _open(browser, path)
        found.append(page.evaluate(PAINTED) / 1000)
        page.context.close()
    return found


def record(browser: Browser, page: Page, move: Callable[[], None]) -> Motion:
    """Watch the frames and the main thread of a page while `move` runs."""
    before = _drawing(browser)
    browser.start_tracing(page=page, categories=CATEGORIES)
    page.evaluate(FRAMES)
    move()
    gaps = [gap / 1000 for gap in page.evaluate(STOP)]
    drawing = (_drawing(browser) - before) / max(1, len(gaps))
    trace = json.loads(browser.stop_tracing())
    events = trace["traceEvents"] if isinstance(trace, dict) else trace
    wall, cpu = _longest_task(events)
    return Motion(gaps, wall, cpu, drawing)


def _drawing(browser: Browser) -> float:
    """CPU seconds so far of the process that draws."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return float(sum(one["cpuTime"] for one in processes if one["type"] == "GPU"))


def _longest_task(events: Iterable[dict[str, Any]]) -> tuple[float, float]:
    """Longest task on a page's main thread, seconds by the clock and of CPU time."""
    events = list(events)
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event.get("name") == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        event
        for event in events
        if event.get("ph") == "X"
        and (event["pid"], event["tid"]) in main
        and event["name"] in ("RunTask", "ThreadControllerImpl::RunTask")
    ]
    if not tasks:
        raise ValueError("the trace holds no task of a page's main thread: this Chromium names them otherwise")
    return max(task["dur"] for task in tasks) / 1e6, max(task.get("tdur", 0) for task in tasks) / 1e6


def motions(page: Page, plot: str) -> dict[str, Callable[[], None]]:
    """What a hand does with a plot: hover, zoom by the buttons and by a rectangle, pan."""
    area = page.locator(f"{plot} .nsewdrag").first
    mouse = page.mouse

    def at(x: float, y: float) -> tuple[float, float]:
        """A place in the part of the plot that is seen once its top is at the top of the window."""
        page.evaluate("plot => document.querySelector(plot).scrollIntoView({block: 'start'})", plot)
        box = area.bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * min(box["height"], HEIGHT - 20 - box["y"])

    def settle() -> None:
        page.wait_for_timeout(300)

    def hover() -> None:
        for row in range(6):
            mouse.move(*at(0.02, 0.1 + 0.15 * row), steps=2)
            mouse.move(*at(0.98, 0.15 + 0.15 * row), steps=40)
        settle()

    def buttons() -> None:
        for title in ("Zoom in", "Zoom in", "Zoom out", "Zoom out"):
            page.locator(f"{plot} .modebar-btn[data-title='{title}']").first.click()
            page.wait_for_timeout(100)
        settle()

    def drag(mode: str, *way: tuple[float, float]) -> None:
        before = page.evaluate(RANGES, plot)
        page.evaluate("([plot, mode]) => Plotly.relayout(document.querySelector(plot), 'dragmode', mode)", [plot, mode])
        settle()
        mouse.move(*at(*way[0]))
        mouse.down()
        for place in way[1:]:
            mouse.move(*at(*place), steps=25)
        mouse.up()
        settle()
        if page.evaluate(RANGES, plot) == before:
            raise RuntimeError(f"dragging to {mode} has not moved the axes: nothing was measured")

    def zoom() -> None:
        drag("zoom", (0.2, 0.2), (0.7, 0.7))
        drag("zoom", (0.2, 0.2), (0.8, 0.8))

    def pan() -> None:
        drag("pan", (0.5, 0.5), (0.2, 0.3), (0.8, 0.7), (0.6, 0.55))

    def reset() -> None:
        # Not by a double click, which on a map may open the structure of a point.
        page.locator(f"{plot} .modebar-btn[data-title='Reset axes']").first.click()
        settle()

    return {
        "hover": hover,
        "zoom by the buttons": buttons,
        "zoom by a rectangle": zoom,
        "pan": pan,
        "reset": reset,
    }


def _lines(browser: Browser, page: Page, plot: str, what: str) -> list[list[str]]:
    page.locator(f"{plot} .nsewdrag").first.wait_for()
    page.wait_for_timeout(500)
    lines = []
    for name, move in motions(page, plot).items():
        found = record(browser, page, move)
        lines.append(
            [
                f"{what}: {name}",
                f"{1000 * found.longest:.0f} ms",
                f"{100 * found.share_over(FRAME):.1f} % of {len(found.gaps)}",
                f"{1000 * found.task:.0f} ms",
                f"{1000 * found.task_cpu:.0f} ms",
                f"{1000 * found.drawing:.1f} ms",
                "held" if found.longest <= FRAME else "not held",
            ]
        )
    return lines


def _multiplied(page: Page, plot: str, points: int) -> str:
    found = page.evaluate(MULTIPLY, [plot, points])
    return f"{found['total']:,} points made {found['drawn']:,} ({found['types']}), redrawn in {found['seconds']:.2f} s"


def main(arguments: list[str] | None = None) -> None:
    """Build, open, move; print tables."""
    from playwright.sync_api import sync_playwright  # asv imports all files here, and needs no browser

    parser = argparse.ArgumentParser(description="Speed of the static site.")
    parser.add_argument("--board", type=Path, default=ROOT / "leaderboard" / DEFAULT_BOARD, help="folder of a board")
    parser.add_argument("--dataset", default="qm9-1k", help="data set that the large board and map are of")
    parser.add_argument("--targets", type=int, default=60, help="scored targets of the large board")
    parser.add_argument("--points", type=int, default=60_000, help="points of the large map")
    parser.add_argument("--keep", type=Path, help="folder for the sites; what it holds is not built anew")
    chosen = parser.parse_args(arguments)
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        sys.exit(f"site_speed: none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        folder = chosen.keep or Path(temporary)
        if reused := (folder / "large" / "index.html").is_file():
            copies = len(list((folder / "board" / "results" / chosen.dataset).glob("*-copy-*")))
        else:
            small = build(chosen.board, folder / "site")
            copies = larger_board(chosen.board, folder / "board", chosen.dataset, chosen.targets)
            large = build(folder / "board", folder / "large")
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        print(
            f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} (what else runs here); "
            f"Chromium {browser.version}, software rendering, no GPU.\n"
            f"{chosen.targets} targets on {chosen.dataset}: {copies} of them are copies under other names.\n"
        )
        lines = []
        if not reused:
            bar = f"{BUILD:.0f} s"
            lines.append([f"build the site of {chosen.board.name}", _built(*small), bar, _held(small[0], BUILD)])
            lines.append([f"build with {chosen.targets} targets", _built(*large), "", ""])
        for what, page in (
            (f"first paint, data set with {chosen.targets} targets", f"dataset/{chosen.dataset}.html"),
            ("first paint, front page", "index.html"),
            ("first paint, heat map", f"figure/heat-map--{chosen.dataset}.html"),
        ):
            paints = first_paints(browser, folder / "large" / page)
            middle = statistics.median(paints)
            told = f"{middle:.2f} s ({min(paints):.2f} to {max(paints):.2f}, n = {len(paints)})"
            lines.append([what, told, f"{PAINT:.0f} s", _held(middle, PAINT)])
        print(tabulate(lines, ["", "measured", "bar", ""], "pipe"), flush=True)
        lines = []
        page = _open(browser, folder / "large" / "figure" / f"heat-map--{chosen.dataset}.html")
        lines += _lines(browser, page, PLOT, f"heat map, {chosen.targets} x {chosen.targets}")
        page.context.close()
        page = _open(browser, folder / "site" / "figure" / f"{MAP}.html")
        lines += _lines(browser, page, PLOT, "map as published")
        told = _multiplied(page, PLOT, chosen.points)
        lines += _lines(browser, page, PLOT, f"map, {chosen.points:,} points")
        page.context.close()
        browser.close()
    heads = [
        "",
        "longest frame",
        f"over {1000 * FRAME:.0f} ms",
        "longest task",
        "its CPU time",
        "drawing, CPU per frame",
        "",
    ]
    print(f"\nMap of {chosen.points:,}: {told}.\n\n{tabulate(lines, heads, 'pipe')}")


def _built(seconds: float, cpu: float) -> str:
    return f"{seconds:.1f} s ({cpu:.1f} CPU-s)"


def _held(value: float, bar: float) -> str:
    return "held" if value <= bar else "not held"


if __name__ == "__main__":
    main()
