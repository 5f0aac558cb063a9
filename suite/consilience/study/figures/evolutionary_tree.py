"""Tree of models by how they agree with all others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from consilience.scoring.presets import PRESET_TITLES, RANKED
from consilience.study.figure import Cell, Drawing, FigureCard, figure
from consilience.study.palette import FONT, MODALITY_TITLES, NEUTRAL, OUTLINE, colour_of
from consilience.study.palette import layout as figure_layout
from consilience.study.trees import layout, neighbor_joining, newick, profile_distances
from consilience.study.variance import complete, trained_names, training_label

if TYPE_CHECKING:
    from consilience.records.record import Record
    from consilience.study import Study

CARD = FigureCard(
    name="evolutionary-tree",
    title="Tree of models",
    shows="Models that agree with the same others stand on near branches: neighbour joining on Jensen-Shannon "
    "distances between the models' profiles of CKNNA. The way between two models along the horizontal lines is how "
    "differently they agree; the vertical lines mean nothing.",
    paper="Fig. 1F",
    order=80,
)
PREPARATIONS: tuple[str, ...] = (RANKED, "paper")


@dataclass(frozen=True)
class Kinship:
    """How often a model's nearest leaf is of its own kind.

    Attributes
    ----------
    near
        Models whose nearest other leaf has their label.
    of
        Models that could have such a leaf: others share their label.
    chance
        Share expected if labels were dealt to the leaves at random.
    """

    near: int
    of: int
    chance: float


def kinship(nearest: dict[str, str], labels: dict[str, str]) -> Kinship | None:
    """Count the models whose nearest leaf shares their label; None where no label, or every one, is shared."""
    sizes = Counter(labels[name] for name in nearest)
    able = [name for name in nearest if sizes[labels[name]] > 1]
    if not able or len(sizes) == 1:
        return None
    near = sum(labels[nearest[name]] == labels[name] for name in able)
    chance = float(np.mean([(sizes[labels[name]] - 1) / (len(nearest) - 1) for name in able]))
    return Kinship(near, len(able), chance)


def tree_of(study: Study, dataset: str, preset: str) -> tuple[Any, dict[str, str]] | None:
    """Tree of the trained models of a data set, and the nearest leaf of each.

    Returns
    -------
    tree, nearest or None
        None where fewer than three models have all their pairs scored.
    """
    names, matrix = study.matrix(dataset, "cknna", preset=preset, targets=trained_names(study.records(dataset)))
    names, matrix = complete(names, matrix)
    if len(names) < 3:
        return None
    np.fill_diagonal(matrix, 1.0)  # of any model with itself
    tree = neighbor_joining(names, profile_distances(matrix))
    between = tree.cophenet()
    apart = between.filter(names).data.copy()
    np.fill_diagonal(apart, np.inf)
    return tree, {name: names[int(place)] for name, place in zip(names, apart.argmin(axis=1), strict=True)}


@figure(CARD)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw the tree of a data set's trained models, beyond composition and as the paper prepares embeddings."""
    records = study.records(dataset)
    plots: dict[str, go.Figure] = {}
    table: list[dict[str, Cell]] = []
    downloads: dict[str, str] = {}
    sentence = ""
    for preset in PREPARATIONS:
        found = tree_of(study, dataset, preset)
        if found is None:
            continue
        tree, nearest = found
        plots[PRESET_TITLES[preset]] = _plot(tree, records)
        downloads["tree.nwk" if preset == RANKED else f"tree-{preset}.nwk"] = newick(tree)
        apart = tree.cophenet()
        for name in nearest:
            table.append(
                {
                    "preparation": preset,
                    "target": name,
                    "family": records[name].card.family,
                    "modality": records[name].card.modality,
                    "trained_on": training_label(records[name].card),
                    "nearest": nearest[name],
                    "tree_distance": float(apart[name, nearest[name]]),
                    "cknna": _cknna(study, dataset, preset, name, nearest[name]),
                }
            )
        sentence = sentence or _sentence(nearest, records, preset)
    if not plots:
        return None
    return Drawing(
        plots,
        table,
        sentence,
        downloads,
        note="Trained models only, those whose pairs were all scored. The root is the midpoint, for drawing; "
        "neighbour joining itself knows none, and branches that come out negative are drawn with length 0.",
    )


def _cknna(study: Study, dataset: str, preset: str, first: str, second: str) -> float:
    return float(study.matrix(dataset, "cknna", preset=preset, targets=[first, second])[1][0, 1])


def _sentence(nearest: dict[str, str], records: dict[str, Record], preset: str) -> str:
    parts = []
    for word, labels in (
        ("family", {name: records[name].card.family for name in nearest}),
        ("modality", {name: str(records[name].card.modality) for name in nearest}),
    ):
        found = kinship(nearest, labels)
        if found is not None:
            parts.append(
                f"of {found.of} models that are not alone in their {word}, {found.near} stand nearest to one of their "
                f"own ({found.chance:.0%} of them would if names were shuffled)"
            )
    told = "; ".join(parts) or f"{len(nearest)} models of as many families"
    return f"{PRESET_TITLES[preset].capitalize()}: {told}."


def _plot(tree: Any, records: dict[str, Record]) -> go.Figure:
    placed = layout(tree)
    plot = go.Figure()
    plot.add_scatter(
        x=placed.x, y=placed.y, mode="lines", line={"color": NEUTRAL, "width": 1.2}, hoverinfo="skip", showlegend=False
    )
    for modality in dict.fromkeys(records[name].card.modality for name in placed.leaves):
        names = [name for name in placed.leaves if records[name].card.modality == modality]
        cards = [records[name].card for name in names]
        plot.add_scatter(
            x=[placed.leaves[name][0] for name in names],
            y=[placed.leaves[name][1] for name in names],
            mode="markers+text",
            name=MODALITY_TITLES[modality],
            text=[f" {name}" for name in names],
            textposition="middle right",
            textfont={"family": FONT, "size": 12},
            cliponaxis=False,
            marker={"color": colour_of(modality), "size": 9, "line": OUTLINE},
            customdata=[[card.name, card.family, training_label(card)] for card in cards],
            hovertemplate="%{customdata[0]}<br>family %{customdata[1]}<br>trained on %{customdata[2]}<extra></extra>",
        )
    far = max(x for x, _ in placed.leaves.values()) or 1.0
    # Names stand to the right of their leaves: room for the longest, at about 7 pixels a letter of 700.
    room = 7 * max(len(name) for name in placed.leaves) / 600
    hidden = {"showgrid": False, "showline": False, "ticks": "", "showticklabels": False}
    plot.update_layout(
        figure_layout(
            "way from the root (Jensen-Shannon distance)",
            "",
            height=max(260, 110 + 20 * len(placed.leaves)),
            margin={"l": 20, "r": 20},
            xaxis={"range": [-0.02 * far, far * (1.03 + room)], "showgrid": False},
            yaxis={**hidden, "range": [len(placed.leaves) - 0.5, -0.5]},
        )
    )
    return plot
