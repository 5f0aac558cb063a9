"""The plane of information imbalance: which of two models says what the other does, and more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from consilience.records.values import or_nan
from consilience.scoring.presets import RANKED
from consilience.study.figure import Cell, Drawing, FigureCard, figure, rows_of
from consilience.study.palette import COLOURS, NEUTRAL, OUTLINE, SCALE, layout
from consilience.study.statistics import spearman

from ._pairs import APART, PAIR_KINDS, View, mean, views

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consilience.study.study import Study

_TO, _FROM = "information_imbalance_to", "information_imbalance_from"

#: Tabs: label, preparation, and the figure that colours the points.
_COLOURED: tuple[tuple[str, str, str, Callable[[View, str], float | None]], ...] = (
    (
        "CKNNA",
        RANKED,
        "calibrated CKNNA,<br>beyond composition",
        lambda view, preset: scores.calibrated if (scores := view.scores(preset)) else None,
    ),
    (
        "dCor",
        RANKED,
        "dCor,<br>beyond composition",
        lambda view, preset: view.metric("distance_correlation", preset),
    ),
    (
        "I_dCor",
        RANKED,
        "I_dCor,<br>beyond composition",
        lambda view, preset: view.metric("intrinsic_dimension_correlation", preset),
    ),
    (
        "CKNNA, paper's preparation",
        "paper",
        "calibrated CKNNA,<br>rows L2",
        lambda view, preset: scores.calibrated if (scores := view.scores(preset)) else None,
    ),
)

#: Where a pair of models stands to the collections they were trained on, with colour and marker.
_REGIMES: dict[str, tuple[str, str]] = {
    "both in distribution": (COLOURS["atoms"], "circle"),
    "one in, one out": (COLOURS["graph"], "diamond"),
    "both out of distribution": (COLOURS["string"], "triangle-up"),
    "training data unknown": (COLOURS["text"], "cross"),
    "with a control": (COLOURS["baseline"], "x"),
}


@figure(
    FigureCard(
        name="imbalance-plane",
        title="Information imbalance",
        shows="Each point is a pair of models: along x how much of the second the first fails to say, along y the "
        "reverse. Bottom left, each says all that the other does; top right, nothing; bottom right or top left, one "
        "holds the other.",
        paper="Fig. 2B, C9",
        order=20,
    )
)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw the pairs of a data set; None where no information imbalance was measured."""
    found = [view for view in views(study, dataset) if _known(view, RANKED)]
    if not found:
        return None
    plots: dict[str, go.Figure] = {}
    for tab, preset, title, colour in _COLOURED:
        there = [view for view in found if _known(view, preset) and colour(view, preset) is not None]
        if there:
            plots[tab] = _coloured(there, preset, title, colour)
    plots["in and out of distribution"] = _by_regime(found)
    return Drawing(
        plots=plots,
        table=rows_of(_line(view) for view in found),
        sentence=_sentence(found),
        note="Information imbalance with one neighbour (Glielmo et al. 2022, doi:10.1093/pnasnexus/pgac039), beyond "
        "composition but in the last of the coloured tabs; 0 is all, 1 is what unrelated embeddings reach. Which of "
        "two models is the first is the alphabet's choice: the plane can be mirrored at its diagonal. In "
        "distribution: trained on the collection that the items were drawn from.",
    )


def _known(view: View, preset: str) -> bool:
    return view.metric(_TO, preset) is not None and view.metric(_FROM, preset) is not None


def regime(view: View) -> str:
    """Where a pair stands to its training data."""
    if not (view.first.trained and view.second.trained):
        return "with a control"
    where = {view.first.distribution, view.second.distribution}
    if where == {"in"}:
        return "both in distribution"
    if where == {"out"}:
        return "both out of distribution"
    return "one in, one out" if where == {"in", "out"} else "training data unknown"


_TEMPLATE = "<b>%{text}</b><br>imbalance to %{x:.3f}, from %{y:.3f}"


def _points(found: Sequence[View], preset: str, name: str) -> go.Scatter:
    return go.Scatter(
        x=[view.metric(_TO, preset) for view in found],
        y=[view.metric(_FROM, preset) for view in found],
        text=[f"{view.pair.first} and {view.pair.second}" for view in found],
        mode="markers",
        name=name,
        hovertemplate=_TEMPLATE + "<extra></extra>",
    )


