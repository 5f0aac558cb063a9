"""From embeddings of one set of items to a ranked choice among the models that made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from consilience import __version__
from consilience.board.words import published
from consilience.cards import Sha256
from consilience.embedding.embed import covered_items
from consilience.embedding.errors import EmbeddingSkippedError
from consilience.embedding.identity import identify
from consilience.header import Header
from consilience.isolation.environments import python_of
from consilience.metrics import NeighborKernel, calibration_matrices
from consilience.records.record import Interval
from consilience.records.schema import SchemaModel, Value
from consilience.records.spec import SpecSettings
from consilience.registry import PACKAGE, list_targets
from consilience.scoring.alignment import Halves, PairAlignment, mean_alignment
from consilience.scoring.energy import ridge_out_of_fold
from consilience.scoring.lineage import distribution
from consilience.scoring.presets import RANKED, get_preset, prepare_in

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding, Store
    from consilience.registry import Target

    from .values import Property

RECOMMENDATION_VERSION: Literal[1] = 1
#: Mean calibrated CKNNA between two groups of candidates from which on they count as saying the same. On the published
#: board ProteinMPNN's checkpoints of different noise reach 0.5 to 0.7 with each other, ANI-1x and ANI-2xt 0.6 on QM9.
SAME = 0.5
#: Seconds that embedding may be expected to take for a target that was not asked for by name.
QUICK = 60.0
#: A probe needs so many items with a value (as everywhere in the suite).
MIN_ITEMS = 50
RESAMPLES = 2000
_LOW, _HIGH = 0.025, 0.975
#: Kept out unless named: it says nothing of the items.
_OF_NAMES_ONLY = "id"


class ProbedProperty(SchemaModel):
    """What embeddings were probed for."""

    name: str
    """Column."""
    unit: str
    """Unit of the errors; empty where the file does not say."""
    per_atom: bool
    """Whether the column was divided by the number of atoms."""
    items: int
    """Items with a value."""
    baseline: Interval
    """Mean absolute error with composition and size alone, no embedding; the interval from resampled items."""


class Candidate(SchemaModel):
    """One model as a choice for these items."""

    target: str
    """Target."""
    title: str
    """Name as people write it."""
    family: str
    """Family."""
    modality: str
    """What it reads; ``baseline`` for a descriptor that nothing was trained for."""
    trained: bool
    """False for baselines and untrained twins."""
    distribution: Literal["in", "out", "unknown"] | None
    """Whether it was trained on the collection that the items were drawn from; None if untrained."""
    coverage: float
    """Share of the items that it embedded."""
    dimension: int
    """Columns of the embedding."""
    parameters: int | None
    """Number of parameters."""
    rank: int | None = None
    """Place in the recommendation; None where what decides could not be measured."""
    tied: bool = False
    """Whether others are ranked by cost together with it: on the same resamples, the interval of the difference
    between its error and the lowest of theirs holds 0."""
    alignment: Interval
    """Mean calibrated CKNNA beyond composition with the trained candidates of other families."""
    probe: Interval | None = None
    """Mean absolute error of the property, ridge regression out of fold; the interval from resampled items."""
    gain: Interval | None = None
    """By how much that is below the error without any embedding, on the same resamples."""
    behind: Interval | None = None
    """By how much it is above the lowest error of all, on the same resamples."""
    items_per_second: Value = None
    """Throughput when it was embedded, loading excluded."""
    seconds_per_1000: Value = None
    """What a thousand items cost at that throughput."""
    device: str | None = None
    """Where that was: a torch device, and the processor's or graphics card's name."""
    group: int = 0
    """Number of its group: candidates of one group say the same."""
    representative: bool = False
    """Whether it is the best-ranked of its group."""


class CandidatePair(SchemaModel):
    """Agreement of two candidates beyond composition."""

    first: str
    """A candidate."""
    second: str
    """Another."""
    calibrated: Value
    """Calibrated CKNNA."""
    low: Value
    """Lower end of its 95 % interval."""
    high: Value
    """Upper end."""
    p_value: Value
    """Permutation p."""
    same_group: bool
    """Whether the two are in one group."""


class LeftOut(SchemaModel):
    """A target that is no candidate."""

    target: str
    """Target."""
    reason: str
    """Why."""


class Recommendation(SchemaModel):
    """Which model to select or to distil for a set of items."""

    schema_version: Literal[1] = RECOMMENDATION_VERSION
    """Version of this schema."""
    suite_version: str
    """Version of consilience."""
    dataset: str
    """Items."""
    revision: Sha256
    """Revision of the data set, or hash of the user's items."""
    items: int
    """Number of items."""
    compared_on: int
    """Items that every candidate embedded: all figures rest on these."""
    probed: ProbedProperty | None
    """What embeddings were probed for."""
    same: float
    """Mean calibrated CKNNA from which on candidates are one group (average linkage)."""
    settings: SpecSettings
    """Parameters of CKNNA, its null and its intervals."""
    candidates: list[Candidate]
    """By rank."""
    groups: list[list[str]]
    """Candidates that say the same, the representative first."""
    pairs: list[CandidatePair]
    """Every pair."""
    left_out: list[LeftOut]
    """What was not compared, and why."""
    sentence: str
    """What to do, in one sentence."""


