"""Figures as files for papers: static images through a browser without a window, and the numbers beside them."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from consilience.escaping import csv_cell
from consilience.files import write_atomically

from .figure import Cell, Drawing, list_figures

if TYPE_CHECKING:
    from types import TracebackType

    import plotly.graph_objects as go

    from .figure import Figure
    from .study import Study

T = TypeVar("T")

#: What images can be written as.
FORMATS = ("svg", "pdf", "png")
#: Size where a figure leaves it to its page: a page's width at 300 dpi once scaled.
WIDTH, HEIGHT = 900, 600
#: Pixels of a png for each unit of the layout.
PNG_SCALE = 3.0
#: Background and text: papers are white, pages may be dark; a figure's own colours stay.
THEMES: Mapping[str, dict[str, Any]] = {
    "light": {"paper_bgcolor": "white", "plot_bgcolor": "white", "font": {"color": "#222222"}},
    "dark": {"paper_bgcolor": "#0d1117", "plot_bgcolor": "#0d1117", "font": {"color": "#e6edf3"}},
}
#: Distance of the titles of axes from their labels.
_STANDOFF = 12
_EXTRA = "pip install 'consilience[site]'"


class NoBrowserError(LookupError):
    """No browser is there to draw with; the message says what to install."""


@dataclass
class Exported:
    """What an export wrote, and what it could not.

    Attributes
    ----------
    images, tables, downloads
        Files written.
    absent
        Figures that do not apply, as ``dataset/figure``.
    failed
        Reason by ``dataset/figure``.
    """

    images: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    downloads: list[Path] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def find_browser() -> Path:
    """Find the browser that draws: ``BROWSER_PATH``, kaleido's own, or a Chrome or Chromium on the machine.

    Raises
    ------
    NoBrowserError
        There is none.
    ValueError
        Kaleido is not installed.
    """
    try:
        from choreographer.browsers.chromium import Chromium
    except ModuleNotFoundError as error:
        raise ValueError(f"images take kaleido: {_EXTRA}") from error
    stated = os.environ.get("BROWSER_PATH")
    found = stated or Chromium.find_browser(skip_local=False)
    if found and Path(found).is_file() and os.access(found, os.X_OK):
        return Path(found)
    if stated:
        raise NoBrowserError(f"BROWSER_PATH: no browser at {stated!r}; unset it, or let it name a Chrome or Chromium")
    raise NoBrowserError(
        "no Chrome or Chromium found, which draws the images: install one (on Debian: apt-get install chromium) or "
        "name it in BROWSER_PATH; --format csv writes the numbers alone"
    )


class Browser:
    """One browser for any number of images: a start takes longer than most of them.

    Use it as a context manager. It runs in a thread of its own, so that a notebook, too, can use it.

    Parameters
    ----------
    path
        The browser; :func:`find_browser` by default.
    timeout
        Seconds that one image may take.

    Raises
    ------
    NoBrowserError
        On entering: there is no browser.
    """

    def __init__(self, path: Path | None = None, *, timeout: float = 120.0) -> None:
        self.path = path or find_browser()
        self.timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="consilience-browser", daemon=True)
        self._kaleido: Any = None

    def __enter__(self) -> Browser:
        self._thread.start()
        try:
            self._kaleido = self._wait(self._start())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait(self._kaleido.close())
        finally:
            self._stop()

    def image(self, figure: go.Figure, kind: str, theme: str = "light") -> bytes:
        """Draw a plotly figure.

        Parameters
        ----------
        figure
            The figure; as wide and high as it says, else 900 x 600.
        kind
            ``svg``, ``pdf`` or ``png``.
        theme
            ``light`` or ``dark``: background and text.

        Raises
        ------
        ValueError
            There is no such format or theme.
        """
        if kind not in FORMATS:
            raise ValueError(f"format: expected one of {', '.join(FORMATS)}, found {kind!r}")
        content = for_print(figure, theme)
        size = {"width": content["layout"]["width"], "height": content["layout"]["height"]}
        options = {"format": kind, "scale": PNG_SCALE if kind == "png" else 1.0, **size}
        return bytes(self._wait(self._kaleido.calc_fig(content, opts=options)))

    async def _start(self) -> Any:
        from kaleido import Kaleido  # type: ignore[import-untyped]

        # Without MathJax, which kaleido would fetch from the network for each start.
        browser = Kaleido(n=1, timeout=self.timeout, mathjax=False, path=str(self.path))
        await browser.open()
        return browser

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def for_print(figure: go.Figure, theme: str = "light") -> dict[str, Any]:
    """Return a figure as it goes on paper: a background, text that stands out, a size; the figure stays as it is."""
    if theme not in THEMES:
        raise ValueError(f"theme: expected one of {', '.join(THEMES)}, found {theme!r}")
    look = THEMES[theme]
    content: dict[str, Any] = figure.to_dict()
    layout = dict(content.get("layout") or {})
    font = {**(layout.get("font") or {}), **look["font"]}
    size = {"width": layout.get("width") or WIDTH, "height": layout.get("height") or HEIGHT}
    # Buttons and sliders are for hands.
    still = {name: value for name, value in layout.items() if name not in ("updatemenus", "sliders", "autosize")}
    content["layout"] = {**{name: _clear(name, value) for name, value in still.items()}, **look, "font": font, **size}
    return content


def _clear(name: str, value: Any) -> Any:
    """Keep an axis's title off its labels: plotly makes room for both only where a distance is asked for."""
    title = value.get("title") if re.fullmatch(r"[xy]axis\d*", name) and isinstance(value, dict) else None
    if not isinstance(title, dict) or not title.get("text") or "standoff" in title:
        return value
    return {**value, "title": {**title, "standoff": _STANDOFF}}


