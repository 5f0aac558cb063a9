"""Energy error against alignment: do models that predict energies better agree more with the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from consilience.board.numbers import HOVER
from consilience.records.values import or_nan
from consilience.scoring.presets import RANKED
from consilience.study.figure import Cell, Drawing, FigureCard, figure, rows_of
from consilience.study.palette import MODALITY_TITLES, NEUTRAL, colour_of, layout, symbol_of
from consilience.study.statistics import (
    PERMUTATIONS,
    Clustered,
    centred_ranks,
    clustered_test,
    correlation,
    p_in_words,
    spearman,
)
from consilience.study.study import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from consilience.records.pairs import PairFigures
    from consilience.records.record import Record
    from consilience.study.study import Study

#: Fewer models with an error than this, and there is nothing to draw.
_LEAST = 4
#: Names are written beside the points up to here.
_NAMED = 10


@dataclass(frozen=True)
class _Measure:
    """An error of a model: which tab shows it, how its axis and the sentence call it."""

    tab: str
    column: str
    axis: str
    words: str
    of: Callable[[Record], float | None]


_MEASURES = (
    _Measure(
        "energy, as in the paper",
        "energy_mae",
        "energy error beyond composition,<br>in sample (eV per item)",
        "energy error (in sample)",
        lambda record: record.energy.mae if record.energy else None,
    ),
    _Measure(
        "energy, out of sample",
        "energy_mae_out_of_sample",
        "energy error beyond composition,<br>out of sample (eV per item)",
        "energy error (out of sample)",
        lambda record: record.energy.mae_out_of_sample if record.energy else None,
    ),
    _Measure(
        "probe",
        "probe_mae",
        "probe error beyond composition,<br>out of fold (eV per atom)",
        "probe error",
        lambda record: record.probe.mae if record.probe else None,
    ),
)


@figure(
    FigureCard(
        name="energy-and-alignment",
        title="Energy error and alignment to the best model",
        shows="Along x how far a model's energies are off once composition is fitted away, along y how far it agrees "
        "with the most accurate model of another family. The paper finds points to fall from top left to bottom "
        "right. The probe is a linear regression on the embedding, so that models without energies have a point too.",
        paper="Fig. 1B, 3",
        order=30,
    )
)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw the models of a data set; None where fewer than four have an error of either sort."""
    records = study.records(dataset)
    names, alignment = study.matrix(dataset)
    pairs: dict[tuple[str, str], PairFigures | None] = {}
    for pair in study.pairs(dataset):
        pairs[pair.first, pair.second] = pairs[pair.second, pair.first] = pair.scores.get(RANKED)
    plots: dict[str, go.Figure] = {}
    told: list[str] = []
    table: list[dict[str, Cell]] = []
    for measure in _MEASURES:
        errors = np.array([or_nan(measure.of(records[name])) for name in names])
        there = np.flatnonzero(np.isfinite(errors))
        if len(there) < _LEAST:
            continue
        cells = [records[names[place]] for place in there]
        points = anchored(errors[there], alignment[np.ix_(there, there)], cells)
        drawn = [
            _Point(cell, float(error), value, anchor, pairs.get((cell.target, anchor)) if anchor else None)
            for cell, error, value, anchor in zip(cells, errors[there], points.values, points.anchors, strict=True)
        ]
        drawn = [point for point in drawn if math.isfinite(point.y)]
        if len(drawn) < _LEAST:
            continue
        plots[measure.tab] = _plot(drawn, measure)
        test = rank_correlation_of_errors(errors[there], alignment[np.ix_(there, there)], cells)
        told.append(_told(measure, points.best, test))
        table += [_line(point, measure, points.best, test) for point in drawn]
    if not plots:
        return None
    return Drawing(
        plots=plots,
        table=rows_of(table),
        sentence=told[0][0].upper() + "; ".join(told)[1:] + ".",
        note="Alignment is calibrated CKNNA beyond composition, bars are its 95 % interval. Each model is compared "
        "with the trained model of least error outside of its own family; the best model itself and its kin are thus "
        "compared with the best of the others (ringed points). Controls are drawn but not counted. The p is two-sided, "
        "from relabellings of the errors that keep families together (families of one size change places, and members "
        "within a family; Winkler et al. 2015, doi:10.1016/j.neuroimage.2015.05.092), the best model chosen anew in "
        "each. Points grow with the number of parameters. Energies are a model's own, of its own level of theory.",
    )


@dataclass(frozen=True)
class Anchored:
    """Alignment of each model with the best model outside of its family."""

    values: list[float]
    anchors: list[str | None]
    best: str | None