def choose_candidates(
    items: Items, store: Store, *, settings: SpecSettings | None = None, quick: float = QUICK, cached: bool = False
) -> tuple[list[Target], list[LeftOut]]:
    """Choose the default targets: they cover the items, and their embeddings are available locally or quick to compute.

    Parameters
    ----------
    items
        The items.
    store
        Where embeddings are looked up.
    settings
        Its `least_coverage` is the share of the items that a candidate has to cover.
    quick
        Seconds that embedding may be expected to take, by the throughput that the published board states for items
        of the same kind.
    cached
        Take only targets whose embeddings are available locally.

    Returns
    -------
    targets : list of Target
        Candidates, by name.
    left_out : list of LeftOut
        The suite's other targets, each with its reason.
    """
    settings = settings or SpecSettings()
    speeds = _published_speeds(items.card.matter)
    chosen, left_out = [], []
    for target in list_targets().values():
        if not target.path.is_relative_to(PACKAGE) or target.card.input_view == _OF_NAMES_ONLY:
            continue
        if target.card.access == "file":  # the reader of a user's checkpoint: there is nothing published to compare
            continue
        reason = _uncovered(target, items, settings.least_coverage)
        if reason is None and store.get(identify(target, items)) is None:
            reason = _why_not_now(target, len(items), speeds.get(target.name), quick, cached)
        if reason is None:
            chosen.append(target)
        else:
            left_out.append(LeftOut(target=target.name, reason=reason))
    return chosen, left_out


def _uncovered(target: Target, items: Items, least: float) -> str | None:
    try:
        share = len(covered_items(target, items)) / len(items)
    except EmbeddingSkippedError as skip:
        return str(skip)
    return None if share >= least else f"covers {share:.0%} of the items, less than {least:.0%}"


def _why_not_now(target: Target, n: int, speed: float | None, quick: float, cached: bool) -> str | None:
    if cached:
        return "its embedding is not available locally (--cached)"
    if target.card.access != "package":
        return "its weights have to be downloaded: name it with --targets"
    if python_of(Header.of(target.path)) is None:
        return "its environment is not built here: name it with --targets"
    if target.card.modality == "baseline":
        return None
    if speed is None:
        return "how long it would take is not known: name it with --targets"
    if n / speed > quick:
        return f"would take about {n / speed:,.0f} s (--quick {quick:g}): name it with --targets"
    return None


def _published_speeds(matter: str) -> dict[str, float]:
    """Items per second by target, the median over the published board's data sets of one kind of matter."""
    speeds_of: dict[str, list[float]] = {}
    for table in published().values():
        for row in table.rows if table.card.matter == matter else ():
            if row.items_per_second:
                speeds_of.setdefault(row.target, []).append(row.items_per_second)
    return {name: median(speeds) for name, speeds in speeds_of.items()}


