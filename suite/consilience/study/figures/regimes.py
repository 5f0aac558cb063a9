"""The paper's two regimes, in and out of distribution, as numbers; and what the collapse could be instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from consilience.records.pairs import PairFigures
from consilience.records.record import Record
from consilience.scoring.presets import PRESET_TITLES, PRESETS, RANKED
from consilience.study.figure import Cell, Drawing, FigureCard, figure
from consilience.study.palette import FAINT, MODALITY_TITLES, NEUTRAL, colour_of, layout
from consilience.study.study import kind_of
from consilience.study.variance import (
    Explained,
    MatrixCorrelation,
    complete,
    main_modality,
    mantel,
    permanova,
    same,
    shared_training,
    trained_names,
    training_label,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.study import Study

CARD = FigureCard(
    name="regimes",
    title="Two regimes, in numbers",
    shows="Mean agreement of pairs on each data set: of trained models of different families, in and out of "
    "distribution, beside controls that know no more than size, composition or a random network. Information that "
    "collapses out of distribution would lift the trained pairs' dCor, and lower their imbalance, above the controls.",
    scope="board",
    paper="Fig. 2B, 2C",
    order=90,
)
#: Metrics by their titles; the first is calibrated.
METRICS = {
    "calibrated": "calibrated CKNNA",
    "distance_correlation": "dCor",
    "information_imbalance": "information imbalance",
}
#: Baselines that state composition, whatever the items are made of.
COMPOSITION = ("composition", "amino-acids")
IN, OUT = "trained pairs, in distribution", "trained pairs, out of distribution"
MIXED, WITH_COMPOSITION, WITH_SIZE = "trained with untrained", "trained with composition", "trained with size"
UNTRAINED = "untrained pairs"
GROUPS: dict[str, tuple[str, str]] = {
    IN: ("atoms", "circle"),
    OUT: ("atoms", "circle-open"),
    MIXED: ("string", "x"),
    UNTRAINED: ("string", "x-open"),
    WITH_COMPOSITION: ("graph", "square"),
    WITH_SIZE: ("graph", "diamond-open"),
}


@dataclass(frozen=True)
class Measured:
    """One pair of targets of different families on one data set, in one preparation.

    Attributes
    ----------
    dataset
        Data set.
    pair
        Both targets.
    group
        Which of `GROUPS`; None for a trained pair in distribution for one of both alone.
    values
        By metric; the mean of both directions of a directed one.
    """

    dataset: str
    pair: frozenset[str]
    group: str | None
    values: dict[str, float]


def measured(study: Study, preset: str) -> Iterator[Measured]:
    """Pairs of targets of different families that read the same input (or are baselines), on every data set."""
    for dataset in study.datasets:
        records = study.records(dataset)
        for pair in study.pairs(dataset):
            first, second, scores = records.get(pair.first), records.get(pair.second), pair.scores.get(preset)
            if first is None or second is None or scores is None or first.card.family == second.card.family:
                continue
            known, group = _group(first, second)
            if known:
                values = {name: found for name in METRICS if (found := _value(scores, name)) is not None}
                yield Measured(dataset, frozenset((pair.first, pair.second)), group, values)


def _group(first: Record, second: Record) -> tuple[bool, str | None]:
    """Whether a pair is compared at all, and in which group."""
    kinds = {kind_of(first), kind_of(second)}
    if "baseline" not in kinds and first.card.modality != second.card.modality:
        return False, None  # a string model and a potential disagree for other reasons
    if kinds == {"trained"}:
        places = {first.distribution, second.distribution}
        return True, IN if places == {"in"} else OUT if places == {"out"} else None
    if kinds == {"untrained"}:
        return True, UNTRAINED
    if kinds == {"trained", "untrained"}:
        return True, MIXED
    if "trained" in kinds:
        families = {first.card.family, second.card.family}
        if families & set(COMPOSITION):
            return True, WITH_COMPOSITION
        if "size" in families:
            return True, WITH_SIZE
    return False, None


def _value(scores: PairFigures, name: str) -> float | None:
    if name == "calibrated":
        return scores.calibrated
    if name in scores.metrics:
        return scores.metrics[name]
    both = [scores.metrics.get(f"{name}_to"), scores.metrics.get(f"{name}_from")]
    known = [value for value in both if value is not None]
    return float(np.mean(known)) if len(known) == 2 else None


@dataclass(frozen=True)
class Shift:
    """How a metric differs on a data set out of distribution, over pairs that are scored in distribution elsewhere.

    Attributes
    ----------
    dataset
        Data set out of distribution for both models of all pairs.
    inside
        Data sets in distribution for both, over which a pair's values are averaged.
    metric
        Metric.
    pairs
        Pairs of trained models of different families that read the same input.
    mean_in, mean_out
        Means over these pairs.
    risen
        Pairs whose value is higher out of distribution.
    """

    dataset: str
    inside: tuple[str, ...]
    metric: str
    pairs: int
    mean_in: float
    mean_out: float
    risen: int

    @property
    def shift(self) -> float:
        """Mean out of distribution less mean in distribution."""
        return self.mean_out - self.mean_in


def shifts(study: Study, preset: str) -> list[Shift]:
    """Shift of each metric to each data set that is out of distribution, for the same pairs of models."""
    inside: dict[tuple[frozenset[str], str], dict[str, float]] = {}
    outside: dict[tuple[str, str], dict[frozenset[str], float]] = {}
    for one in measured(study, preset):
        if study.board.spec.dataset(one.dataset).strata is not None:
            continue  # relabelled within groups, the null is another, and calibrated values can't be compared
        for metric, value in one.values.items():
            if one.group == IN:
                inside.setdefault((one.pair, metric), {})[one.dataset] = value
            elif one.group == OUT:
                outside.setdefault((one.dataset, metric), {})[one.pair] = value
    found = []
    for (dataset, metric), values in outside.items():
        both = [
            (float(np.mean(list(own.values()))), v, own) for p, v in values.items() if (own := inside.get((p, metric)))
        ]
        if both:
            found.append(
                Shift(
                    dataset,
                    tuple(name for name in study.datasets if any(name in own for _, _, own in both)),
                    metric,
                    len(both),
                    float(np.mean([before for before, _, _ in both])),
                    float(np.mean([after for _, after, _ in both])),
                    sum(after > before for before, after, _ in both),
                )
            )
    return found


@dataclass(frozen=True)
class Decided:
    """What decides who agrees with whom on a data set, among trained models of one modality.

    Attributes
    ----------
    dataset, modality
        Where, and of what models.
    distribution
        ``in`` or ``out`` where it is that for most of these models, else ``mixed``.
    models
        How many.
    training, architecture
        Share of variance explained by training data, and by family; None where it can't be said.
    training_matrix, architecture_matrix
        Correlation of the agreement with having a training data set in common, and the family.
    """

    dataset: str
    modality: str
    distribution: str
    models: int
    training: Explained | None
    architecture: Explained | None
    training_matrix: MatrixCorrelation | None
    architecture_matrix: MatrixCorrelation | None


def decided(study: Study, preset: str = RANKED) -> list[Decided]:
    """Set the agreement of the models of the most common modality against training data and architecture."""
    found = []
    for dataset in study.datasets:
        records = study.records(dataset)
        modality = main_modality(records)
        if modality is None:
            continue
        names, matrix = study.matrix(dataset, "calibrated", preset=preset, targets=trained_names(records, modality))
        names, matrix = complete(names, matrix)
        cards = [records[name].card for name in names]
        places = [records[name].distribution for name in names]
        major = next((one for one in ("in", "out") if places and places.count(one) > 0.5 * len(places)), "mixed")
        families = [card.family for card in cards]
        found.append(
            Decided(
                dataset,
                modality,
                major,
                len(names),
                permanova(1 - matrix, [training_label(card) for card in cards]),
                permanova(1 - matrix, families),
                mantel(matrix, shared_training(cards), method="pearson") if names else None,
                mantel(matrix, same(families), method="pearson") if names else None,
            )
        )
    return found


def consistency(study: Study, preset: str = RANKED) -> dict[tuple[str, str], MatrixCorrelation]:
    """Whether who agrees with whom is the same on two data sets: Mantel over the trained models of both."""
    found = {}
    for first, second in combinations(study.datasets, 2):
        there = study.records(second)
        shared = [name for name in trained_names(study.records(first)) if name in there and there[name].trained]
        if len(shared) < 3:
            continue
        matrices = [study.matrix(one, "calibrated", preset=preset, targets=shared)[1] for one in (first, second)]
        kept, _ = complete(shared, matrices[0] + matrices[1])
        places = [shared.index(name) for name in kept]
        correlation = mantel(*(matrix[np.ix_(places, places)] for matrix in matrices))
        if correlation is not None:
            found[first, second] = correlation
    return found


@figure(CARD)
def draw(study: Study, dataset: str) -> Drawing | None:
    """Draw the groups' means by data set, the shares of variance, and the consistency between data sets."""
    pairs = {preset: list(measured(study, preset)) for preset in PRESETS}
    if not any(one.group in (IN, OUT) for one in pairs[RANKED]):
        return None
    moved = {preset: shifts(study, preset) for preset in PRESETS}
    explained = decided(study)
    alike = consistency(study)
    plots = {title: _groups_plot(study, pairs, metric) for metric, title in METRICS.items()}
    if any(one.training or one.architecture for one in explained):
        plots["training or architecture"] = _explained_plot(explained)
    if alike:
        plots["same order elsewhere"] = _consistency_plot(study, alike)
    return Drawing(
        plots,
        [*_group_lines(pairs), *_shift_lines(moved), *_explained_lines(explained), *_consistency_lines(alike)],
        _sentence(moved["paper"], explained),
        note="Pairs of different families that read the same input; whiskers from the lowest to the highest pair. "
        "Information imbalance is the mean of both directions: 0 for the same neighbours, 1 for unrelated ones. Shares "
        "of variance: PERMANOVA on 1 - calibrated CKNNA beyond composition, adjusted for the number of groups (random "
        "labels get 0 on average), p by relabelling models; models of one architecture often share training data, so "
        "the shares overlap. Data sets differ in size, which moves CKNNA at fixed k. Shifts leave out data "
        "sets whose null relabels within groups.",
    )


