"""All pairs of models at once, ordered so that those that agree stand together."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from consilience.board.numbers import HOVER
from consilience.cards import UNTRAINED
from consilience.metrics import UnknownMetricError, get_metric
from consilience.records.values import or_nan
from consilience.scoring.presets import RANKED
from consilience.study.figure import Cell, Drawing, FigureCard, figure, rows_of
from consilience.study.palette import SCALE, layout
from consilience.study.study import is_untrained

from ._pairs import APART, METRICS, MIXED, View, interval, mean, views

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from consilience.records.record import Record
    from consilience.study.study import Study

#: Tabs of CKNNA: label, preparation, and its name in the title of the scale.
_CKNNA: tuple[tuple[str, str, str], ...] = (
    ("CKNNA", RANKED, "beyond composition"),
    ("CKNNA, paper's preparation", "paper", "rows L2"),
)
#: More rows than this, and a value no longer fits into a cell.
_WRITTEN = 14
#: Endings of the two figures that a directed metric has in a record.
_BOTH_WAYS = re.compile(r"_(to|from)$")


def clustered(distances: NDArray[np.float64]) -> list[int]:
    """Order by hierarchical clustering: average linkage, neighbours as alike as the tree allows.

    Parameters
    ----------
    distances
        Square and symmetric; a distance that is not known (NaN) counts as the largest that is.

    Returns
    -------
    list of int
        Leaves from left to right (Bar-Joseph et al. 2001, doi:10.1093/bioinformatics/17.suppl_1.S22).
    """
    if len(distances) < 3:
        return list(range(len(distances)))
    filled = np.where(np.isfinite(distances), distances, np.nanmax(distances, initial=0.0))
    np.fill_diagonal(filled, 0.0)
    tree = linkage(squareform(filled, checks=False), "average", optimal_ordering=True)
    return [int(place) for place in leaves_list(tree)]


@figure(
    FigureCard(
        name="heat-map",
        title="Every pair of models",
        shows="How far each two models agree about who is whose neighbour. Rows and columns have the same order, by "
        "which models that agree stand together; blocks along the diagonal are groups that see matter alike.",
        paper="Fig. 1A, 1C, A1-A3, C6, C8, C10-C13",
        order=10,
    )
)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw the pairs of a data set; None where fewer than three targets were paired."""
    found = list(views(study, dataset))
    names, alignment = study.matrix(dataset)
    if len(names) < 3 or not np.isfinite(alignment).any():
        return None
    order = clustered(1 - alignment)
    # A tree can be read from either end: what agrees with much comes first.
    much = np.nan_to_num(alignment).sum(1)[order]
    if much[: len(order) // 2].sum() < much[(len(order) + 1) // 2 :].sum():
        order.reverse()
    names = [names[place] for place in order]
    records = study.records(dataset)
    plots: dict[str, go.Figure] = {}
    for tab, preset, title in _CKNNA:
        values = study.matrix(dataset, preset=preset, targets=names)[1]
        if np.isfinite(values).any():
            plots[tab] = _plot(names, values, f"calibrated CKNNA,<br>{title}", _cknna_hover(found, names, preset))
    metrics = held_metrics(found)
    for metric, title in metrics.items():
        values = study.matrix(dataset, metric, targets=names)[1]
        if np.isfinite(values).any():
            symmetric, higher = _declared(metric)
            plots[title] = _plot(
                names,
                values,
                f"{title},<br>beyond composition" + ("" if symmetric else ", row to column"),
                _items_hover(found, names),
                # Where low values are much agreement, they are bright, as elsewhere.
                reverse=not higher,
            )
    families, means, counts = condensed(names, study.matrix(dataset, targets=names)[1], records)
    if len(families) < len(names):
        plots["by family"] = _plot(
            families,
            means,
            "mean calibrated CKNNA,<br>beyond composition",
            [["1 pair" if count == 1 else f"{count} pairs" for count in line] for line in counts],
        )
    return Drawing(
        plots=plots,
        table=rows_of(_line(view, metrics) for view in found),
        sentence=_sentence(found),
        downloads={"families.csv": _family_table(families, means, counts)},
        note="One order for all tabs: average linkage with optimal leaf ordering on 1 - calibrated CKNNA beyond "
        "composition. The diagonal is left empty. By family: means over the pairs between two families; a family's "
        "own cell is the mean over the pairs within it, each model's agreement with itself left out (empty for a "
        "family of one). Untrained networks make a family of their own. 95 % intervals and p are those of CKNNA; the "
        "other metrics are shown as measured.",
    )


def held_metrics(found: Sequence[View]) -> dict[str, str]:
    """Return title by name of the metrics that pairs of a data set hold: figures' own first, then others by name."""
    names = {name for view in found if (scores := view.scores(RANKED)) for name in scores.metrics}
    bases = {_BOTH_WAYS.sub("", name) if _is_way(name, names) else name for name in names}
    titles = {name: title for name, title in METRICS.items() if name in bases}
    for name in sorted(bases - titles.keys()):
        try:
            titles[name] = get_metric(name).card.title
        except UnknownMetricError:  # of a plug-in that is not installed here
            titles[name] = name
    return titles


def _is_way(name: str, names: set[str]) -> bool:
    """Whether a name is one of the two that a directed metric has in a record."""
    base = _BOTH_WAYS.sub("", name)
    return base != name and {f"{base}_to", f"{base}_from"} <= names


def _declared(metric: str) -> tuple[bool, bool]:
    """Whether a metric is symmetric, and whether higher is more alike."""
    try:
        card = get_metric(metric).card
    except UnknownMetricError:
        return True, True
    return card.symmetric, bool(card.higher_is_more_alike)


def condensed(
    names: Sequence[str], values: NDArray[np.float64], records: dict[str, Record]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.int_]]:
    """Average a matrix of targets over families.

    Parameters
    ----------
    names
        Targets, in their order.
    values
        One figure of all pairs, NaN on the diagonal.
    records
        Their records.

    Returns
    -------
    families : list of str
        In the order of their members' mean places; untrained networks apart from their trained kin.
    means : ndarray
        Means over known pairs, a family with itself without the pairs of a target with itself.
    counts : ndarray
        How many pairs each mean rests on.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        record = records[name]
        members[record.card.family + (UNTRAINED if is_untrained(record) else "")].append(place)
    families = sorted(members, key=lambda family: float(np.mean(members[family])))
    means = np.full((len(families), len(families)), np.nan)
    counts = np.zeros(means.shape, int)
    for i, first in enumerate(families):
        for j, second in enumerate(families):
            block = values[np.ix_(members[first], members[second])]
            known = block[np.isfinite(block)]
            counts[i, j] = len(known) // 2 if i == j else len(known)
            if len(known):
                means[i, j] = known.mean()
    return families, means, counts


def _plot(
    names: Sequence[str],
    values: NDArray[np.float64],
    title: str,
    hover: Sequence[Sequence[str]],
    *,
    reverse: bool = False,
) -> go.Figure:
    small = max(7, min(12, 560 // len(names)))
    bar = {
        # Above: beside the map it takes a fifth of a phone's screen.
        "orientation": "h",
        "y": 1.01,
        "yanchor": "bottom",
        "thickness": 12,
        "len": 0.9,
        "title": {"text": title, "side": "top", "font": {"size": 13}},
        "outlinewidth": 0,
    }
    plot = go.Figure(
        go.Heatmap(
            z=values,
            x=list(names),
            y=list(names),
            text=hover,
            colorscale=SCALE,
            colorbar=bar,
            hoverongaps=False,
            hovertemplate="<b>%{y}</b> and <b>%{x}</b><br>%{z:.3f}<br>%{text}<extra></extra>",
            texttemplate="%{z:.2f}" if len(names) <= _WRITTEN else None,
            xgap=1,
            ygap=1,
            # From 0 wherever the values allow it, so that no colour flatters from one data set to the next.
            zmin=min(0.0, float(np.nanmin(values))),
            zmax=max(0.1, float(np.ceil(np.nanmax(values) * 10) / 10)),
            reversescale=reverse,
        )
    )
    axis = {
        "showgrid": False,
        "ticks": "",
        "showline": False,
        "type": "category",
        "dtick": 1,
        "tickfont": {"size": small},
    }
    plot.update_layout(
        layout(
            "",
            "",
            height=int(max(480, 15 * len(names) + 320)),
            margin={"l": 10, "r": 10, "t": 100, "b": 10},
            # For the page: on a screen narrower than this, names of columns run into each other.
            meta={"min_width": 170 + (small + 4) * len(names)},
            xaxis=axis | {"tickangle": -90, "dtick": 1},
            yaxis=axis | {"autorange": "reversed", "dtick": 1},
        )
    )
    return plot


def _cknna_hover(found: Sequence[View], names: Sequence[str], preset: Any) -> list[list[str]]:
    place = {name: i for i, name in enumerate(names)}
    texts = [[""] * len(names) for _ in names]
    for view in found:
        i, j = place[view.pair.first], place[view.pair.second]
        scores = view.scores(preset)
        raw = HOVER.number(scores.cknna if scores else None)
        texts[i][j] = texts[j][i] = f"{interval(scores)}<br>CKNNA {raw}, {view.pair.items} items"
    return texts


def _items_hover(found: Sequence[View], names: Sequence[str]) -> list[list[str]]:
    place = {name: i for i, name in enumerate(names)}
    texts = [[""] * len(names) for _ in names]
    for view in found:
        i, j = place[view.pair.first], place[view.pair.second]
        texts[i][j] = texts[j][i] = f"{view.pair.items} items"
    return texts


def _line(view: View, metrics: Iterable[str]) -> dict[str, Cell]:
    others = [name for metric in metrics if metric not in METRICS for name in _names(metric)]
    ranked, paper = view.scores(RANKED), view.scores("paper")
    return {
        "first": view.pair.first,
        "second": view.pair.second,
        "pair": view.kind,
        "items": view.pair.items,
        "calibrated": ranked.calibrated if ranked else None,
        "low": ranked.low if ranked else None,
        "high": ranked.high if ranked else None,
        "p_value": ranked.p_value if ranked else None,
        "cknna": ranked.cknna if ranked else None,
        "paper_calibrated": paper.calibrated if paper else None,
        "paper_low": paper.low if paper else None,
        "paper_high": paper.high if paper else None,
        "paper_p_value": paper.p_value if paper else None,
        "paper_cknna": paper.cknna if paper else None,
        "distance_correlation": view.metric("distance_correlation"),
        "information_imbalance_to": view.metric("information_imbalance_to"),
        "information_imbalance_from": view.metric("information_imbalance_from"),
        "intrinsic_dimension_correlation": view.metric("intrinsic_dimension_correlation"),
        **{name: view.metric(name) for name in others},
    }


def _names(metric: str) -> tuple[str, ...]:
    """Names that a metric's figures have in a record."""
    return (metric,) if _declared(metric)[0] else (f"{metric}_to", f"{metric}_from")


def _sentence(found: Sequence[View]) -> str:
    known = [(view, scores.calibrated) for view in found if (scores := view.scores()) and scores.calibrated is not None]
    apart = [(view, value) for view, value in known if view.kind == APART]
    mixed = [value for view, value in known if view.kind == MIXED]
    if not apart:
        return f"No two trained models of different families are paired here; {len(known)} pairs are shown."
    best, value = max(apart, key=lambda one: one[1])
    text = (
        f"Of {len(apart)} pairs of trained models of different families, {best.pair.first} and {best.pair.second} "
        f"agree most (calibrated CKNNA beyond composition {value:.2f}); "
        f"the mean is {mean([one[1] for one in apart]):.2f}"
    )
    return text + (f", against {mean(mixed):.2f} for a trained with an untrained network." if mixed else ".")


def _family_table(families: Sequence[str], means: NDArray[np.float64], counts: NDArray[np.int_]) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["first", "second", "pairs", "mean_calibrated"])
    for i, first in enumerate(families):
        for j, second in enumerate(families[i:], i):
            if counts[i, j]:
                lines.writerow([first, second, int(counts[i, j]), f"{or_nan(means[i, j]):.6g}"])
    return text.getvalue()
