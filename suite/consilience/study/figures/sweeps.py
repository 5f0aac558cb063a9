"""How much the score depends on its two free numbers, the neighbours k and the items n."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from consilience.cards import UNTRAINED, is_twin
from consilience.metrics import (
    DegenerateInputWarning,
    alignment_matrices,
    calibration_matrices,
    get_metric,
    k_sweep,
    list_metrics,
    n_sweep,
    parts_of,
)
from consilience.scoring.presets import RANKED, prepare_in
from consilience.scoring.protocol import Protocol
from consilience.study.figure import Cell, Drawing, FigureCard, figure
from consilience.study.palette import NEUTRAL, colour_of, layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.records.spec import SpecSettings
    from consilience.study import Study

CARD = FigureCard(
    name="sweeps",
    title="Does the choice of k, or of the number of items, matter?",
    shows="Calibrated CKNNA of pairs of references, beyond composition, for several numbers of neighbours k and of "
    "items n. What has to stay is the order of the lines; the dashed line is a reference and its own untrained twin.",
    paper="Fig. A1",
    order=60,
)
KS = (5, 10, 25, 75, 200)
SHARES = (0.125, 0.25, 0.5)
DRAWS = 4
#: Relabellings behind each threshold: of 19 the 95 % quantile is the largest.
PERMUTATIONS = 19
#: Metrics of the suite that are not swept: the paper sweeps CKNNA, and these would take minutes more.
NOT_SWEPT = frozenset(
    {"cka", "distance_correlation", "information_imbalance", "intrinsic_dimension_correlation", "mutual_knn"}
)
#: References beyond the first few would only make the figure slower and harder to read.
MOST = 5

Sweep = tuple[list[int], "NDArray[np.float64]", "NDArray[np.float64]"]


@dataclass(frozen=True)
class References:
    """References of a data set, and the untrained twin of one, prepared as the board ranks, on the items all embed.

    Attributes
    ----------
    prepared
        By name, (n, d) each.
    strata
        Groups within which relabellings shuffle; None for all items.
    """

    prepared: dict[str, NDArray[np.float64]]
    strata: NDArray[Any] | None


def references(study: Study, dataset: str) -> References | None:
    """Prepare the references whose embeddings are at hand; None for fewer than two."""
    names = list(study.dataset(dataset).references[:MOST])
    found = {name: one for name in names if (one := study.embedding(dataset, name)) is not None}
    for name in found:
        twin = study.embedding(dataset, name + UNTRAINED) if name + UNTRAINED in study.records(dataset) else None
        if twin is not None:
            found[name + UNTRAINED] = twin
            break
    if len(found) < 2:
        return None
    common = np.all([one.embedded for one in found.values()], axis=0)
    items = study.items(dataset)
    shared = items if common.all() else items.select(common)
    column = study.board.spec.dataset(dataset).strata
    preset = Protocol.of(study.board.spec).preset(RANKED)
    return References(
        {name: prepare_in(preset, one.features[common], shared) for name, one in found.items()},
        None if column is None else shared.strata(column),
    )


def swept_metrics() -> list[str]:
    """Return the metrics that the figure sweeps: CKNNA, then every pair metric that is not one of the suite's."""
    names = [name for name, entry in list_metrics().items() if entry.card.inputs == "pair"]
    return ["cknna", *(name for name in names if name not in {"cknna", *NOT_SWEPT})]