def recommend(
    items: Items,
    embeddings: Mapping[str, tuple[Target, Embedding]],
    probed: Property | None = None,
    *,
    settings: SpecSettings | None = None,
    same: float = SAME,
    left_out: Iterable[LeftOut] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Recommendation:
    """Rank models for a set of items.

    Parameters
    ----------
    items
        The items.
    embeddings
        Candidates and their embeddings of these items, by name.
    probed
        What to probe embeddings for. Candidates are ranked by that error: the lowest, and all that can't be told from
        it (the interval of the difference, on the same resamples of items, holds 0), cheapest first, those last that
        are not shown to read more than composition and size do; then the lowest of the rest, and so on. Without it,
        trained candidates are ranked by alignment.
    settings
        Parameters of CKNNA; the suite's defaults unless given.
    same
        Mean calibrated CKNNA from which on candidates say the same.
    left_out
        Handed on, together with the candidates that turn out not to be comparable.
    progress
        Called with the steps done, their number, and what is next.

    Raises
    ------
    ValueError
        No candidate is left, too few items are embedded by all, or too few of them have the property.

    Notes
    -----
    The probe is that of the board (:func:`consilience.scoring.energy.probe`): what composition and size predict out
    of fold is taken from the property first, and ridge regression on the embedding predicts the rest out of fold. What
    an embedding says of that rest counts, not what it says of the property itself.
    Intervals of its error resample items, not fits: they say what other items would show, not other training sets.
    """
    settings = settings or SpecSettings()
    left = list(left_out)
    usable, common = _comparable(items, embeddings, settings, left)
    shared = items.select(common)
    steps = len(usable) + 1 if probed is not None else 1
    features = {name: embedding.features[common] for name, (_, embedding) in usable.items()}
    candidates = {name: _candidate(target, items, embedding) for name, (target, embedding) in usable.items()}
    report_step = progress or (lambda done, total, what: None)
    card, drawn = None, dict[str, NDArray[np.float64]]()
    if probed is not None:
        card, drawn = _probe_all(
            shared, probed, common, features, candidates, settings.seed, lambda i, w: report_step(i, steps, w)
        )
    report_step(steps - 1, steps, "alignment of all pairs")
    pairs = _align(shared, features, candidates, settings)
    report_step(steps, steps, "done")
    ranked = _rank(list(candidates.values()), drawn if probed is not None else None)
    groups = _group(ranked, pairs, same)
    return Recommendation(
        suite_version=__version__,
        dataset=items.name,
        revision=items.revision,
        items=len(items),
        compared_on=len(shared),
        probed=card,
        same=same,
        settings=settings,
        candidates=ranked,
        groups=groups,
        pairs=pairs,
        left_out=left,
        sentence=_sentence(ranked, card),
    )


def _comparable(
    items: Items,
    embeddings: Mapping[str, tuple[Target, Embedding]],
    settings: SpecSettings,
    left: list[LeftOut],
) -> tuple[dict[str, tuple[Target, Embedding]], NDArray[np.bool_]]:
    """Candidates that embed nearly all items as different rows, and the items that all of them embed."""
    usable = {}
    common = np.ones(len(items), np.bool_)
    for name, (target, embedding) in embeddings.items():
        rows = embedding.features[embedding.embedded]
        share = len(rows) / len(items)
        if share < settings.least_coverage:
            reason = f"embedded {share:.0%} of the items, less than {settings.least_coverage:.0%}"
            left.append(LeftOut(target=name, reason=reason))
        elif len(np.unique(rows, axis=0)) < 2:
            left.append(LeftOut(target=name, reason=f"all {len(rows)} rows are equal: it does not distinguish items"))
        else:
            usable[name] = (target, embedding)
            common &= embedding.embedded
    if not usable:
        reasons = "; ".join(f"{one.target}: {one.reason}" for one in left[:3])
        raise ValueError(f"{items.name}: no candidate is left to compare ({reasons or 'none was given'})")
    least = 2 * settings.k + 1
    if common.sum() < least:
        raise ValueError(f"{items.name}: {common.sum()} items are embedded by all candidates, {least} are needed")
    return usable, common


def _candidate(target: Target, items: Items, embedding: Embedding) -> Candidate:
    speed = embedding.provenance.get("items_per_second")
    hardware = embedding.provenance.get("hardware") or {}
    where = [hardware.get("device"), hardware.get("gpu") or hardware.get("cpu")]
    return Candidate(
        target=target.name,
        title=target.card.title or target.name,
        family=target.card.family,
        modality=target.card.modality,
        trained=target.trained,
        distribution=distribution(target, items).label,
        coverage=float(embedding.embedded.mean()),
        dimension=embedding.features.shape[1],
        parameters=target.card.parameters,
        alignment=Interval(value=None),
        items_per_second=speed,
        seconds_per_1000=1000 / speed if speed else None,
        device=", ".join(str(part) for part in where if part) or None,
    )


def _probe_all(
    items: Items,
    probed: Property,
    common: NDArray[np.bool_],
    features: Mapping[str, NDArray[np.float32]],
    candidates: Mapping[str, Candidate],
    seed: int,
    report_step: Callable[[int, str], None],
) -> tuple[ProbedProperty, dict[str, NDArray[np.float64]]]:
    """Set each candidate's error; return the property's card and, by candidate, the errors of the resamples."""
    values = probed.values[common]
    has_value = np.isfinite(values)
    if has_value.sum() < MIN_ITEMS:
        reason = f"{has_value.sum()} of the {len(items)} items compared have a value, {MIN_ITEMS} are needed"
        raise ValueError(f"--property {probed.name}: {reason}")
    y = values[has_value]
    rest = y - ridge_out_of_fold(items.controls()[has_value], y, seed)
    draws = np.random.default_rng(seed).integers(0, len(y), (RESAMPLES, len(y)))
    without = np.abs(rest)
    errors: dict[str, NDArray[np.float64]] = {}
    for number, (name, rows) in enumerate(features.items()):
        report_step(number, f"probe of {name}")
        errors[name] = np.abs(rest - ridge_out_of_fold(rows[has_value].astype(np.float64), rest, seed + 1))
        candidates[name].probe = _resampled(errors[name], draws)
        candidates[name].gain = _resampled(without - errors[name], draws)
    lowest = min(errors.values(), key=np.mean)
    for name, own in errors.items():
        candidates[name].behind = _resampled(own - lowest, draws)
    card = ProbedProperty(
        name=probed.name,
        unit=probed.unit,
        per_atom=probed.per_atom,
        items=int(has_value.sum()),
        baseline=_resampled(without, draws),
    )
    return card, {name: own[draws].mean(axis=1) for name, own in errors.items()}


def _resampled(values: NDArray[np.float64], draws: NDArray[np.intp]) -> Interval:
    """Mean with the 95 % percentile interval of its bootstrap over items."""
    low, high = np.quantile(values[draws].mean(axis=1), [_LOW, _HIGH])
    return Interval(value=float(values.mean()), low=float(low), high=float(high))


def _align(
    items: Items,
    features: Mapping[str, NDArray[np.float32]],
    candidates: Mapping[str, Candidate],
    settings: SpecSettings,
) -> list[CandidatePair]:
    """Score all pairs; set each candidate's mean over the trained candidates of other families."""
    preset = get_preset(RANKED, version=1)
    prepared = {name: prepare_in(preset, rows, items) for name, rows in features.items()}
    # What is linear in composition leaves equal rows (zeros) once composition is taken from it.
    prepared = {name: rows for name, rows in prepared.items() if len(np.unique(rows, axis=0)) > 1}
    names = list(prepared)
    if len(names) < 2:
        return []
    calibration = calibration_matrices(
        prepared, metrics=["cknna"], k=settings.k, permutations=settings.permutations, seed=settings.seed,
        alpha=settings.alpha,
    )["cknna"]  # fmt: skip
    method = Halves()
    subsets = method.subsets(len(items), settings)
    kernels = [NeighborKernel(rows, settings.k) for rows in prepared.values()]
    pairs: list[CandidatePair] = []
    aligned: dict[frozenset[str], PairAlignment] = {}
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            threshold, cknna = float(calibration.null_quantile[j, i]), float(calibration.score[j, i])
            if not threshold < 1:
                continue
            draws = method.draws(kernels[j], kernels[i], cknna, subsets)
            pair = PairAlignment.of(float(calibration.calibrated[j, i]), cknna, threshold, draws)
            aligned[frozenset((first, second))] = pair
            mean = mean_alignment([pair], method)
            pairs.append(
                CandidatePair(
                    first=second,
                    second=first,
                    calibrated=pair.value,
                    low=mean.low,
                    high=mean.high,
                    p_value=float(calibration.p_value[j, i]),
                    same_group=False,
                )
            )
    for name in names:
        own = candidates[name]
        others = [o for o in candidates.values() if o.trained and o.family != own.family and o.target != name]
        seen = [aligned[key] for o in others if (key := frozenset((name, o.target))) in aligned]
        if seen:
            own.alignment = mean_alignment(seen, method).interval
    return pairs


def _rank(candidates: list[Candidate], drawn: Mapping[str, NDArray[np.float64]] | None) -> list[Candidate]:
    """Order candidates by the errors of the same resamples; by alignment where there are none."""
    if drawn is None:
        able = [one for one in candidates if one.trained and one.alignment.value is not None]
        ordered = sorted(able, key=lambda one: (-(one.alignment.value or 0.0), one.target))
    else:
        waiting = sorted((one for one in candidates if one.target in drawn), key=_error)
        ordered = []
        while waiting:
            lowest = drawn[waiting[0].target]
            near = {o.target for o in waiting if o is waiting[0] or np.quantile(drawn[o.target] - lowest, _LOW) <= 0}
            group = [one for one in waiting if one.target in near]
            for one in group:
                one.tied = len(group) > 1
            # Cost does not count for models that are not shown to predict better than composition and size.
            ordered += sorted(group, key=lambda one: (not _reads_more(one), _cost(one), _error(one)))
            waiting = [one for one in waiting if one.target not in near]
    for place, one in enumerate(ordered, 1):
        one.rank = place
    rest = [one for one in candidates if one.rank is None]
    return ordered + sorted(rest, key=lambda one: (-(one.alignment.value or 0.0), one.target))


def _reads_more(one: Candidate) -> bool:
    """Whether its error is below that of composition and size alone by more than the interval."""
    return one.gain is not None and one.gain.low is not None and one.gain.low > 0


def _error(one: Candidate) -> float:
    return np.inf if one.probe is None or one.probe.value is None else one.probe.value


def _cost(one: Candidate) -> float:
    return np.inf if one.seconds_per_1000 is None else one.seconds_per_1000


def _group(ranked: list[Candidate], pairs: list[CandidatePair], same: float) -> list[list[str]]:
    """Join candidates by average linkage of calibrated CKNNA down to `same`; each group in the order of ranks."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    names = [one.target for one in ranked]
    place = {name: i for i, name in enumerate(names)}
    apart = 1 - np.eye(len(names))
    for pair in pairs:
        if pair.calibrated is not None:
            i, j = place[pair.first], place[pair.second]
            apart[i, j] = apart[j, i] = 1 - min(pair.calibrated, 1.0)
    labels = np.ones(1, int)
    if len(names) > 1:
        labels = fcluster(linkage(squareform(apart), "average"), 1 - same + 1e-12, "distance")
    numbers: dict[int, int] = {}
    groups: list[list[str]] = []
    for one, label in zip(ranked, labels.tolist(), strict=True):
        if label not in numbers:
            numbers[label] = len(groups) + 1
            groups.append([])
            one.representative = True
        one.group = numbers[label]
        groups[one.group - 1].append(one.target)
    of = {one.target: one.group for one in ranked}
    for pair in pairs:
        pair.same_group = of[pair.first] == of[pair.second]
    return groups


def _sentence(ranked: list[Candidate], probed: ProbedProperty | None) -> str:
    trained = [one for one in ranked if one.trained and one.alignment.value is not None]
    central = max(trained, key=lambda one: one.alignment.value or 0.0, default=None)
    if probed is None:
        if central is None:
            return "Nothing can be said: alignment takes trained candidates of two families at least."
        text = f"Take or distil {central.target}: the most central ({in_brackets(central.alignment)} on average)"
        return text + _as_good(central, ranked, faster=False) + "."
    unit = f" {probed.unit}" if probed.unit else ""
    without = f"{in_brackets(probed.baseline)} from composition and size alone"
    lowest = min(ranked, key=_error)
    able = [one for one in ranked if _reads_more(one)]
    if not able:
        return (
            f"No candidate is shown to read more of {probed.name} than composition and size do (lowest error: "
            f"{lowest.target}, {in_brackets(lowest.probe)}{unit}; {without})" + _distil(central, None)
        )
    best, lowest = able[0], min(able, key=_error)
    if best is lowest:
        text = f"Take {best.target}: lowest probe error ({in_brackets(best.probe)}{unit}; {without})"
    else:
        text = (
            f"Take {best.target}: its probe error ({in_brackets(best.probe)}{unit}; {without}) can't be told from the "
            f"lowest ({lowest.target}, {in_brackets(lowest.probe)}), and it is the cheapest of those"
        )
    return text + _as_good(best, ranked, faster=True) + _distil(central, best)


def _as_good(best: Candidate, ranked: list[Candidate], *, faster: bool) -> str:
    """Equivalent candidates, and their relative cost."""
    others = [one for one in ranked if one.group == best.group and one is not best]
    if not others:
        return ""
    if faster:
        other = max(others, key=lambda one: -1.0 if one.seconds_per_1000 is None else one.seconds_per_1000)
        ratio = _cost(other) / _cost(best) if np.isfinite([_cost(other), _cost(best)]).all() else 1.0
        if ratio >= 1.5:
            return f", {ratio:.2g} times as fast as {other.target}, which says the same"
    else:
        other = min(others, key=_cost)
        ratio = _cost(best) / _cost(other) if np.isfinite([_cost(other), _cost(best)]).all() else 1.0
        if ratio >= 1.5:
            return f"; {other.target} says the same {ratio:.2g} times as fast"
    return f"; {', '.join(one.target for one in others)} {'says' if len(others) == 1 else 'say'} the same"


def _distil(central: Candidate | None, best: Candidate | None) -> str:
    if central is None:
        return "."
    if central is best:
        return "; distil from it, too: it is the most central."
    return f"; distil from {central.target}, the most central (alignment {in_brackets(central.alignment)})."


def in_brackets(interval: Interval | None) -> str:
    """Write a value with its interval behind it: ``0.012 [0.011, 0.013]``."""
    if interval is None or interval.value is None:
        return "unknown"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3g}"
    return f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


__all__ = ["Candidate", "LeftOut", "Recommendation", "choose_candidates", "in_brackets", "recommend"]
