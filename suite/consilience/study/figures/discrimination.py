"""Whether a preparation tells trained networks from untrained ones: the suite's own figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from consilience.board.ranking import compared_pairs
from consilience.records.record import Record
from consilience.scoring.presets import PRESET_TITLES, PRESETS, RANKED
from consilience.study.figure import Cell, Drawing, FigureCard, figure
from consilience.study.palette import NEUTRAL, colour_of, layout

if TYPE_CHECKING:
    from consilience.study import Study

CARD = FigureCard(
    name="discrimination",
    title="Does the score tell trained networks from random ones?",
    shows="Each point is a pair of networks of different families that read the same input: both trained, or one of "
    "them with random weights. Where the clouds overlap, agreement says nothing about training. The number is the "
    "share of all comparisons that the trained pair wins: 1 is perfect, 0.5 is blind.",
    scope="board",
    order=5,
)
TRAINED, MIXED = "both trained", "one untrained"


def _kinds(records: Iterable[Record], preset: str) -> dict[str, Mapping[tuple[str, str], float]]:
    """Pairs that the board's discrimination compares, by what a legend calls them."""
    pairs = compared_pairs(records, preset)
    return {TRAINED: pairs.trained, MIXED: pairs.untrained}


@figure(CARD)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw all compared pairs of every data set, one tab for each preparation."""
    table: list[dict[str, Cell]] = []
    plots: dict[str, go.Figure] = {}
    for preset in (RANKED, *(other for other in PRESETS if other != RANKED)):
        compared = {name: _kinds(study.records(name, own_twins=True).values(), preset) for name in study.datasets}
        compared = {name: kinds for name, kinds in compared.items() if all(kinds.values())}
        if not compared:
            continue
        values = {name: study.dataset(name).discrimination[preset].value for name in compared}
        plots[PRESET_TITLES[preset]] = _plot(compared, values)
        table += [
            {
                "dataset": name,
                "preparation": preset,
                "kind": kind,
                "first": first,
                "second": second,
                "cknna": value,
                "discrimination": values[name],
            }
            for name, kinds in compared.items()
            for kind, pairs in kinds.items()
            for (first, second), value in pairs.items()
        ]
    if not plots:
        return None
    return Drawing(
        plots,
        table,
        _sentence(study),
        note="CKNNA as measured, not calibrated: the same null applies to both kinds of pairs. A network and its own "
        "twin are among the mixed pairs. Data sets without an untrained network are left out.",
    )


def _sentence(study: Study) -> str:
    told = []
    for preset in (RANKED, *(other for other in PRESETS if other != RANKED)):
        values = [
            found
            for dataset in study.board.datasets
            if dataset.discrimination[preset].trained_pairs
            and (found := dataset.discrimination[preset].value) is not None
        ]
        if values:
            told.append(
                f"{min(values):.2f} to {max(values):.2f} {_words(preset)} (mean {sum(values) / len(values):.2f})"
            )
    return f"Probability that a trained pair outscores a mixed one, over {len(values)} data sets: {', '.join(told)}."


def _words(preset: str) -> str:
    return {"paper": "as the paper prepares", "standardized": "standardized"}.get(preset, "beyond composition")


def _plot(
    compared: Mapping[str, Mapping[str, Mapping[tuple[str, str], float]]], values: Mapping[str, float | None]
) -> go.Figure:
    plot = go.Figure()
    for kind, colour in ((TRAINED, colour_of("atoms")), (MIXED, colour_of("string"))):
        lines = [
            (name, value, f"{first}<br>{second}")
            for name, kinds in compared.items()
            for (first, second), value in kinds[kind].items()
        ]
        plot.add_box(
            x=[name for name, _, _ in lines],
            y=[value for _, value, _ in lines],
            text=[text for _, _, text in lines],
            name=kind,
            boxpoints="all",
            jitter=0.7,
            pointpos=0,
            fillcolor="rgba(128,128,128,0.12)",
            line={"color": colour, "width": 1},
            marker={"color": colour, "size": 5, "opacity": 0.75},
            hoveron="points",
            hovertemplate="%{text}<br>CKNNA %{y:.3f}<extra></extra>",
        )
    for name, value in values.items():
        if value is not None:
            plot.add_annotation(
                x=name, y=1.0, yref="paper", yanchor="top", text=f"<b>{value:.2f}</b>", showarrow=False,
                font={"color": NEUTRAL, "size": 14},
            )  # fmt: skip
    highest = max(value for kinds in compared.values() for pairs in kinds.values() for value in pairs.values())
    plot.update_layout(
        layout(
            "",
            "CKNNA",
            boxmode="group",
            yaxis={"range": [min(0.0, -0.02), highest * 1.14]},
            xaxis={"showgrid": False, "tickangle": -30, "categoryorder": "array", "categoryarray": list(compared)},
        )
    )
    return plot