def anchored(errors: NDArray[np.float64], alignment: NDArray[np.float64], records: Sequence[Record]) -> Anchored:
    """Compare each model with the trained model of least error outside of its own family.

    Parameters
    ----------
    errors : ndarray of shape (n,)
        Error of each model; finite.
    alignment : ndarray of shape (n, n)
        Alignment of all pairs.
    records
        Records, n of them.

    Returns
    -------
    Anchored
        NaN and None where no other family has a trained model, or the pair was not scored.
    """
    families = _numbered(records)
    best, second = _two_best(np.where([record.trained for record in records], errors, np.inf), families)
    places = _anchors(best, second, families)
    return Anchored(
        [float(alignment[own, place]) if place >= 0 else math.nan for own, place in enumerate(places)],
        [records[place].target if place >= 0 else None for place in places],
        records[best].target if best >= 0 else None,
    )


def _numbered(records: Sequence[Record]) -> NDArray[np.intp]:
    """Families as numbers."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(record.card.family, len(known)) for record in records], np.intp)


def _two_best(errors: NDArray[np.float64], families: NDArray[np.intp]) -> tuple[int, int]:
    """The place of the least error, and of the least in any other family; -1 where there is none."""
    best = int(np.argmin(errors))
    others = np.where(families == families[best], np.inf, errors)
    second = int(np.argmin(others))
    return (best if np.isfinite(errors[best]) else -1), (second if np.isfinite(others[second]) else -1)


def _anchors(best: int, second: int, families: NDArray[np.intp]) -> NDArray[np.intp]:
    # Only the best family's own members look past the best: the best of the others is one model for all of them.
    return np.where(families == families[best], second, best) if best >= 0 else np.full(len(families), -1)


def rank_correlation_of_errors(
    errors: NDArray[np.float64],
    alignment: NDArray[np.float64],
    records: Sequence[Record],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Clustered:
    """Rank correlation of error with alignment to the best, over trained models, with a family-clustered p.

    Parameters
    ----------
    errors, alignment, records
        As in :func:`anchored`; records of controls are left out.
    permutations, seed
        As in :func:`~consilience.study.statistics.clustered_test`.
    """
    counted = [place for place, record in enumerate(records) if record.trained]
    own = errors[counted]
    among = alignment[np.ix_(counted, counted)]
    families = _numbered([records[place] for place in counted])
    if len(counted) < _LEAST:
        return Clustered(math.nan, math.nan, math.nan, len(counted), len(set(families.tolist())))
    ranks = centred_ranks(own)
    # Few models are the best in any relabelling, and what all agree with them is ranked but once.
    seen: dict[tuple[int, int], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def statistic(order: NDArray[np.intp]) -> float:
        best, second = key = _two_best(own[order], families)
        if key not in seen:
            anchors = _anchors(best, second, families)
            values = np.where(anchors >= 0, among[np.arange(len(own)), anchors], np.nan)
            seen[key] = values, centred_ranks(values) if np.isfinite(values).all() else np.empty(0)
        values, ranked = seen[key]
        return correlation(ranks[order], ranked) if len(ranked) else spearman(own[order], values)

    return clustered_test(statistic, families.tolist(), permutations=permutations, seed=seed)


@dataclass(frozen=True)
class _Point:
    record: Record
    x: float
    y: float
    anchor: str | None
    scores: PairFigures | None

    @property
    def ends(self) -> tuple[float, float]:
        """How far the interval reaches down and up."""
        if self.scores is None or self.scores.low is None or self.scores.high is None:
            return 0.0, 0.0
        return max(0.0, self.y - self.scores.low), max(0.0, self.scores.high - self.y)

    @property
    def size(self) -> float:
        """Diameter: a step for each power of ten of parameters."""
        parameters = self.record.card.parameters or 0
        return 8 + 4 * max(0.0, math.log10(max(parameters, 1)) - 4)


def _hover(point: _Point, measure: _Measure) -> str:
    parameters = point.record.card.parameters
    size = f"{parameters:,} parameters" if parameters else "no parameters"
    low, high = (point.scores.low, point.scores.high) if point.scores else (None, None)
    return (
        f"<b>{point.record.target}</b> ({kind_of(point.record)}, {point.record.card.family})"
        f"<br>{measure.words} {point.x:.4g}"
        f"<br>agrees with {point.anchor}: {point.y:.3f} ({HOVER.number(low)} to {HOVER.number(high)})<br>{size}"
    )


def _plot(points: Sequence[_Point], measure: _Measure) -> go.Figure:
    plot = go.Figure()
    # A ring around those that are not compared with the best of all.
    usual = max({point.anchor for point in points}, key=[point.anchor for point in points].count)
    named = {point.record.target: point for point in points if point.record.trained}
    sides = _sides(list(named.values()), points) if len(named) <= _NAMED else {}
    groups: dict[tuple[str, str], list[_Point]] = {}
    for point in points:
        kind = kind_of(point.record)
        groups.setdefault((kind, "baseline" if kind == "baseline" else point.record.card.modality), []).append(point)
    for (kind, modality), members in sorted(groups.items(), key=lambda one: (one[0][0] != "trained", one[0])):
        title = MODALITY_TITLES[modality]
        plot.add_trace(
            go.Scatter(
                x=[point.x for point in members],
                y=[point.y for point in members],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [point.ends[1] for point in members],
                    "arrayminus": [point.ends[0] for point in members],
                    "thickness": 1,
                    "width": 0,
                    "color": "rgba(128,128,128,0.5)",
                },
                mode="markers+text" if sides and kind == "trained" else "markers",
                text=[point.record.target if point.record.target in sides else "" for point in members],
                textposition=[sides.get(point.record.target, "top center") for point in members],
                textfont={"size": 11},
                hovertext=[_hover(point, measure) for point in members],
                hovertemplate="%{hovertext}<extra></extra>",
                name=title if kind != "untrained" else f"{title}, untrained",
                marker={
                    "color": colour_of(modality),
                    "symbol": symbol_of(kind),
                    "size": [point.size for point in members],
                    "opacity": 0.85,
                    "line": {
                        "color": NEUTRAL,
                        "width": [0.6 if point.anchor == usual else 3 for point in members],
                    },
                },
                cliponaxis=False,
            )
        )
    if others := {point.anchor for point in points} - {usual}:
        key = {"symbol": "circle-open", "size": 11, "color": NEUTRAL, "line": {"width": 3}}
        name = f"ringed: compared with {others.pop()}"
        plot.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=key))
    width = max(point.x for point in points) - min(point.x for point in points)
    plot.update_layout(
        layout(
            measure.axis,
            f"calibrated CKNNA to {usual}",
            showlegend=True,
            # Names beside the outermost points need room.
            xaxis={
                "range": [
                    min(point.x for point in points) - 0.12 * width,
                    max(point.x for point in points) + 0.12 * width,
                ]
            },
            yaxis={"rangemode": "tozero"},
        )
    )
    return plot


def _sides(named: Sequence[_Point], points: Sequence[_Point]) -> dict[str, str]:
    """On which side of its point each name stands, where it covers neither a point nor another name."""
    # Pixels of a plot as wide as a column of text; a name that fits nowhere is left to the hover text.
    width, height, letter, line = 640, 400, 6.5, 14
    left, right = min(point.x for point in points), max(point.x for point in points)
    across, up = width / 1.24 / (right - left or 1.0), height / (max(point.y for point in points) or 1.0)
    circles = [(point.x * across, point.y * up, point.size / 2) for point in points]
    boxes = [(x - r, y - r, x + r, y + r) for x, y, r in circles]
    sides: dict[str, str] = {}
    for own in named:
        x, y = own.x * across, own.y * up
        wide, gap = letter * len(own.record.target), own.size / 2 + 2
        for side, box in (
            ("top center", (x - wide / 2, y + gap, x + wide / 2, y + gap + line)),
            ("bottom center", (x - wide / 2, y - gap - line, x + wide / 2, y - gap)),
            ("middle right", (x + gap, y - line / 2, x + gap + wide, y + line / 2)),
            ("middle left", (x - gap - wide, y - line / 2, x - gap, y + line / 2)),
        ):
            if not any(_overlap(box, other) for other in boxes):
                sides[own.record.target] = side
                boxes.append(box)
                break
    return sides


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _told(measure: _Measure, best: str | None, test: Clustered) -> str:
    if not math.isfinite(test.value):
        return f"{measure.words}: too few trained models ({test.models}) for a rank correlation with alignment"
    return (
        f"{measure.words}: rank correlation with alignment to the best ({best}; leave-family-out) is "
        f"{test.value:+.2f} over {test.models} models of {test.families} families, {p_in_words(test)}"
    )


def _line(point: _Point, measure: _Measure, best: str | None, test: Clustered) -> dict[str, Cell]:
    return {
        "error": measure.column,
        "target": point.record.target,
        "family": point.record.card.family,
        "kind": kind_of(point.record),
        "modality": point.record.card.modality,
        "parameters": point.record.card.parameters,
        "value": point.x,
        "unit": "eV per atom" if measure.column.startswith("probe") else "eV per item",
        "compared_with": point.anchor,
        "calibrated": point.y,
        "low": point.scores.low if point.scores else None,
        "high": point.scores.high if point.scores else None,
        "p_value": point.scores.p_value if point.scores else None,
        "counted": point.record.trained,
        "best": best,
        "rank_correlation": test.value,
        "family_permutation_p": test.p_value,
    }