def _sentence(moved: Sequence[Shift], explained: Sequence[Decided]) -> str:
    parts = []
    for metric in ("information_imbalance", "distance_correlation", "calibrated"):
        own = [one for one in moved if one.metric == metric]
        if own:
            low, high = min(one.shift for one in own), max(one.shift for one in own)
            parts.append(f"{METRICS[metric]} by {low:+.2f}" + (f" to {high:+.2f}" if len(own) > 1 else ""))
    text = ""
    if parts:
        names = sorted({one.dataset for one in moved})
        text = f"As the paper prepares embeddings, going out of distribution ({', '.join(names)}) moves "
        text += f"{', '.join(parts)}. "
    told = [
        f"{one.dataset} {_share(one.training)} by training data, {_share(one.architecture)} by architecture"
        for one in explained
        if one.training or one.architecture
    ]
    if told:
        text += f"Variance of agreement explained (adjusted): {'; '.join(told)}."
    return text.strip() or "No pair of trained models is scored both in and out of distribution."


def _share(one: Explained | None) -> str:
    return "can't be said" if one is None else f"{one.adjusted:.0%} (p = {one.p_value:.2g})"


def _line(part: str, dataset: str, quantity: str, value: float | None, **more: Cell) -> dict[str, Cell]:
    keys = ("preparation", "group", "other", "low", "high", "p_value", "count")
    line: dict[str, Cell] = {"part": part, "dataset": dataset, "quantity": quantity, "value": value}
    return line | {key: more.get(key) for key in keys}


