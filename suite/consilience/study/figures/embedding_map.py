"""Items of several data sets as one model places them."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from consilience.escaping import csv_cell
from consilience.metrics import prepare
from consilience.scoring.energy import composition_residual, folds
from consilience.study.figure import Cell, Drawing, FigureCard, figure
from consilience.study.palette import layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding
    from consilience.study import Study

CARD = FigureCard(
    name="embedding-map",
    title="Items as a model places them",
    shows="UMAP of the items of all data sets that one model embeds, in that model's space: near points are items it "
    "takes for alike. Click a point to see the structure. Distances between far islands, and their sizes, mean little.",
    scope="board",
    paper="Fig. 2A, 2D, C5",
    order=70,
)
#: Items of each data set at most.
MOST = 15_000
NEIGHBORS = 15
EPOCHS = 200
SEED = 0
#: Points beyond which a page has no room for a map by size beside the others.
ROOM = 20_000
#: Kinds of matter that one model can embed together.
TOGETHER = (("crystal", "molecule"), ("protein",))
#: Of one colour vision or another, eight that can be told apart (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B8A800", "#808080")


@dataclass(frozen=True)
class Map:
    """Items of several data sets in two dimensions.

    Attributes
    ----------
    target
        Whose space it is.
    datasets, ids, formulas
        Of each item.
    points
        (n, 2) places on the map.
    sizes
        (n,) atoms, or residues.
    errors
        (n,) composition-corrected error of the model's energy, eV per atom; NaN where there is none.
    neighbors
        (n, 15) places of the items next to each in the model's space itself.
    """

    target: str
    datasets: NDArray[np.str_]
    ids: list[str]
    formulas: list[str]
    points: NDArray[np.float32]
    sizes: NDArray[np.float64]
    errors: NDArray[np.float64]
    neighbors: NDArray[np.intp]


def energy_errors(embedding: Embedding, items: Items, *, seed: int) -> NDArray[np.float64]:
    """Composition-corrected error of a model's energy of each item, eV per atom, absolute; NaN where there is none.

    Their mean is a record's ``energy.mae_per_atom``: both fits are made on other items.
    """
    errors = np.full(len(items), np.nan)
    true = items.electronic_energy
    if true is None:
        return errors
    known = np.flatnonzero(np.isfinite(embedding.energies) & np.isfinite(true))
    if len(known) < 10:
        return errors
    counts = items.composition()[0][known]
    true, predicted = true[known], embedding.energies[known]
    for train, test in folds(len(known), seed):
        outside = composition_residual(true, counts, train, test) - composition_residual(predicted, counts, train, test)
        errors[known[test]] = np.abs(outside) / counts[test].sum(axis=1)
    return errors


def choose_target(study: Study, matters: Sequence[str]) -> tuple[str, list[str]] | None:
    """Reference with embeddings of most data sets of these kinds of matter at hand, and those data sets.

    Of several, one whose records state an energy error, then the largest.
    """
    tables = [table for table in study.board.datasets if table.card.matter in matters]
    best: tuple[tuple[int, int, int], str, list[str]] | None = None
    for name in sorted({name for table in tables for name in table.references}):
        scored = [table.name for table in tables if name in study.records(table.name)]
        rated = sum(study.records(one)[name].energy is not None for one in scored)
        size = max((study.records(one)[name].card.parameters or 0 for one in scored), default=0)
        # What can't win is not read: embeddings are large.
        if best is not None and (len(scored), rated, size) <= best[0]:
            continue
        found = [one for one in scored if study.embedding(one, name) is not None]
        if found and (best is None or (len(found), rated, size) > best[0]):
            best = ((len(found), rated, size), name, found)
    return None if best is None else best[1:]


def map_of(study: Study, target: str, datasets: Sequence[str]) -> Map:
    """Lay out the items of some data sets in a target's space."""
    features, energies, sizes, labels = [], [], [], []
    ids: list[str] = []
    formulas: list[str] = []
    for name in datasets:
        embedding, items = study.embedding(name, target), study.items(name)
        assert embedding is not None
        rows = np.flatnonzero(embedding.embedded)
        if len(rows) > MOST:
            rows = np.sort(np.random.default_rng(SEED).choice(rows, MOST, replace=False))
        counts, symbols = items.composition()
        features.append(embedding.features[rows])
        energies.append(energy_errors(embedding, items, seed=study.board.spec.settings.seed)[rows])
        sizes.append(counts[rows].sum(axis=1))
        labels += [name] * len(rows)
        ids += [items.ids[row] for row in rows]
        protein = items.card.matter == "protein"
        formulas += [f"{counts[row].sum():.0f} residues" if protein else _formula(counts[row], symbols) for row in rows]
    prepared = prepare(np.concatenate(features), scheme="standardized").astype(np.float32)
    points, neighbors = _umap(prepared)
    return Map(
        target, np.array(labels), ids, formulas, points, np.concatenate(sizes), np.concatenate(energies), neighbors
    )