def _coloured(
    found: Sequence[View],
    preset: str,
    title: str,
    colour: Callable[[View, str], float | None],
) -> go.Figure:
    plot = go.Figure()
    label = title.replace("<br>", " ")
    values = [or_nan(colour(view, preset)) for view in found]
    for kind, (_, symbol) in reversed(PAIR_KINDS.items()):  # what matters most is drawn last, on top
        if there := [view for view in found if view.kind == kind]:
            points = _points(there, preset, kind)
            shades = [or_nan(colour(view, preset)) for view in there]
            points.marker = {"symbol": symbol, "size": 8, "line": OUTLINE, "color": shades, "coloraxis": "coloraxis"}
            points.hovertemplate = f"{_TEMPLATE}<br>{label} %{{marker.color:.3f}}<extra></extra>"
            # A legend shows no colour of a scale: it gets a marker of its own, in a shade for any page.
            points.legendgroup, points.showlegend = kind, False
            key = {"symbol": symbol, "size": 8, "color": NEUTRAL}
            plot.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=kind, legendgroup=kind, marker=key))
            plot.add_trace(points)
    bar = {
        "orientation": "h",
        "y": 1.01,
        "yanchor": "bottom",
        "thickness": 12,
        "len": 0.9,
        "title": {"text": title, "side": "top", "font": {"size": 13}},
        "outlinewidth": 0,
    }
    limits = {"cmin": min(0.0, *values), "cmax": max(0.1, *values)} if len(values) > 1 else {}
    return _framed(plot, coloraxis={"colorscale": SCALE, "colorbar": bar, **limits})


def _by_regime(found: Sequence[View]) -> go.Figure:
    plot = go.Figure()
    for name, (colour, symbol) in reversed(_REGIMES.items()):
        if there := [view for view in found if regime(view) == name]:
            points = _points(there, RANKED, name)
            points.marker = {"symbol": symbol, "size": 8, "line": OUTLINE, "color": colour}
            plot.add_trace(points)
    return _framed(plot)


def _framed(plot: go.Figure, **more: object) -> go.Figure:
    places = [value for trace in plot.data for value in (*trace.x, *trace.y) if value is not None]
    # Unrelated embeddings scatter around 1, by more the fewer items there are.
    axis = {"range": [0, max(1.1, 1.02 * max(places))], "constrain": "domain", "dtick": 0.2}
    plot.update_layout(
        layout(
            "imbalance from first to second",
            "imbalance from second to first",
            height=680,
            margin={"t": 100 if more else 30, "b": 90},
            xaxis=axis,
            yaxis=axis | {"scaleanchor": "x"},
            showlegend=True,
            legend={"y": -0.13, "yanchor": "top", "traceorder": "reversed"},
            shapes=[
                {
                    "type": "line",
                    "x0": 0,
                    "y0": 0,
                    "x1": axis["range"][1],  # type: ignore[index]
                    "y1": axis["range"][1],  # type: ignore[index]
                    "line": {"color": NEUTRAL, "width": 1, "dash": "dot"},
                    "layer": "below",
                }
            ],
            **more,
        )
    )
    return plot


def _line(view: View) -> dict[str, Cell]:
    scores, paper = view.scores(), view.scores("paper")
    return {
        "first": view.pair.first,
        "second": view.pair.second,
        "pair": view.kind,
        "regime": regime(view),
        "items": view.pair.items,
        "imbalance_to": view.metric(_TO),
        "imbalance_from": view.metric(_FROM),
        "calibrated": scores.calibrated if scores else None,
        "distance_correlation": view.metric("distance_correlation"),
        "intrinsic_dimension_correlation": view.metric("intrinsic_dimension_correlation"),
        "paper_imbalance_to": view.metric(_TO, "paper"),
        "paper_imbalance_from": view.metric(_FROM, "paper"),
        "paper_calibrated": paper.calibrated if paper else None,
    }


def _both(view: View) -> float:
    return (or_nan(view.metric(_TO)) + or_nan(view.metric(_FROM))) / 2


def _sentence(found: Sequence[View]) -> str:
    apart = [view for view in found if view.kind == APART]
    if not apart:
        return f"No two trained models of different families are paired here; {len(found)} pairs are shown."
    corner = sum(or_nan(view.metric(_TO)) < 0.5 and or_nan(view.metric(_FROM)) < 0.5 for view in apart)
    text = (
        f"Mean imbalance between trained models of different families is {mean([_both(v) for v in apart]):.2f} "
        f"({corner} of {len(apart)} pairs below 0.5 both ways)"
    )
    ranks = {}
    for tab, preset, _, colour in _COLOURED:
        if preset == RANKED:
            ranks[tab] = -spearman([_both(v) for v in apart], [or_nan(colour(v, preset)) for v in apart])
    known = {name: value for name, value in ranks.items() if np.isfinite(value)}
    if len(apart) < 6 or len(known) < 2:
        return text + "."
    least = min(known, key=lambda name: known[name])
    told = ", ".join(f"{name} {value:.2f}" for name, value in known.items())
    return f"{text}; rank correlation of low imbalance with other metrics: {told} (lowest: {least})."