def _summaries(pairs: Sequence[Measured], metric: str) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    """Data set, group and values of its pairs."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in pairs:
        if one.group is not None and metric in one.values:
            found.setdefault((one.dataset, one.group), []).append(one.values[metric])
    for (dataset, group), values in found.items():
        yield dataset, group, np.array(values)


def _group_lines(pairs: dict[str, list[Measured]]) -> Iterator[dict[str, Cell]]:
    for preset, own in pairs.items():
        for metric in METRICS:
            for dataset, group, values in _summaries(own, metric):
                yield _line(
                    "mean over pairs", dataset, metric, float(values.mean()), preparation=preset, group=group,
                    low=float(values.min()), high=float(values.max()), count=len(values),
                )  # fmt: skip


def _shift_lines(moved: dict[str, list[Shift]]) -> Iterator[dict[str, Cell]]:
    for preset, own in moved.items():
        for one in own:
            yield _line(
                "shift out of distribution", one.dataset, one.metric, one.shift, preparation=preset,
                group=f"{one.risen} of {one.pairs} pairs risen", other="+".join(one.inside), count=one.pairs,
            )  # fmt: skip


def _explained_lines(explained: Sequence[Decided]) -> Iterator[dict[str, Cell]]:
    for one in explained:
        for group, share, matrix in (
            ("training data", one.training, one.training_matrix),
            ("architecture", one.architecture, one.architecture_matrix),
        ):
            common: dict[str, Cell] = {
                "preparation": RANKED,
                "group": group,
                "other": one.modality,
                "count": one.models,
            }
            if share is not None:
                yield _line("variance", one.dataset, "PERMANOVA R2", share.share, p_value=share.p_value, **common)
                yield _line("variance", one.dataset, "adjusted R2", share.adjusted, p_value=share.p_value, **common)
            if matrix is not None:
                yield _line("variance", one.dataset, "Mantel r", matrix.correlation, p_value=matrix.p_value, **common)


def _consistency_lines(alike: dict[tuple[str, str], MatrixCorrelation]) -> Iterator[dict[str, Cell]]:
    for (first, second), one in alike.items():
        yield _line(
            "consistency", first, "Mantel rho", one.correlation, preparation=RANKED, other=second,
            p_value=one.p_value, count=one.models,
        )  # fmt: skip


def _groups_plot(study: Study, pairs: dict[str, list[Measured]], metric: str) -> go.Figure:
    shown: tuple[str, ...] = ("paper", RANKED)
    plot = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.1,
        subplot_titles=[f"preparation: {PRESET_TITLES[preset]}" for preset in shown],
    )
    for row, preset in enumerate(shown, 1):
        found = list(_summaries(pairs[preset], metric))
        for place, (group, (colour, symbol)) in enumerate(GROUPS.items()):
            own = [(dataset, values) for dataset, name, values in found if name == group]
            means = [float(values.mean()) for _, values in own]
            # Groups stand side by side within the room of their data set.
            plot.add_scatter(
                x=[study.datasets.index(name) + 0.13 * (place - (len(GROUPS) - 1) / 2) for name, _ in own],
                y=means,
                error_y={
                    "type": "data",
                    "array": [float(values.max()) - mean for (_, values), mean in zip(own, means, strict=True)],
                    "arrayminus": [mean - float(values.min()) for (_, values), mean in zip(own, means, strict=True)],
                    "width": 0,
                    "thickness": 1,
                },
                mode="markers",
                name=group,
                legendgroup=group,
                showlegend=row == 1,
                marker={"color": colour_of(colour), "symbol": symbol, "size": 9},
                customdata=[[name, len(values)] for name, values in own],
                hovertemplate=f"%{{customdata[0]}}<br>{group}<br>{METRICS[metric]} %{{y:.3f}}, mean of "
                "%{customdata[1]} pairs<extra></extra>",
                row=row,
                col=1,
            )
    plot.update_layout(layout("", "", height=680, legend={"y": 1.06}))
    axis = layout("", "")["yaxis"]
    plot.update_yaxes(**{**axis, "title": {"text": METRICS[metric]}, "rangemode": "tozero"})
    ticks = {"tickvals": list(range(len(study.datasets))), "ticktext": list(study.datasets), "tickangle": -30}
    edges = [-0.5, len(study.datasets) - 0.5]
    plot.update_xaxes(**{**layout("", "")["xaxis"], **ticks, "showgrid": False, "range": edges})
    for place in range(1, len(study.datasets)):
        plot.add_vline(x=place - 0.5, line={"color": FAINT, "width": 1})
    plot.update_annotations(font={"size": 13, "color": NEUTRAL})
    return plot


def _explained_plot(explained: Sequence[Decided]) -> go.Figure:
    plot = go.Figure()
    shown = [one for one in explained if one.training or one.architecture]
    for group, colour in (("training data", "atoms"), ("architecture", "string")):
        own = [
            (one, share) for one in shown if (share := one.training if group == "training data" else one.architecture)
        ]
        plot.add_bar(
            x=[_place(one) for one, _ in own],
            y=[share.adjusted for _, share in own],
            name=group,
            marker={"color": colour_of(colour)},
            text=[f"p = {share.p_value:.2g}" for _, share in own],
            textposition="outside",
            cliponaxis=False,
            customdata=[[share.models, share.groups, share.share] for _, share in own],
            hovertemplate=f"{group}<br>adjusted R² %{{y:.2f}}, R² %{{customdata[2]:.2f}}<br>"
            "%{customdata[0]} models in %{customdata[1]} groups, %{text}<extra></extra>",
        )
    plot.add_hline(y=0, line={"color": NEUTRAL, "width": 1})
    plot.update_layout(
        layout(
            "",
            "variance explained (adjusted R²)",
            barmode="group",
            xaxis={"showgrid": False, "categoryorder": "array", "categoryarray": [_place(one) for one in shown]},
        )
    )
    return plot


def _place(one: Decided) -> str:
    where = {"in": "in distribution", "out": "out of distribution"}.get(one.distribution, "in and out")
    return f"{one.dataset}<br>{where}<br>{one.models} models of {MODALITY_TITLES[one.modality]}"


def _consistency_plot(study: Study, alike: dict[tuple[str, str], MatrixCorrelation]) -> go.Figure:
    names = [name for name in study.datasets if any(name in pair for pair in alike)]
    values = np.full((len(names), len(names)), np.nan)
    texts = [["" for _ in names] for _ in names]
    for (first, second), one in alike.items():
        for i, j in ((names.index(first), names.index(second)), (names.index(second), names.index(first))):
            values[i, j] = one.correlation
            texts[i][j] = f"{one.correlation:.2f}<br>p = {one.p_value:.2g}<br>{one.models} models"
    plot = go.Figure(
        go.Heatmap(
            z=[[None if np.isnan(value) else float(value) for value in line] for line in values],
            x=names,
            y=names,
            text=texts,
            texttemplate="%{text}",
            zmin=-1,
            zmax=1,
            colorscale="RdBu",
            reversescale=True,
            hoverongaps=False,
            hovertemplate="%{x} and %{y}<br>rank correlation %{z:.3f}<extra></extra>",
            colorbar={
                "title": {"text": "rank correlation of pairs", "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        )
    )
    plot.update_layout(
        layout("", "", xaxis={"showgrid": False, "tickangle": -30}, yaxis={"showgrid": False, "autorange": "reversed"})
    )
    return plot