def export_figures(
    study: Study,
    output: Path,
    *,
    figures: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    formats: Iterable[str] = ("svg", "pdf"),
    theme: str = "light",
    progress: Callable[[int, int, str], None] | None = None,
) -> Exported:
    """Write figures of a board as images, each with its numbers as CSV beside it.

    A figure of a data set goes to ``<output>/<dataset>/<figure>[-<tab>].<format>``, one of the whole board to
    ``<output>/<figure>[-<tab>].<format>``; ``<figure>.md`` beside it is a caption.

    Parameters
    ----------
    study
        The board.
    output
        Folder.
    figures
        Names; all that are registered by default.
    datasets
        Data sets of the board; all by default. Figures of the whole board are drawn only without a choice, or where
        they are named.
    formats
        Of ``svg``, ``pdf``, ``png``; with none of them, numbers alone are written and no browser is needed.
    theme
        ``light`` or ``dark``: background and text of the images.
    progress
        Called with the figures done, their number, and what is next.

    Returns
    -------
    Exported
        What was written. A figure that can't be drawn does not keep others from it.

    Raises
    ------
    LookupError
        No figure or data set has one of the names, or there is no browser.
    ValueError
        A format or theme is unknown, or the extra ``site`` is not installed.
    """
    kinds = [kind for kind in dict.fromkeys(formats) if kind != "csv"]
    for kind in kinds:
        if kind not in FORMATS:
            raise ValueError(f"--format: expected any of {', '.join(FORMATS)}, csv, found {kind!r}")
    if theme not in THEMES:
        raise ValueError(f"--theme: expected one of {', '.join(THEMES)}, found {theme!r}")
    wanted = _wanted(study, figures, datasets)
    done = Exported()
    if kinds:
        with Browser() as browser:
            draw = partial(browser.image, theme=theme)
            _export(study, output, wanted, kinds, draw, done, progress)
    else:
        _export(study, output, wanted, kinds, None, done, progress)
    return done