def sweep_k(given: References, *, seed: int, alpha: float, metric: str = "cknna") -> Sweep:
    """Score all pairs for several k: the ks, the metric and its threshold, each (ks, M, M)."""
    prepared, count = given.prepared, len(next(iter(given.prepared.values())))
    ks = [k for k in KS if k <= count // 4]
    values = k_sweep(prepared, metric=metric, ks=ks).values
    return ks, values, np.stack([_threshold(prepared, given.strata, k, seed, alpha, metric) for k in ks])


def sweep_n(given: References, *, k: int, seed: int, alpha: float, metric: str = "cknna") -> Sweep:
    """Score all pairs for several n, means of a few draws: the sizes, the metric and threshold, each (sizes, M, M)."""
    prepared, count = given.prepared, len(next(iter(given.prepared.values())))
    sizes = [size for share in SHARES if (size := round(share * count)) >= 4 * k]
    parts, has_neighbors = [], parts_of(metric).neighbors is not None
    if sizes:
        own_k = k if has_neighbors else None
        parts = list(n_sweep(prepared, metric=metric, sizes=sizes, k=own_k, draws=DRAWS, seed=seed).mean)
    if has_neighbors:
        whole = k_sweep(prepared, metric=metric, ks=[k]).values[0]
    else:
        whole = alignment_matrices(prepared, metrics=[metric])[metric]
    order = np.random.default_rng(seed).permutation(count)
    thresholds = []
    for size in (*sizes, count):
        chosen = np.sort(order[:size])
        part = {name: one[chosen] for name, one in prepared.items()}
        strata = None if given.strata is None else given.strata[chosen]
        thresholds.append(_threshold(part, strata, k, seed, alpha, metric))
    return [*sizes, count], np.stack([*parts, whole]), np.stack(thresholds)


def _threshold(
    prepared: Mapping[str, NDArray[np.float64]],
    strata: NDArray[Any] | None,
    k: int,
    seed: int,
    alpha: float,
    metric: str,
) -> NDArray[np.float64]:
    options: dict[str, Any] = {"permutations": PERMUTATIONS, "seed": seed, "alpha": alpha, "strata": strata}
    results = calibration_matrices(prepared, metrics=[metric], k=k, neighbors={metric: k}, **options)
    return results[metric].null_quantile


def calibrated(metric: str, values: NDArray[np.float64], thresholds: NDArray[np.float64], n: Any, k: Any) -> Any:
    """Return scores with the threshold at 0 and identical embeddings at 1, as the board calibrates them."""
    best = parts_of(metric).best(n, k)
    return np.maximum(0, (values - thresholds) / (best - thresholds))


@figure(CARD)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw both sweeps over the references at hand."""
    settings = study.board.spec.settings_of(dataset)
    given = references(study, dataset)
    names = list(given.prepared) if given else []
    if given is None or len(given.prepared[names[0]]) < 4 * settings.k:
        return None
    pairs = [(a, b) for a, b in combinations(names, 2) if not is_twin(b) or b == a + UNTRAINED]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateInputWarning)
        swept = {"k": sweep_k(given, seed=settings.seed, alpha=settings.alpha)}
        if given.strata is None:
            swept["n"] = sweep_n(given, k=settings.k, seed=settings.seed, alpha=settings.alpha)
    table: list[dict[str, Cell]] = []
    curves: dict[str, dict[tuple[str, str], list[float]]] = {"k": {}, "n": {}}
    items = len(given.prepared[names[0]])
    for label, (numbers, values, thresholds) in swept.items():
        for first, second in pairs:
            i, j = names.index(first), names.index(second)
            scores = calibrated("cknna", values[:, i, j], thresholds[:, i, j], items, settings.k)
            curves[label][first, second] = [float(value) for value in scores]
            table += [
                {
                    "sweep": label,
                    "first": first,
                    "second": second,
                    "k": number if label == "k" else settings.k,
                    "n": number if label == "n" else items,
                    "cknna": float(values[place, i, j]),
                    "threshold": float(thresholds[place, i, j]),
                    "calibrated": float(scores[place]),
                }
                for place, number in enumerate(numbers)
            ]
    plots = {"k": _plot(swept["k"][0], curves["k"], "neighbours k", settings.k)}
    note = (
        f"The board uses k = {settings.k} and all items (dotted line). Thresholds are of {PERMUTATIONS} relabellings, "
        f"{settings.permutations} on the board, so values differ from its own in the third decimal. "
    )
    if given.strata is None:
        plots["n"] = _plot(swept["n"][0], curves["n"], "items n", items)
        note += f"Smaller n are means of {DRAWS} draws; at fixed k, fewer items make a neighbourhood wider."
    else:
        note += "Here relabellings shuffle within groups of items; fewer items would break them up, so n is not swept."
    for metric in swept_metrics()[1:]:
        plots |= _plots_of(metric, given, pairs, settings)
    return Drawing(plots, table, f"{_words('k', swept['k'][0], curves['k'])}.{_sizes_words(swept, curves)}", note=note)


def _plots_of(
    metric: str, given: References, pairs: Sequence[tuple[str, str]], settings: SpecSettings
) -> dict[str, go.Figure]:
    """Draw the sweeps of a metric that is not one of the suite's, by tab; no k where it has no neighbours."""
    names, items = list(given.prepared), len(next(iter(given.prepared.values())))
    title = get_metric(metric).card.title
    options: dict[str, Any] = {"seed": settings.seed, "alpha": settings.alpha, "metric": metric}
    swept: dict[str, tuple[Sweep, str, int]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateInputWarning)
        if parts_of(metric).neighbors is not None:
            swept["k"] = sweep_k(given, **options), "neighbours k", settings.k
        if given.strata is None:
            swept["n"] = sweep_n(given, k=settings.k, **options), "items n", items
    plots = {}
    for label, ((numbers, values, thresholds), axis, own) in swept.items():
        k, n = (np.array(numbers), items) if label == "k" else (settings.k, np.array(numbers))
        curves = {
            (a, b): calibrated(metric, values[:, i, j], thresholds[:, i, j], n, k).tolist()
            for a, b in pairs
            for i, j in [(names.index(a), names.index(b))]
        }
        plots[f"{label}, {title}"] = _plot(numbers, curves, axis, own, f"calibrated {title}")
    return plots


def _sizes_words(swept: Mapping[str, Sweep], curves: Mapping[str, Mapping[tuple[str, str], list[float]]]) -> str:
    return f" {_words('n', swept['n'][0], curves['n'])}." if "n" in swept else ""


def _words(label: str, numbers: Sequence[int], curves: Mapping[tuple[str, str], list[float]]) -> str:
    from scipy.stats import spearmanr

    trained = [pair for pair in curves if not is_twin(pair[1])]
    low, high = (float(np.mean([curves[pair][place] for pair in trained])) for place in (0, -1))
    text = (
        f"From {label} = {numbers[0]:,} to {numbers[-1]:,} the mean over {len(trained)} "
        f"{'pairs' if len(trained) > 1 else 'pair'} of references goes from {low:.2f} to {high:.2f}"
    )
    if len(trained) > 2:
        ends = [[curves[pair][place] for pair in trained] for place in (0, -1)]
        text += f" (order of the pairs at both ends: rank correlation {spearmanr(*ends).statistic:+.2f})"
    twins = [pair for pair in curves if is_twin(pair[1])]
    if twins:
        below = sum(min(curves[p][i] for p in trained) > curves[twins[0]][i] for i in range(len(numbers)))
        text += (
            f"; {twins[0][0]} and its untrained twin agree less than any of them at {below} of {len(numbers)} {label}"
        )
    return text


def _plot(
    numbers: Sequence[int],
    curves: Mapping[tuple[str, str], Sequence[float]],
    title: str,
    own: int,
    scale: str = "calibrated CKNNA",
) -> go.Figure:
    plot = go.Figure()
    order = sorted(curves, key=lambda pair: -curves[pair][-1])
    for place, (first, second) in enumerate(order):
        twin = is_twin(second)
        shade = place / max(1, len(order) - 1)
        plot.add_scatter(
            x=list(numbers),
            y=list(curves[first, second]),
            mode="lines+markers",
            name=f"{first} – untrained" if twin else f"{first} – {second}",
            line={
                "color": colour_of("string") if twin else colour_of("atoms"),
                "dash": "dash" if twin else "solid",
                "width": 2,
            },
            opacity=1.0 if twin else 1.0 - 0.55 * shade,
            marker={"size": 6},
            showlegend=False,
            hovertemplate=f"{first}<br>{second}<br>%{{x:,}}: %{{y:.3f}}<extra></extra>",
        )
    for kind, dash, colour in (
        ("two references", "solid", "atoms"),
        ("reference and its untrained twin", "dash", "string"),
    ):
        if kind == "two references" or any(is_twin(second) for _, second in order):
            plot.add_scatter(
                x=[None], y=[None], mode="lines", name=kind, line={"color": colour_of(colour), "dash": dash, "width": 2}
            )
    plot.add_vline(x=own, line={"color": NEUTRAL, "dash": "dot", "width": 1})
    ticks = {"type": "log", "tickvals": list(numbers), "ticktext": [f"{number:,}" for number in numbers]}
    plot.update_layout(layout(title, scale, xaxis=ticks, yaxis={"rangemode": "tozero"}))
    return plot
