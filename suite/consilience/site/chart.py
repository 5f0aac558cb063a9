"""Figures as files that a page loads: their plots, their numbers, their downloads."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.escaping import csv_cell

from .vendor import scripts

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from consilience.study import Drawing, FigureCard, Study
    from consilience.study.figure import Cell, Figure

#: Lines of a figure's table that its page shows; its downloads hold all of them.
MOST_ROWS = 250
#: Trace types of the vendored bundles; a figure with others takes the whole of plotly.js.
BUNDLES: Mapping[str, frozenset[str]] = {
    "cartesian": frozenset(
        ("bar", "box", "contour", "heatmap", "histogram", "histogram2d", "image", "pie", "scatter", "violin")
    ),
    "gl2d": frozenset(("parcoords", "scatter", "scattergl", "splom")),
}
WHOLE = "whole"


@dataclass(frozen=True)
class Tab:
    """One plot of a figure: its label, the file that holds it, the bundle that draws it, its height in pixels."""

    label: str
    file: str
    bundle: str
    height: int


@dataclass(frozen=True)
class Download:
    """A file to take away."""

    name: str
    file: str
    size: int


@dataclass(frozen=True)
class Drawn:
    """A figure as its page needs it; `error` says why there is none."""

    card: FigureCard
    dataset: str
    tabs: tuple[Tab, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    count: int = 0
    sentence: str = ""
    note: str = ""
    downloads: tuple[Download, ...] = ()
    error: str = ""
    seconds: float = field(default=0.0, compare=False)

    @property
    def name(self) -> str:
        """Name of its page and of its files."""
        return figure_name(self.card.name, self.dataset)


def figure_name(figure: str, dataset: str) -> str:
    """Name of a figure's page: that of the figure, and of the data set where it is drawn for one."""
    return f"{figure}--{dataset}" if dataset else figure


def draw_figure(study: Study, figure: Figure, dataset: str, folder: Path) -> Drawn | None:
    """Draw a figure and write its files below a folder; None where it does not apply.

    Whatever a figure raises is kept in the result: one that fails does not take the others with it.
    """
    started = time.process_time()
    try:
        drawing = figure.build(study, dataset)
        return None if drawing is None else _written(figure.card, dataset, drawing, folder, started)
    except Exception as error:  # every figure is on its own, and says so on its page
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        return Drawn(figure.card, dataset, error=told, seconds=time.process_time() - started)


def _written(card: FigureCard, dataset: str, drawing: Drawing, folder: Path, started: float) -> Drawn:
    name = figure_name(card.name, dataset)
    tabs = []
    for place, (label, plot) in enumerate(drawing.plots.items()):
        file = f"data/figures/{name}-{place}.js"
        content, bundle = plot_json(plot)
        write_data(folder / file, f"figures/{name}-{place}", content)
        tabs.append(Tab(label, file, bundle, int(plot.layout.height or 520)))
    columns = tuple(dict.fromkeys(key for line in drawing.table for key in line))
    files = {"table.csv": as_csv(columns, drawing.table), "table.json": as_json(drawing.table), **drawing.downloads}
    downloads = []
    for ending, text in files.items():
        file = f"download/{name}{ending[5:]}" if ending.startswith("table.") else f"download/{name}--{_plain(ending)}"
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        downloads.append(Download(ending, file, path.stat().st_size))
    return Drawn(
        card,
        dataset,
        tuple(tabs),
        columns,
        tuple(tuple(line.get(key) for key in columns) for line in drawing.table[:MOST_ROWS]),
        len(drawing.table),
        drawing.sentence,
        drawing.note,
        tuple(downloads),
        seconds=time.process_time() - started,
    )


def _plain(name: str) -> str:
    """Return a file name as it is; raises `ValueError` where it is a path."""
    if Path(name).name != name or name.startswith("."):
        raise ValueError(f"downloads: expected a plain file name, found {name!r}")
    return name


def plot_json(plot: go.Figure) -> tuple[str, str]:
    """Text of a plot for plotly.js, and the bundle that can draw it."""
    content = json.loads(plot.to_json())
    content.get("layout", {}).pop("width", None)  # as wide as the page
    kinds = {trace.get("type", "scatter") for trace in content["data"]}
    bundle = next((name for name, known in BUNDLES.items() if kinds <= known), WHOLE)
    return json.dumps({"data": content["data"], "layout": content["layout"]}, separators=(",", ":")), bundle


def write_data(path: Path, key: str, content: str) -> None:
    """Write data as a script: a page opened from a file may load scripts, but not fetch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data_script(key, content), "utf-8")


def data_script(key: str, content: str) -> str:
    """Script that hands data to the page under a key."""
    return f"(window.siteData??={{}})[{json.dumps(key)}]={content};\n"


def as_csv(columns: Sequence[str], table: Sequence[Mapping[str, Any]]) -> str:
    """Lines of a table as comma-separated values; what is undefined stays empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in line.items()} for line in table)
    return out.getvalue()


def as_json(table: Sequence[Mapping[str, Any]]) -> str:
    """Lines of a table as JSON, one in a line."""
    return "[\n" + ",\n".join(json.dumps(dict(line), ensure_ascii=False, default=_scalar) for line in table) + "\n]\n"


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def bundle_files() -> dict[str, str]:
    """File of each vendored bundle."""
    return {"cartesian": scripts()["plotly-cartesian"].file, "gl2d": scripts()["plotly-gl2d"].file}


def whole_bundle() -> Path:
    """The complete plotly.js that the Python package carries."""
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def interval_svg(value: float | None, low: float | None, high: float | None, top: float = 1.0) -> str:
    """Dot with its interval on a line from 0 to `top`; decoration, the numbers stand beside it."""
    if value is None:
        return ""
    width, middle = 64.0, 6

    def at(number: float) -> float:
        return round(3 + (width - 6) * min(max(number / top, 0.0), 1.0), 1)

    bar = "" if low is None or high is None else f'<path class="iv" d="M{at(low)} {middle}H{at(high)}"/>'
    axis = f'<path class="ax" d="M3 {middle}H{width - 3:.0f}"/>'
    return (
        f'<svg class="dot" viewBox="0 0 {width:.0f} 12" width="{width:.0f}" height="12" aria-hidden="true">'
        f'{axis}{bar}<circle cx="{at(value)}" cy="{middle}" r="3"/></svg>'
    )
