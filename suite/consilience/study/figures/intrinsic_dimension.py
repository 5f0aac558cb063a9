"""How many numbers an embedding takes: intrinsic dimension by data set and kind of model."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from consilience.scoring.presets import PRESET_TITLES, RANKED
from consilience.study.figure import Cell, Drawing, FigureCard, figure, rows_of
from consilience.study.palette import FAINT, MODALITY_TITLES, OUTLINE, colour_of, layout, symbol_of
from consilience.study.study import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilience.records.record import Record
    from consilience.study.study import Study

_TABS: tuple[str, ...] = (RANKED, "standardized", "paper")
#: Fewer points than this are not summed up by a box.
_LEAST = 4
_KINDS = ("trained", "untrained", "baseline")
_TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_COLUMN = "intrinsic_dimension"


@figure(
    FigureCard(
        name="intrinsic-dimension",
        title="Intrinsic dimension",
        shows="How many independent directions the embeddings of a data set fill (TwoNN), one point for each model. "
        "Models that see the same few properties of matter need few, whatever the width of their embedding.",
        scope="board",
        paper="Fig. 1D, 1E, C7",
        order=50,
    )
)
def draw(study: Study, dataset: str = "") -> Drawing | None:
    """Draw all data sets of a board; None where no intrinsic dimension was measured."""
    found = [(name, record) for name in study.datasets for record in study.records(name).values()]
    plots = {}
    for preset in _TABS:
        known = [(name, record, value) for name, record in found if (value := _value(record, preset)) is not None]
        if known:
            plots[PRESET_TITLES[preset]] = _plot(known)
    if not plots:
        return None
    lines = [_line(name, record) for name, record in found]
    return Drawing(
        plots=plots,
        table=rows_of(line for line in lines if any(line[f"{_COLUMN}_{preset}"] is not None for preset in _TABS)),
        sentence=_sentence(study),
        note="TwoNN (Facco et al. 2017, doi:10.1038/s41598-017-11873-y). Boxes are quartiles, drawn from four points "
        "on. With few items it comes out too low where the dimension is high. Below 1: items that come in near-equal "
        "pairs, as polymorphs do.",
    )


def _value(record: Record, preset: str) -> float | None:
    return record.singles.get(preset, {}).get(_COLUMN)


def _group(record: Record) -> tuple[str, str]:
    """Kind and modality by which records stand together; baselines are one group whatever they read."""
    kind = kind_of(record)
    return kind, "baseline" if kind == "baseline" else record.card.modality


def _title(kind: str, modality: str) -> str:
    return MODALITY_TITLES[modality] + (", untrained" if kind == "untrained" else "")


def _plot(known: Sequence[tuple[str, Record, float]]) -> go.Figure:
    plot = go.Figure()
    datasets = list(dict.fromkeys(name for name, _, _ in known))
    cells: dict[tuple[str, str], dict[str, list[tuple[Record, float]]]] = {}
    for name, record, value in known:
        cells.setdefault(_group(record), {}).setdefault(name, []).append((record, value))
    groups = sorted(cells, key=lambda group: (_KINDS.index(group[0]), list(MODALITY_TITLES).index(group[1])))
    # One lane for each group that a data set has, the next data set after a gap of one lane.
    lanes: dict[tuple[str, tuple[str, str]], int] = {}
    ticks: list[float] = []
    gaps: list[int] = []
    lane = 0
    for name in datasets:
        present = [group for group in groups if name in cells[group]]
        lanes.update({(name, group): lane + place for place, group in enumerate(present)})
        ticks.append(lane + (len(present) - 1) / 2)
        lane += len(present) + 1
        gaps.append(lane - 1)
    for group in groups:
        kind, modality = group
        members = [
            (lanes[name, group] + (place % 3 - 1) / 4, name, record, value)
            for name, found in cells[group].items()
            for place, (record, value) in enumerate(sorted(found, key=lambda one: one[1]))
        ]
        boxed = [
            (lanes[name, group], value)
            for name, found in cells[group].items()
            if len(found) >= _LEAST
            for _, value in found
        ]
        if boxed:
            plot.add_trace(
                go.Box(
                    x=[value for _, value in boxed],
                    y=[place for place, _ in boxed],
                    orientation="h",
                    width=0.9,
                    boxpoints=False,
                    whiskerwidth=0,
                    line={"color": colour_of(modality), "width": 1},
                    fillcolor="rgba(128,128,128,0.15)",
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=_title(*group),
                )
            )
        plot.add_trace(
            go.Scatter(
                x=[value for _, _, _, value in members],
                y=[place for place, _, _, _ in members],
                text=[f"{_hover(record)}<br>{name}" for _, name, record, _ in members],
                hovertemplate="%{text}: %{x:.2f}<extra></extra>",
                mode="markers",
                name=_title(*group),
                legendgroup=_title(*group),
                marker={"color": colour_of(modality), "symbol": symbol_of(kind), "size": 7, "line": OUTLINE},
            )
        )
    plot.update_layout(
        layout(
            "intrinsic dimension (TwoNN)",
            "",
            height=max(360, 20 * lane + 180),
            margin={"l": 10},
            showlegend=True,
            boxmode="overlay",
            xaxis={"type": "log", "tickvals": _TICKS, "ticktext": [f"{value:g}" for value in _TICKS]},
            yaxis={
                "tickvals": ticks,
                "ticktext": datasets,
                "ticks": "",
                "showgrid": False,
                "range": [lane - 0.5, -0.8],
            },
            shapes=[
                {
                    "type": "line",
                    "xref": "paper",
                    "x0": 0,
                    "x1": 1,
                    "y0": gap,
                    "y1": gap,
                    "line": {"color": FAINT, "width": 1},
                    "layer": "below",
                }
                for gap in gaps[:-1]
            ],
        )
    )
    return plot


def _hover(record: Record) -> str:
    kind = "" if record.card.invariant else ", changes under rotation"
    return f"<b>{record.target}</b> ({kind_of(record)}{kind})<br>{record.dimension or '?'} columns"


def _sentence(study: Study) -> str:
    told = []
    for name in study.datasets:
        values: dict[str, list[float]] = {}
        for record in study.records(name).values():
            if (value := _value(record, RANKED)) is not None:
                values.setdefault(kind_of(record), []).append(value)
        if "trained" in values:
            text = f"{name} {median(values['trained']):.1f}"
            told.append(text + (f" ({median(values['untrained']):.1f})" if "untrained" in values else ""))
    if not told:
        return "No trained model has an intrinsic dimension beyond composition here."
    return f"Median intrinsic dimension of trained models (of untrained ones): {', '.join(told)}; beyond composition."


def _line(name: str, record: Record) -> dict[str, Cell]:
    return {
        "dataset": name,
        "target": record.target,
        "family": record.card.family,
        "kind": kind_of(record),
        "modality": record.card.modality,
        "invariant": record.card.invariant,
        "columns": record.dimension,
        **{f"{_COLUMN}_{preset}": _value(record, preset) for preset in _TABS},
    }
