"""Local alignment of each pair of models on two data sets: does it hold out of distribution."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from consilience.study.figure import Cell, Drawing, FigureCard, figure, rows_of
from consilience.study.palette import NEUTRAL, OUTLINE, layout

from ._pairs import APART, PAIR_KINDS, View, interval, mean, views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilience.records.pairs import PairFigures
    from consilience.study.study import Study

#: Fewer pairs in common than this, and two data sets are not set against each other.
_LEAST = 6


@dataclass(frozen=True)
class _Both:
    """A pair on two data sets."""

    view: View
    one: PairFigures
    other: PairFigures

    @property
    def x(self) -> float:
        assert self.one.calibrated is not None
        return self.one.calibrated

    @property
    def y(self) -> float:
        assert self.other.calibrated is not None
        return self.other.calibrated


@figure(
    FigureCard(
        name="local-in-and-out",
        title="Local alignment in and out of distribution",
        shows="Each point is a pair of models, scored on two data sets of one kind of matter. Below the diagonal, the "
        "two agree less on the data set along y. The paper finds agreement about neighbours to be lower on what "
        "models were not trained on.",
        scope="board",
        paper="Fig. 2C",
        order=40,
    )
)
def draw(study: Study, dataset: str = "") -> Drawing | None:
    """Draw each two data sets of a kind of matter that share six pairs; None where no two do."""
    plots: dict[str, go.Figure] = {}
    table: list[dict[str, Cell]] = []
    told: dict[str, str] = {}
    for one, other in combinations(study.datasets, 2):
        if study.dataset(one).card.matter != study.dataset(other).card.matter:
            continue
        if _share_in(study, other) > _share_in(study, one):  # what models were trained on lies along x
            one, other = other, one
        shared = _shared(study, one, other)
        if len(shared) < _LEAST:
            continue
        tab = f"{one} and {other}"
        plots[tab] = _plot(shared, _axis(study, one), _axis(study, other))
        table += [_line(both, one, other) for both in shared]
        told[tab] = _told(shared, one, other)
    if not plots:
        return None
    # Where models meet something new is what the figure is about; what it says elsewhere stands in its table.
    apart = [tab for tab in told if told[tab] and _contrast(study, *tab.split(" and "))]
    chosen = [told[tab] for tab in (apart or [tab for tab in told if told[tab]])]
    return Drawing(
        plots={tab: plots[tab] for tab in sorted(plots, key=lambda tab: tab not in apart)},
        table=rows_of(table),
        sentence="Trained pairs of different families: " + "; ".join(chosen) + "."
        if chosen
        else "No two trained models of different families are scored on two data sets of one kind of matter.",
        note="Calibrated CKNNA beyond composition. It counts 25 neighbours whatever the number of items: of 500 items "
        "they reach twice as far as of 1,000, so that data sets of unequal size differ in more than their matter. "
        "Pairs share models and are not independent of each other; hence no p.",
    )


def _share_in(study: Study, dataset: str) -> float:
    known = [record.distribution for record in study.records(dataset).values() if record.distribution is not None]
    return known.count("in") / len(known) if known else 0.0


def _contrast(study: Study, one: str, other: str) -> bool:
    """Whether most trained models are in distribution on the one, and out of it on the other."""
    return _share_in(study, one) > 0.5 > _share_in(study, other)


def _axis(study: Study, dataset: str) -> str:
    known = [record.distribution for record in study.records(dataset).values() if record.distribution is not None]
    return f"{dataset} (in distribution for {known.count('in')} of {len(known)} models)"


def _shared(study: Study, one: str, other: str) -> list[_Both]:
    elsewhere = {frozenset((view.pair.first, view.pair.second)): view.scores() for view in views(study, other)}
    found = []
    for view in views(study, one):
        here, there = view.scores(), elsewhere.get(frozenset((view.pair.first, view.pair.second)))
        if here and there and here.calibrated is not None and there.calibrated is not None:
            found.append(_Both(view, here, there))
    return found


def _plot(shared: Sequence[_Both], title_x: str, title_y: str) -> go.Figure:
    plot = go.Figure()
    top = 1.05 * max(0.1, *(max(both.x, both.y) for both in shared))
    names = title_x.split(" ")[0], title_y.split(" ")[0]
    counts = Counter(both.view.kind for both in shared)
    for kind, (colour, symbol) in reversed(PAIR_KINDS.items()):  # what matters most is drawn last, on top
        there = [both for both in shared if both.view.kind == kind]
        if not there:
            continue
        plot.add_trace(
            go.Scatter(
                x=[both.x for both in there],
                y=[both.y for both in there],
                text=[
                    f"{both.view.names}<br>{names[0]} {both.x:.3f} ({interval(both.one)})"
                    f"<br>{names[1]} {both.y:.3f} ({interval(both.other)})"
                    for both in there
                ],
                hovertemplate="%{text}<extra></extra>",
                mode="markers",
                name=f"{kind} ({counts[kind]})",
                marker={"color": colour, "symbol": symbol, "size": 9, "opacity": 0.85, "line": OUTLINE},
                cliponaxis=False,
            )
        )
    axis = {"range": [-0.01 * top, top], "constrain": "domain"}
    plot.update_layout(
        layout(
            title_x,
            title_y,
            height=640,
            margin={"b": 90},
            xaxis=axis,
            yaxis=axis | {"scaleanchor": "x"},
            showlegend=True,
            legend={"y": -0.14, "yanchor": "top", "traceorder": "reversed"},
            shapes=[
                {
                    "type": "line",
                    "x0": 0,
                    "y0": 0,
                    "x1": top,
                    "y1": top,
                    "line": {"color": NEUTRAL, "width": 1, "dash": "dot"},
                    "layer": "below",
                }
            ],
        )
    )
    return plot


def _told(shared: Sequence[_Both], one: str, other: str) -> str:
    apart = [both for both in shared if both.view.kind == APART]
    if not apart:
        return ""
    below = sum(both.y < both.x for both in apart)
    return (
        f"{below} of {len(apart)} ({below / len(apart):.0%}) agree less on {other} than on {one}, "
        f"mean difference {mean([both.y - both.x for both in apart]):+.3f}"
    )


def _line(both: _Both, one: str, other: str) -> dict[str, Cell]:
    first, second = both.view.first, both.view.second
    return {
        "x_dataset": one,
        "y_dataset": other,
        "first": first.target,
        "second": second.target,
        "pair": both.view.kind,
        "modalities": " and ".join(sorted({first.card.modality, second.card.modality})),
        "x_calibrated": both.one.calibrated,
        "x_low": both.one.low,
        "x_high": both.one.high,
        "x_p_value": both.one.p_value,
        "y_calibrated": both.other.calibrated,
        "y_low": both.other.low,
        "y_high": both.other.high,
        "y_p_value": both.other.p_value,
        "difference": both.y - both.x,
    }
