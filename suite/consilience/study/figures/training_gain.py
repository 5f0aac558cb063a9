"""Each model's own untrained twins and the trained model: what training adds to its alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from consilience.scoring.free import OWN_TWINS, above_free
from consilience.scoring.gain import Gain, training_gains
from consilience.study.figure import Cell, Drawing, FigureCard, figure, rows_of
from consilience.study.palette import FAINT, MODALITY_TITLES, NEUTRAL, colour_of, layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consilience.records.record import Record
    from consilience.study.study import Study

#: Modalities from top to bottom.
_ORDER = tuple(MODALITY_TITLES)
#: Height of a line of the figure, and what the axis and its title need (pixels).
_LINE, _MARGINS = 24, 130
#: Models that lose; to be told apart from all colours of modalities.
_LOSES = "#C0392B"


@dataclass(frozen=True)
class _Arrow:
    """A model on the figure."""

    record: Record
    gain: Gain

    @property
    def trained(self) -> float:
        return self.gain.untrained + self.gain.estimate.value


@figure(
    FigureCard(
        name="training-gain",
        title="What training adds to each architecture",
        shows="A circle is the mean alignment of a model's own untrained twins: the same architecture with random "
        "weights. The arrow leads to the trained model. Where it points to the left, training takes the model away "
        "from the references. The dashed line is the best of what nobody has to train: descriptors and random "
        "features of composition.",
        order=5,
    )
)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw the models of a data set that have own twins; None where none has."""
    records = study.records(dataset, own_twins=True)
    gains = training_gains(list(records.values()))
    if not gains:
        return None
    arrows = [_Arrow(records[name], gain) for name, gain in gains.items()]
    arrows.sort(key=lambda one: (_ORDER.index(one.record.card.modality), -one.trained))
    free = _best_free(study, list(records.values()))
    return Drawing(
        plots={"": _plot(arrows, free)},
        table=rows_of(_line(one) for one in arrows),
        sentence=_sentence(arrows),
        note="Alignment is (CKNNA - m) / (1 - m) beyond linear composition, m being the mean over relabelled items; "
        "0 is chance. Of a model it is the mean over the references outside its own lineage, the same for its twins. "
        "The interval of a gain covers other items, other seeds of the twins and other lineages of references, not "
        "another training of the model.",
    )


def _best_free(study: Study, records: Sequence[Record]) -> tuple[str, float] | None:
    """Name and mean alignment of the best that nobody trained, twins left out."""
    descriptors = {one.modality: one.groups for one in study.board.spec.measured.free}
    values: dict[str, list[float]] = {}
    for one in above_free(records, descriptors).values():
        for name, value in one.free.items():
            if name != OWN_TWINS:
                values.setdefault(name, []).append(value)
    means = {name: float(np.mean(one)) for name, one in values.items()}
    return max(means.items(), key=lambda item: item[1]) if means else None


def _plot(arrows: Sequence[_Arrow], free: tuple[str, float] | None) -> go.Figure:
    ticks: dict[int, str] = {}
    place = 0
    modality = None
    plot = go.Figure()
    for one in arrows:
        if one.record.card.modality != modality:
            modality = one.record.card.modality
            ticks[place] = f"<b>{MODALITY_TITLES[modality]}</b>"
            place += 1
        ticks[place] = one.record.card.name
        _draw_arrow(plot, one, place)
        place += 1
    if free is not None:
        name, value = free
        plot.add_shape(
            type="line", x0=value, x1=value, y0=-0.5, y1=place - 0.5, line={"dash": "dash", "color": NEUTRAL}
        )
        plot.add_annotation(x=value, y=-0.6, text=f"{name}, no training", showarrow=False, xanchor="left", xshift=4)
    plot.add_shape(type="line", x0=0, x1=0, y0=-0.5, y1=place - 0.5, line={"color": FAINT}, layer="below")
    axis = {"tickvals": list(ticks), "ticktext": list(ticks.values()), "range": [place - 0.4, -1.2], "showgrid": False}
    plot.update_layout(
        layout(
            "alignment beyond linear composition (0 is chance)",
            "",
            height=_MARGINS + _LINE * place,
            showlegend=False,
            yaxis=axis | {"ticks": ""},
        )
    )
    return plot


def _draw_arrow(plot: go.Figure, one: _Arrow, place: int) -> None:
    estimate = one.gain.estimate
    colour = colour_of(one.record.card.modality) if estimate.value >= 0 else _LOSES
    hover = (
        f"<b>{one.record.target}</b><br>untrained {one.gain.untrained:.3f} ({_twins(one.gain.seeds)})"
        f"<br>trained {one.trained:.3f}<br>gain {estimate.value:+.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
    )
    marker: dict[str, Any] = {"size": 9, "color": "rgba(0,0,0,0)", "line": {"width": 2, "color": NEUTRAL}}
    plot.add_scatter(
        x=[one.gain.untrained], y=[place], mode="markers", marker=marker, hovertext=hover, hoverinfo="text"
    )
    # An arrow is no point: this one, that can't be seen, carries the words at its head.
    plot.add_scatter(
        x=[one.trained], y=[place], mode="markers", marker={"size": 12, "opacity": 0}, hovertext=hover, hoverinfo="text"
    )
    plot.add_annotation(
        x=one.trained,
        y=place,
        ax=one.gain.untrained,
        ay=place,
        xref="x",
        yref="y",
        axref="x",
        ayref="y",
        showarrow=True,
        arrowhead=2,
        arrowwidth=2.5,
        arrowcolor=colour,
        standoff=0,
        startstandoff=5,
        text="",
    )
    right = max(one.trained, one.gain.untrained)
    plot.add_annotation(
        x=right,
        y=place,
        text=f"{estimate.value:+.2f}".replace("-", "\N{MINUS SIGN}") + (" *" if estimate.clear else ""),
        showarrow=False,
        xanchor="left",
        xshift=10,
        font={"color": colour, "size": 12},
    )


def _twins(number: int) -> str:
    return f"{number} twin" + ("s" if number > 1 else "")


def _line(one: _Arrow) -> Mapping[str, Cell]:
    estimate = one.gain.estimate
    return {
        "target": one.record.target,
        "modality": one.record.card.modality,
        "family": one.record.card.family,
        "untrained": one.gain.untrained,
        "twins": one.gain.seeds,
        "trained": one.trained,
        "gain": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "clear": estimate.clear,
    }


def _sentence(arrows: Sequence[_Arrow]) -> str:
    parts = []
    for modality in dict.fromkeys(one.record.card.modality for one in arrows):
        of_it = [one.gain.estimate for one in arrows if one.record.card.modality == modality]
        gained, clear = sum(one.value > 0 for one in of_it), sum(one.clear for one in of_it)
        parts.append(f"{gained} of {len(of_it)} models of {MODALITY_TITLES[modality]} ({clear} clearly)")
    return f"Training brings {', '.join(parts)} closer to the references than their own architecture, untrained, is."
