"""The paper's qualitative claims, and ours, each judged by a stated rule from the board's records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from consilience.board.headline import TELLS
from consilience.records.pairs import Pair, PairFigures
from consilience.records.record import Record
from consilience.records.values import mean_value, or_nan
from consilience.scoring.presets import RANKED

from .statistics import Clustered, rank_correlation
from .variance import complete, main_modality, mantel, same, trained_names

if TYPE_CHECKING:
    from .study import Study

Verdict = Literal["held", "not held", "can't be judged here"]
UNDECIDED: Verdict = "can't be judged here"
#: A trend is told from chance below this p.
ALPHA = 0.05
#: Models from which the lack of a trend counts against a claim; below, it is a lack of models.
ENOUGH = 20
FEWEST = 5


@dataclass(frozen=True)
class Claim:
    """A qualitative claim and what this board says about it.

    Attributes
    ----------
    claim
        What is claimed, in one sentence, with its place in arXiv 2512.03750 (or "ours").
    verdict
        Whether it holds here.
    number
        The numbers, in one sentence.
    figure
        Name of the figure that shows it.
    rule
        What was asked for to say "held".
    """

    claim: str
    verdict: Verdict
    number: str
    figure: str
    rule: str


#: For (+1), against (-1) or undecided (0), and the numbers in words, of each data set that was looked at.
Findings = Sequence[tuple[int, str]]


def verdict_of(findings: Findings) -> Verdict:
    """``held`` where something speaks for it and nothing against it; ``not held`` where anything speaks against it."""
    votes = [vote for vote, _ in findings]
    return "not held" if -1 in votes else "held" if 1 in votes else UNDECIDED


def judge(study: Study) -> list[Claim]:
    """Judge every claim from the board's records and pairs.

    Parameters
    ----------
    study
        The board.

    Returns
    -------
    list of Claim
        The paper's, in its order, then ours. Nothing in them is fixed beforehand but the rules.
    """
    return [rule(study) for rule in _RULES]


_RULES: list[Callable[[Study], Claim]] = []


def _rule(claim: str, figure: str, rule: str) -> Callable[[Callable[[Study], Findings]], Callable[[Study], Claim]]:
    def register(find: Callable[[Study], Findings]) -> Callable[[Study], Claim]:
        def judged(study: Study) -> Claim:
            findings = find(study)
            number = "; ".join(text for _, text in findings) or "no data set of this board has what the rule asks for"
            return Claim(claim, verdict_of(findings), f"{number}.", figure, rule)

        _RULES.append(judged)
        return judged

    return register


# -- the paper's -------------------------------------------------------------------------------------------------


@_rule(
    "In distribution strong models share information and weak ones scatter (section on two regimes, Fig. 2B top).",
    "imbalance-plane",
    "over models in distribution, the energy error rises with the mean information imbalance to the other trained "
    f"models (rank correlation above 0, p < {ALPHA})",
)
def _strong_align(study: Study) -> Findings:
    found = []
    for dataset in study.datasets:
        records = {n: r for n, r in study.records(dataset).items() if r.distribution == "in" and _error(r) is not None}
        if not records:
            continue
        names, matrix = study.matrix(dataset, "information_imbalance", preset="paper", targets=list(records))
        families = [records[name].card.family for name in names]
        matrix = np.where(same(families) > 0, np.nan, (matrix + matrix.T) / 2)
        scatter = [or_nan(mean_value(row)) for row in matrix]
        found.append(_trend(dataset, [_error(records[n]) for n in names], scatter, families, sign=1))
    return found


@_rule(
    "Out of distribution nearly all pairs collapse: information imbalance falls and global dCor rises while local "
    "CKNNA falls (section on two regimes, Fig. 2B bottom, 2C).",
    "regimes",
    "as the paper prepares embeddings, for the same pairs of models, on every data set out of distribution: mean "
    "imbalance lower, mean dCor higher, mean CKNNA lower than in distribution",
)
def _collapse(study: Study) -> Findings:
    return _shifted(study, "paper", {"information_imbalance": -1, "distance_correlation": 1, "calibrated": -1})


@_rule(
    "The global agreement that rises out of distribution is more than composition and size (ours, to the claim above).",
    "regimes",
    "beyond composition, too, mean dCor of the same pairs is higher out of distribution, on every data set",
)
def _more_than_composition(study: Study) -> Findings:
    return _shifted(study, RANKED, {"distance_correlation": 1})


@_rule(
    "In distribution models cluster by their training data rather than by architecture (section on two regimes).",
    "regimes",
    "among trained 3D models, training data explain more variance of agreement (adjusted PERMANOVA R2) than "
    f"architecture, with p < {ALPHA} for the larger of both",
)
def _by_training_data(study: Study) -> Findings:
    return _clustered_by(study, "in", training=True)


@_rule(
    "Out of distribution models cluster by architecture rather than by training data (section on two regimes).",
    "regimes",
    "among trained 3D models, architecture explains more variance of agreement (adjusted PERMANOVA R2) than "
    f"training data, with p < {ALPHA} for the larger of both",
)
def _by_architecture(study: Study) -> Findings:
    return _clustered_by(study, "out", training=False)


@_rule(
    "Who agrees with whom in distribution is not who agrees with whom out of distribution (Fig. 2C).",
    "regimes",
    "between a data set in and one out of distribution for most models, the pairs' agreement does not correlate "
    f"(Mantel, rho below 0.5 or p >= {ALPHA} with {ENOUGH} or more models)",
)
def _order_changes(study: Study) -> Findings:
    from .figures.regimes import consistency

    found = []
    sides = {dataset: _side(study.records(dataset).values()) for dataset in study.datasets}
    for (first, second), one in consistency(study).items():
        if {sides[first], sides[second]} == {"in", "out"}:
            told = f"{first} and {second}: rho {one.correlation:+.2f} (p = {one.p_value:.2g}, {one.models} models)"
            vote = 1 if one.models >= ENOUGH and (one.p_value >= ALPHA or one.correlation < 0.5) else 0
            found.append((-1 if one.p_value < ALPHA and one.correlation >= 0.5 else vote, told))
    return found


@_rule(
    "Models that predict energies better align more (Fig. 1B, Fig. 3).",
    "energy-and-alignment",
    "over trained models, mean CKNNA with the references, as the paper prepares embeddings, falls with the "
    f"composition-corrected energy error (rank correlation below 0, p < {ALPHA})",
)
def _better_align(study: Study) -> Findings:
    found = []
    for dataset in study.datasets:
        records = [
            r for r in study.records(dataset).values() if r.trained and _error(r) is not None and "paper" in r.scores
        ]
        if records:
            alignment = [record.scores["paper"].cknna for record in records]
            families = [record.card.family for record in records]
            found.append(_trend(dataset, [_error(record) for record in records], alignment, families, sign=-1))
    return found


@_rule(
    "Embeddings have an intrinsic dimension of about 5 to 10, whatever their width (Fig. 1D, C7).",
    "intrinsic-dimension",
    "on every data set of molecules or crystals, but those matched within groups (near relatives of each other), the "
    "median over trained invariant models, as the paper prepares embeddings, lies between 5 and 10",
)
def _dimension_band(study: Study) -> Findings:
    found = []
    for dataset in study.board.datasets:
        values = _dimensions(study, dataset.name, lambda r: r.trained and r.card.invariant)
        matched = study.board.spec.dataset(dataset.name).strata is not None
        if dataset.card.matter != "protein" and not matched and len(values) >= 3:
            median = float(np.median(values))
            inside = 5 <= median <= 10
            found.append((1 if inside else -1, f"{dataset.name}: median {median:.1f} of {len(values)} models"))
    return found


@_rule(
    "Invariant embeddings have lower intrinsic dimension than those that turn with the structure (Fig. 1D).",
    "intrinsic-dimension",
    "the median over invariant 3D models is lower than over the others, with at least two of each",
)
def _invariant_lower(study: Study) -> Findings:
    found = []
    for dataset in study.datasets:
        low, high = (
            _dimensions(study, dataset, kind)
            for kind in (
                lambda r: r.trained and r.card.modality == "atoms" and r.card.invariant,
                lambda r: r.trained and r.card.modality == "atoms" and not r.card.invariant,
            )
        )
        if len(low) > 1 and len(high) > 1:
            medians = float(np.median(low)), float(np.median(high))
            told = f"{dataset}: {medians[0]:.1f} ({len(low)} invariant) against {medians[1]:.1f} ({len(high)} others)"
            found.append((1 if medians[0] < medians[1] else -1, told))
    return found


@_rule(
    "The intrinsic dimension of random embeddings is far higher than that of any model (Fig. C7).",
    "intrinsic-dimension",
    "that of random rows is at least twice the highest of all trained models",
)
def _random_higher(study: Study) -> Findings:
    found = []
    for dataset in study.datasets:
        values = _dimensions(study, dataset, lambda r: r.trained)
        random = _dimensions(study, dataset, lambda r: r.target == "random-gaussian")
        if values and random:
            told = f"{dataset}: {random[0]:.0f} against at most {max(values):.1f}"
            found.append((1 if random[0] >= 2 * max(values) else -1, told))
    return found


@_rule(
    "Protein sequence and structure models align about twice as well as the best cross-modal case of small molecules.",
    "heat-map",
    "as the paper prepares embeddings, CKNNA of the best sequence-structure pair is at least 1.5 times that of the "
    "best pair of a string and an atoms model on molecules (families apart)",
)
def _proteins_twice(study: Study) -> Findings:
    best: dict[str, tuple[float, str]] = {}
    for dataset in study.board.datasets:
        wanted = {
            "protein": ("protein_sequence", "protein_structure"),
            "molecule": ("string", "atoms"),
        }.get(dataset.card.matter)
        for pair, scores in _cross_modal(study, dataset.name, wanted, "paper") if wanted else ():
            value = scores.cknna
            if value is not None and value > best.get(dataset.card.matter, (-math.inf, ""))[0]:
                best[dataset.card.matter] = value, f"{value:.3f} ({pair.first} and {pair.second} on {dataset.name})"
    if len(best) < 2 or best["molecule"][0] <= 0:
        return []
    ratio = best["protein"][0] / best["molecule"][0]
    told = f"{best['protein'][1]} against {best['molecule'][1]}: {ratio:.1f} times"
    return [(1 if ratio >= 1.5 else -1, told)]


@_rule(
    "String models and models of 3D structures align substantially (sections on molecules, Fig. 1A).",
    "heat-map",
    "on every data set of molecules, beyond composition, string models agree more with trained than with untrained 3D "
    "networks (mean CKNNA), and their mean calibrated CKNNA with trained ones is at least 0.1",
)
def _strings_align(study: Study) -> Findings:
    found = []
    for dataset in study.board.datasets:
        if dataset.card.matter != "molecule":
            continue
        trained = [s for _, s in _cross_modal(study, dataset.name, ("string", "atoms"), RANKED)]
        mixed = [s for _, s in _cross_modal(study, dataset.name, ("string", "atoms"), RANKED, untrained=True)]
        if not trained or not mixed:
            continue
        with_trained, with_random = (or_nan(mean_value(one.cknna for one in kind)) for kind in (trained, mixed))
        calibrated = or_nan(mean_value(one.calibrated for one in trained))
        held = with_trained > with_random and calibrated >= 0.1
        told = f"{dataset.name}: CKNNA {with_trained:.3f} over {len(trained)} pairs (calibrated {calibrated:.3f}), "
        found.append((1 if held else -1, f"{told}{with_random:.3f} with untrained networks"))
    return found


@_rule(
    "Models of one family cluster (Fig. 1A, 1F).",
    "evolutionary-tree",
    "over trained models, agreement correlates with being of one family (Mantel r above 0, "
    f"p < {ALPHA}), on every data set with five models and a family of two",
)
def _families_cluster(study: Study) -> Findings:
    found = []
    for dataset in study.datasets:
        records = study.records(dataset)
        names, matrix = complete(*study.matrix(dataset, "calibrated", targets=trained_names(records)))
        one = mantel(matrix, same([records[name].card.family for name in names]), method="pearson") if names else None
        if one is not None:
            vote = _vote(one.correlation, one.p_value, one.models, sign=1)
            found.append((vote, f"{dataset}: r {one.correlation:+.2f} (p = {one.p_value:.2g}, {one.models} models)"))
    return found


@_rule(
    "Larger models align more (the hypothesis of convergence; point sizes of Fig. 1B).",
    "convergence",
    "among models of the most common kind of input, alignment beyond composition rises with the number of parameters "
    f"(rank correlation above 0, p < {ALPHA})",
)
def _larger_align(study: Study) -> Findings:
    found = []
    for dataset in study.datasets:
        records = study.records(dataset)
        modality = main_modality(records)
        chosen = [
            records[n]
            for n in trained_names(records, modality)
            if records[n].card.parameters and RANKED in records[n].scores
        ]
        if chosen:
            sizes = [float(record.card.parameters or 0) for record in chosen]
            alignment = [record.scores[RANKED].alignment.value for record in chosen]
            found.append(_trend(dataset, sizes, alignment, [record.card.family for record in chosen], sign=1))
    return found


# -- ours --------------------------------------------------------------------------------------------------------


@_rule(
    "Measured as the paper does, alignment does not tell trained networks from untrained ones (ours).",
    "discrimination",
    "on some data set a trained pair outscores a pair with an untrained network in fewer than 80 of 100 comparisons",
)
def _raw_is_blind(study: Study) -> Findings:
    values = _discriminations(study, "paper")
    lowest = min(values.values(), default=1.0)
    told = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
    return [(1 if lowest < 0.8 else -1, f"discrimination as the paper prepares embeddings: {told}")] if values else []


@_rule(
    "Beyond composition it does (ours).",
    "discrimination",
    "on every data set a trained pair outscores a pair with an untrained network in at least 95 of 100 comparisons",
)
def _beyond_composition_tells(study: Study) -> Findings:
    return [(1 if v >= TELLS else -1, f"{name} {v:.2f}") for name, v in _discriminations(study, RANKED).items()]


@_rule(
    "Training brings 3D networks closer to the references than their own architecture is with random weights (ours).",
    "training-gain",
    "on every data set a trained network that reads atoms aligns with a reference more than an untrained one of its "
    "own architecture in at least 95 of 100 comparisons",
)
def _training_adds(study: Study) -> Findings:
    found = []
    for table in study.board.datasets:
        paired = table.training.paired.get("atoms") if table.training is not None else None
        if paired is not None and paired.value is not None:
            words = f"{table.name} {paired.value:.2f} ({paired.comparisons} comparisons, {paired.lineages} lineages)"
            found.append((1 if paired.value >= TELLS else -1, words))
    return found


# -- what the rules share ----------------------------------------------------------------------------------------


def _vote(value: float, p_value: float, models: int, *, sign: int) -> int:
    """For, with the right sign and a small p; against, with the wrong sign, or no trend among many models."""
    if math.isnan(value) or models < FEWEST:
        return 0
    if sign * value > 0 and p_value < ALPHA:
        return 1
    # The wrong sign of a few models that could as well be chance says nothing.
    return -1 if (sign * value <= 0 and p_value < ALPHA) or models >= ENOUGH else 0


def _trend(
    dataset: str,
    x: Sequence[float | None],
    y: Sequence[float | None],
    families: Sequence[str],
    *,
    sign: int,
) -> tuple[int, str]:
    found: Clustered = rank_correlation(
        [math.nan if value is None else value for value in x],
        [math.nan if value is None else value for value in y],
        families,
    )
    if found.models < FEWEST or math.isnan(found.value):
        return 0, f"{dataset}: {found.models} models, too few"
    vote = _vote(found.value, found.p_value, found.models, sign=sign)
    chance = "too few families for a p" if math.isnan(found.p_value) else f"p = {found.p_value:.2g}"
    return vote, f"{dataset}: rank correlation {found.value:+.2f} ({chance}, {found.models} models)"


def _shifted(study: Study, preset: str, wanted: dict[str, int]) -> Findings:
    from .figures.regimes import METRICS, shifts

    by_dataset: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for one in shifts(study, preset):
        by_dataset.setdefault(one.dataset, {})[one.metric] = one.shift
        counts[one.dataset] = one.pairs
    found = []
    for dataset, moved in by_dataset.items():
        if not set(wanted) <= set(moved):
            continue
        right = all(sign * moved[metric] > 0 for metric, sign in wanted.items())
        words = ", ".join(f"{METRICS[metric]} {moved[metric]:+.2f}" for metric in wanted)
        # One pair is no rule.
        vote = 0 if counts[dataset] < 3 else 1 if right else -1
        found.append((vote, f"{dataset}: {words} over {counts[dataset]} pairs"))
    return found


def _clustered_by(study: Study, distribution: str, *, training: bool) -> Findings:
    from .figures.regimes import decided

    found = []
    for one in decided(study):
        if one.distribution != distribution or one.modality != "atoms":
            continue
        if one.training is None or one.architecture is None:
            found.append((0, f"{one.dataset}: {one.models} models, too few that share training data or architecture"))
            continue
        first, second = one.training, one.architecture
        larger = first if first.adjusted > second.adjusted else second
        vote = 0 if larger.p_value >= ALPHA else 1 if (larger is first) == training else -1
        told = f"{one.dataset}: training data {first.adjusted:+.2f} (p = {first.p_value:.2g}), architecture "
        found.append((vote, f"{told}{second.adjusted:+.2f} (p = {second.p_value:.2g}), {one.models} models"))
    return found


def _cross_modal(
    study: Study, dataset: str, modalities: tuple[str, str], preset: str, *, untrained: bool = False
) -> list[tuple[Pair, PairFigures]]:
    """Pairs of trained models of two modalities and different families; or with those of the second untrained."""
    records = study.records(dataset)
    found = []
    for pair in study.pairs(dataset):
        both = [records[name] for name in (pair.first, pair.second) if name in records]
        if len(both) < 2 or preset not in pair.scores or both[0].card.family == both[1].card.family:
            continue
        both.sort(key=lambda record: record.card.modality != modalities[0])
        kinds = (both[0].trained, both[1].untrained if untrained else both[1].trained)
        if (both[0].card.modality, both[1].card.modality) == modalities and all(kinds):
            found.append((pair, pair.scores[preset]))
    return found


def _dimensions(study: Study, dataset: str, wanted: Callable[[Record], bool]) -> list[float]:
    values = [
        record.singles.get("paper", {}).get("intrinsic_dimension")
        for record in study.records(dataset).values()
        if wanted(record)
    ]
    return [value for value in values if value is not None]


def _discriminations(study: Study, preset: str) -> dict[str, float]:
    return {
        dataset.name: found.value
        for dataset in study.board.datasets
        if (found := dataset.discrimination.get(preset)) is not None and found.value is not None
    }


def _side(records: Iterable[Record]) -> str:
    places = [record.distribution for record in records if record.trained]
    return next((one for one in ("in", "out") if places and places.count(one) > 0.5 * len(places)), "mixed")


def _error(record: Record) -> float | None:
    return record.energy.mae if record.energy is not None else None