def _wanted(study: Study, figures: Sequence[str] | None, datasets: Sequence[str] | None) -> list[tuple[Figure, str]]:
    from consilience.registry import near_names

    try:
        known = list_figures()
    except ModuleNotFoundError as error:
        raise ValueError(f"figures take {error.name}: {_EXTRA}") from error
    named: tuple[tuple[str, Sequence[str], Sequence[str]], ...] = (
        ("figure", figures or (), list(known)),
        ("data set of the board", datasets or (), study.datasets),
    )
    for what, asked, there in named:
        for name in asked:
            if name not in there:
                near = near_names(name, there)
                hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(there)}"
                raise LookupError(f"no {what} is named {name!r}; {hint}")
    found = []
    for name in dict.fromkeys(figures or known):
        figure = known[name]
        if figure.card.scope == "dataset":
            found += [(figure, dataset) for dataset in dict.fromkeys(datasets or study.datasets)]
        elif figures or not datasets:
            found.append((figure, ""))
    return found


def _export(
    study: Study,
    output: Path,
    wanted: list[tuple[Figure, str]],
    kinds: Sequence[str],
    draw: Callable[[go.Figure, str], bytes] | None,
    done: Exported,
    progress: Callable[[int, int, str], None] | None,
) -> None:
    for number, (figure, dataset) in enumerate(wanted):
        label = "/".join(filter(None, (dataset, figure.card.name)))
        if progress is not None:
            progress(number, len(wanted), label)
        try:
            drawing = figure.build(study, dataset)
            if drawing is None:
                done.absent.append(label)
                continue
            stem = output / dataset / figure.card.name
            _write(stem, drawing, kinds, draw, done)
            write_atomically(stem.with_name(f"{stem.name}.md"), _caption(label, figure, drawing))
        except Exception as error:  # one figure's mistake is not the others'
            done.failed[label] = f"{type(error).__name__}: {error}"
    if progress is not None:
        progress(len(wanted), len(wanted), "done")


def _write(
    stem: Path,
    drawing: Drawing,
    kinds: Sequence[str],
    draw: Callable[[go.Figure, str], bytes] | None,
    done: Exported,
) -> None:
    """Write one figure: its table, its downloads, an image for each tab and format."""
    table = stem.with_name(f"{stem.name}.csv")
    write_atomically(table, table_csv(drawing.table))
    done.tables.append(table)
    for name, text in drawing.downloads.items():
        path = stem.with_name(f"{stem.name}-{name}")
        write_atomically(path, text)
        done.downloads.append(path)
    for label, name in tab_names(stem.name, drawing.plots).items():
        for kind in kinds:
            assert draw is not None
            path = stem.with_name(f"{name}.{kind}")
            write_atomically(path, draw(drawing.plots[label], kind))
            done.images.append(path)


def tab_names(figure: str, plots: Mapping[str, Any]) -> dict[str, str]:
    """File names, without ending, of a figure's tabs by label: ``heat-map-dcor``; the figure's own for no label."""
    found: dict[str, str] = {}
    for label in plots:
        slug = re.sub(r"[^a-z0-9.@+_]+", "-", label.lower()).strip("-.")
        name = f"{figure}-{slug}" if slug else figure
        number = 2
        while name in found.values():
            name, number = f"{figure}-{slug}-{number}", number + 1
        found[label] = name
    return found


def table_csv(table: Sequence[Mapping[str, Cell]]) -> str:
    """Return lines as CSV with a heading; what is not known is left empty."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for line in table for name in line))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for line in table:
        writer.writerow({name: None if value != value else csv_cell(value) for name, value in line.items()})
    return text.getvalue()


def _caption(label: str, figure: Figure, drawing: Drawing) -> str:
    answers = f" (answers to {figure.card.paper} of arXiv:2512.03750)" if figure.card.paper else ""
    parts = [f"# {label}", f"**{figure.card.title}**{answers}. {figure.card.shows}", drawing.sentence, drawing.note]
    return "\n\n".join(part for part in parts if part) + "\n"


__all__ = ["FORMATS", "Browser", "Exported", "NoBrowserError", "export_figures", "find_browser", "table_csv"]
