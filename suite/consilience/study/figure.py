"""What a figure is: a card, a drawing, the numbers behind it. Each is a file in ``figures/``, found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from .study import Study

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class FigureCard:
    """What a figure is about.

    Attributes
    ----------
    name
        Short name: address of its page, file name of its downloads.
    title
        A line for people.
    shows
        What it shows and how to read it, one to three plain sentences.
    scope
        ``dataset``: drawn for each data set it applies to; ``board``: once.
    paper
        Figure of arXiv 2512.03750 that it answers to, such as ``Fig. 1A``; empty where the paper has none.
    order
        Place among the figures.
    """

    name: str
    title: str
    shows: str
    scope: Literal["dataset", "board"] = "dataset"
    paper: str = ""
    order: int = 50


@dataclass(frozen=True)
class Drawing:
    """A figure drawn.

    Attributes
    ----------
    plots
        Plotly figures by the label of their tab; a single one may be ``{"": figure}``.
    table
        The numbers: one dict for each line, the same keys in all; what the download holds.
    sentence
        What the figure says, in one plain sentence with its number.
    downloads
        Further files by name, such as ``{"tree.nwk": "(a:0.1,b:0.2);"}``.
    note
        What has to be known to read it rightly; may be empty.
    """

    plots: Mapping[str, go.Figure]
    table: Sequence[Mapping[str, Cell]]
    sentence: str
    downloads: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


#: Draws a figure of a data set, or of the whole board (``dataset`` is then ""); None where it does not apply.
Build = Callable[["Study", str], "Drawing | None"]


@dataclass(frozen=True)
class Figure:
    """A registered figure."""

    card: FigureCard
    build: Build


_figures: dict[str, Figure] = {}


def figure(card: FigureCard) -> Callable[[Build], Build]:
    """Register the function that draws a figure."""

    def register(build: Build) -> Build:
        if card.name in _figures and _figures[card.name].build.__module__ != build.__module__:
            raise ValueError(f"figure {card.name!r} is registered twice")
        _figures[card.name] = Figure(card, build)
        return build

    return register


def list_figures() -> dict[str, Figure]:
    """Every figure by name, in their order; the files in ``figures/`` are imported on first use."""
    from . import figures

    for module in pkgutil.iter_modules(figures.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{figures.__name__}.{module.name}")
    return dict(sorted(_figures.items(), key=lambda item: (item[1].card.order, item[0])))


def rows_of(values: Any) -> list[dict[str, Cell]]:
    """Lines of a table from a pandas frame or an iterable of mappings, NaN as None."""
    lines = values.to_dict("records") if hasattr(values, "to_dict") else [dict(one) for one in values]
    return [{key: None if value != value else value for key, value in line.items()} for line in lines]