def _umap(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Points and exact neighbours; looking these up here spares the compilation of an approximate search."""
    from sklearn.neighbors import NearestNeighbors
    from umap import UMAP

    count = min(NEIGHBORS, len(rows) - 1)
    # The first neighbour that UMAP wants is the item itself.
    distances, places = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(rows).kneighbors(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fixed seed takes one thread, and that no new item can be placed
        points = UMAP(
            n_neighbors=count + 1,
            n_epochs=EPOCHS,
            init="pca",
            random_state=SEED,
            n_jobs=1,
            precomputed_knn=(places, distances),
            force_approximation_algorithm=True,
        ).fit_transform(rows)
    return np.asarray(points, dtype=np.float32), np.asarray(places[:, 1:], dtype=np.intp)


def _formula(counts: NDArray[np.float64], symbols: Sequence[str]) -> str:
    """Formula in Hill's order."""
    present = {symbol: int(count) for symbol, count in zip(symbols, counts, strict=True) if count}
    first = ["C", "H"] if "C" in present else []
    order = [name for name in first if name in present] + sorted(set(present) - set(first))
    return "".join(f"{name}{present[name] if present[name] > 1 else ''}" for name in order)


@figure(CARD)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw one map for crystals and molecules, and one for proteins, of the references at hand."""
    plots: dict[str, go.Figure] = {}
    table: list[dict[str, Cell]] = []
    told = []
    downloads = {}
    for matters in TOGETHER:
        chosen = choose_target(study, matters)
        if chosen is None:
            continue
        target, names = chosen
        found = map_of(study, target, names)
        if len(names) > 1:
            plots[f"{target}: data sets"] = _by_dataset(found, names)
        if np.isfinite(found.errors).any():
            plots[f"{target}: energy error"] = _by_value(found, names, found.errors, "error, eV/atom", small=True)
        if len(found.ids) <= ROOM:
            title = "residues" if "protein" in matters else "atoms"
            plots[f"{target}: size"] = _by_value(found, names, found.sizes, title)
        lines = _summary(found, names)
        table += lines
        told.append(_sentence(target, lines))
        downloads[f"{target}.csv"] = _csv(found)
    if not plots:
        return None
    return Drawing(
        plots,
        table,
        " ".join(told),
        downloads,
        note=f"Columns standardized over all items, rows scaled to length 1; UMAP with {NEIGHBORS} neighbours, "
        f"{EPOCHS} epochs, seed {SEED}; at most {MOST:,} items of a data set. The energy error is that of the records: "
        "linear fits of composition, made on other items, are taken from both energies. Shares of neighbours are "
        "counted in the model's space, not on the map.",
    )


def _summary(found: Map, names: Sequence[str]) -> list[dict[str, Cell]]:
    lines: list[dict[str, Cell]] = []
    for name in names:
        own = found.datasets == name
        errors = found.errors[own & np.isfinite(found.errors)]
        lines.append(
            {
                "target": found.target,
                "dataset": name,
                "items": int(own.sum()),
                "own_neighbors": float((found.datasets[found.neighbors[own]] == name).mean()),
                "items_share": float(own.mean()),
                "median_size": float(np.median(found.sizes[own])),
                "items_with_energy": len(errors),
                "error_mean_ev_per_atom": float(errors.mean()) if len(errors) else None,
                "error_median_ev_per_atom": float(np.median(errors)) if len(errors) else None,
            }
        )
    return lines


def _sentence(target: str, lines: Sequence[dict[str, Cell]]) -> str:
    text = f"{target} places {sum(int(line['items'] or 0) for line in lines):,} items of "
    text += f"{len(lines)} data sets" if len(lines) > 1 else str(lines[0]["dataset"])
    if len(lines) > 1:
        low, high = (end(lines, key=lambda line: float(line["own_neighbors"] or 0)) for end in (min, max))
        text += (
            f": of an item's {NEIGHBORS} nearest neighbours {low['own_neighbors']:.0%} ({low['dataset']}) to "
            f"{high['own_neighbors']:.0%} ({high['dataset']}) are of its own data set"
        )
    rated = [line for line in lines if line["error_mean_ev_per_atom"] is not None]
    if rated:
        low, high = (end(rated, key=lambda line: float(line["error_mean_ev_per_atom"] or 0)) for end in (min, max))
        text += (
            f"; its mean energy error is {low['error_mean_ev_per_atom']:.3f} ({low['dataset']}) to "
            f"{high['error_mean_ev_per_atom']:.3f} eV/atom ({high['dataset']})"
        )
    return text + "."


def _csv(found: Map) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "id", "formula", "x", "y", "size", "error_ev_per_atom"])
    for i, one in enumerate(found.ids):
        error = f"{found.errors[i]:.6g}" if np.isfinite(found.errors[i]) else ""
        x, y = found.points[i]
        writer.writerow(
            [
                csv_cell(found.datasets[i]),
                csv_cell(one),
                csv_cell(found.formulas[i]),
                f"{x:.4f}",
                f"{y:.4f}",
                f"{found.sizes[i]:.0f}",
                error,
            ]
        )
    return text.getvalue()


def _trace(found: Map, chosen: NDArray[np.bool_], **more: object) -> go.Scattergl:
    rows = np.flatnonzero(chosen)
    return go.Scattergl(
        x=found.points[rows, 0].round(3),
        y=found.points[rows, 1].round(3),
        mode="markers",
        customdata=[[str(found.datasets[i]), found.ids[i], found.formulas[i]] for i in rows],
        **more,
    )


def _size(count: int) -> float:
    """Diameter of a point, so that few can be hit and many do not hide each other."""
    return 5.0 if count < 10_000 else 3.0


_HOVER = "%{customdata[2]}<br>%{customdata[0]} %{customdata[1]}"


def _by_dataset(found: Map, names: Sequence[str]) -> go.Figure:
    plot = go.Figure()
    for place, name in enumerate(names):
        plot.add_trace(
            _trace(
                found,
                found.datasets == name,
                name=name,
                marker={"color": COLOURS[place % len(COLOURS)], "size": _size(len(found.ids)), "opacity": 0.6},
                hovertemplate=f"{_HOVER}<extra></extra>",
            )
        )
    return _finished(plot, legend={"itemsizing": "constant"})


def _by_value(
    found: Map, names: Sequence[str], values: NDArray[np.float64], title: str, *, small: bool = False
) -> go.Figure:
    """Colour by a value, in steps of tenfold; of errors the least that is told apart is 1 meV per atom."""
    known = np.isfinite(values)
    shown = np.log10(np.maximum(values, 1e-3 if small else 1))
    low, high = np.nanquantile(shown[known], [0.01, 0.99])
    ticks = [t for t in (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if low <= np.log10(t) <= high]
    plot = go.Figure()
    if not known.all():
        plot.add_trace(
            _trace(
                found,
                ~known,
                name="no energy to compare with",
                showlegend=True,
                marker={"color": "rgba(128,128,128,0.18)", "size": _size(len(found.ids))},
                hovertemplate=f"{_HOVER}<extra></extra>",
            )
        )
    marker = {
        "color": shown[known].round(3).astype(np.float32),
        "cmin": float(low),
        "cmax": float(high),
        "colorscale": "Viridis",  # no grey, which is for items without an energy
        "size": _size(len(found.ids)),
        "opacity": 0.75,
        "colorbar": {
            "title": {"text": title, "side": "right"},
            "tickvals": [float(np.log10(t)) for t in ticks],
            "ticktext": [f"{t:g}" for t in ticks],
            "thickness": 12,
            "outlinewidth": 0,
        },
    }
    plot.add_trace(
        _trace(
            found,
            known,
            name=title,
            showlegend=False,
            text=[f"{value:.3g}" for value in values[known]],
            marker=marker,
            hovertemplate=f"{_HOVER}<br>{title}: %{{text}}<extra></extra>",
        )
    )
    return _finished(plot, showlegend=not known.all(), legend={"itemsizing": "constant"})


def _finished(plot: go.Figure, **more: object) -> go.Figure:
    hidden = {"showgrid": False, "showline": False, "ticks": "", "showticklabels": False}
    plot.update_layout(
        layout(
            "",
            "",
            height=640,
            margin={"l": 10, "r": 10, "b": 10},
            xaxis=hidden,
            yaxis={**hidden, "scaleanchor": "x"},
            **more,
        )
    )
    return plot
