"""Whether larger and later models agree more."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from consilience.records.board import Row
from consilience.scoring.presets import RANKED
from consilience.study.figure import Cell, Drawing, FigureCard, figure
from consilience.study.palette import MODALITY_TITLES, OUTLINE, colour_of, layout
from consilience.study.statistics import p_in_words, rank_correlation

if TYPE_CHECKING:
    from consilience.cards import Card
    from consilience.study import Study

CARD = FigureCard(
    name="convergence",
    title="Do larger and later models agree more?",
    shows="Alignment with the references, beyond composition, against the number of parameters and against the year "
    "in the identifier of the model's paper. Convergence would be a rise from left to right.",
    order=100,
)
#: Models below which a trend is not told.
FEWEST = 5

#: Years as publishers write them into an identifier: when a paper was received or published, whichever they count.
_YEARS: tuple[tuple[str, Callable[[str], int]], ...] = (
    (r"arxiv[.:](\d{2})\d{2}\.\d{4,5}", lambda digits: 2000 + int(digits)),
    (r"10\.1038/s\d{5}-0(\d{2})-\d+", lambda digits: 2000 + int(digits)),  # Springer Nature
    (r"10\.1021/(?:acs\.[a-z]+|jacs)\.(\d)c\d{5}", lambda digit: 2020 + int(digit)),  # American Chemical Society
    (r"10\.1021/(?:acs\.[a-z]+|jacs)\.(\d)b\d{5}", lambda digit: 2010 + int(digit)),
    (r"10\.1039/d(\d)[a-z]{2}\d{5}[a-z]", lambda digit: 2020 + int(digit)),  # Royal Society of Chemistry
    (r"10\.1101/(\d{4})\.\d{2}\.\d{2}\.\d+", int),  # bioRxiv
    (r"10\.26434/chemrxiv-(\d{4})-", int),
)


def year_of(card: Card) -> int | None:
    """Year in the identifier of a model's paper; None where the identifier holds none."""
    for pattern, year in _YEARS:
        found = re.search(pattern, (card.reference or "").casefold())
        if found:
            return year(found[1])
    return None


def rows_aligned(study: Study, dataset: str) -> list[Row]:
    """Ranked trained models of a data set with their alignment beyond composition."""
    return [
        row
        for row in study.dataset(dataset).rows
        if row.state == "ok"
        and not row.control
        and row.alignment.get(RANKED)
        and row.alignment[RANKED].value is not None
    ]


@figure(CARD)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw alignment against parameters and against years, as far as cards state them."""
    rows = rows_aligned(study, dataset)
    records = study.records(dataset)
    years = {row.target: year_of(records[row.target].card) for row in rows if row.target in records}
    sizes = {row.target: row.parameters or None for row in rows}
    plots: dict[str, go.Figure] = {}
    told = []
    for label, title, known in (
        ("parameters", "number of parameters", sizes),
        ("year", "year in the identifier of the model's paper", years),
    ):
        shown = [row for row in rows if known.get(row.target) is not None]
        if len(shown) < 3:
            continue
        plots[label] = _plot(shown, {row.target: float(known[row.target] or 0) for row in shown}, label, title)
        told.append(_words(label, shown, {row.target: float(known[row.target] or 0) for row in shown}))
    if not plots:
        return None
    table: list[dict[str, Cell]] = [
        {
            "target": row.target,
            "family": row.family,
            "modality": row.modality,
            "parameters": sizes[row.target],
            "year": years.get(row.target),
            "alignment": row.alignment[RANKED].value,
            "low": row.alignment[RANKED].low,
            "high": row.alignment[RANKED].high,
        }
        for row in rows
    ]
    return Drawing(
        plots,
        table,
        " ".join(told),
        note="Training-set size is not drawn: cards name training data, not how many items they hold. The year is "
        "that of the paper (received or published, as its publisher counts), not of the weights. Models that read what "
        "the references read agree with them more, so compare within one colour.",
    )


def _words(label: str, rows: Sequence[Row], values: Mapping[str, float]) -> str:
    title = {"parameters": "Parameters", "year": "Years"}[label]
    text = _trend_words(rows, values, "models")
    counts = Counter(row.modality for row in rows)
    main, _ = counts.most_common(1)[0]
    own = [row for row in rows if row.modality == main]
    if len(counts) > 1 and len(own) >= FEWEST:
        text += f"; {_trend_words(own, values, f'models of {MODALITY_TITLES[main]}')}"
    return f"{title}: {text}."


def _trend_words(rows: Sequence[Row], values: Mapping[str, float], kind: str) -> str:
    found = rank_correlation(
        [values[row.target] for row in rows],
        [math.nan if (value := row.alignment[RANKED].value) is None else value for row in rows],
        [row.family for row in rows],
    )
    if found.models < FEWEST or math.isnan(found.value):
        return f"{found.models} {kind}, too few (or too much alike) for a trend"
    text = f"rank correlation with alignment {found.value:+.2f} over {found.models} {kind}"
    return f"{text} of {found.families} families ({p_in_words(found)})"


def _plot(rows: Sequence[Row], values: dict[str, float], label: str, title: str) -> go.Figure:
    plot = go.Figure()
    # Models of one year would hide each other: they stand side by side, within the room of the year.
    spread = dict.fromkeys(values, 0.0)
    for year in set(values.values()) if label == "year" else ():
        alike = sorted(row.target for row in rows if values[row.target] == year)
        step = min(0.04, 0.6 / len(alike))
        spread.update({name: step * (i - (len(alike) - 1) / 2) for i, name in enumerate(alike)})
    for modality in dict.fromkeys(row.modality for row in rows):
        own = [row for row in rows if row.modality == modality]
        ends = [(row.alignment[RANKED].low, row.alignment[RANKED].value, row.alignment[RANKED].high) for row in own]
        plot.add_scatter(
            x=[values[row.target] + spread[row.target] for row in own],
            y=[value for _, value, _ in ends],
            error_y={
                "type": "data",
                "array": [0.0 if high is None else high - (value or 0) for _, value, high in ends],
                "arrayminus": [0.0 if low is None else (value or 0) - low for low, value, _ in ends],
                "width": 0,
                "thickness": 1,
            },
            mode="markers",
            name=MODALITY_TITLES[modality],
            marker={"color": colour_of(modality), "size": 10, "line": OUTLINE},
            customdata=[
                [
                    row.title,
                    row.family,
                    f"{values[row.target]:,.0f}" if label != "year" else f"{values[row.target]:.0f}",
                ]
                for row in own
            ],
            hovertemplate=f"%{{customdata[0]}}<br>family %{{customdata[1]}}<br>{label} %{{customdata[2]}}"
            "<br>alignment %{y:.3f}<extra></extra>",
        )
    axis = {"type": "log", "dtick": 1} if label == "parameters" else {"dtick": 1, "tickformat": "d"}
    plot.update_layout(layout(title, "alignment beyond composition", xaxis=axis, yaxis={"rangemode": "tozero"}))
    return plot
