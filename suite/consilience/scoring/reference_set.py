"""The reference set: the references of a data set, prepared once, against which every target is scored."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.metrics import (
    Calibration,
    DegenerateInputWarning,
    NeighborKernel,
    alignment_matrices,
    calibrate_from,
    cknna_from,
    draw_permutations,
    get_metric,
    parts_of,
)
from consilience.metrics.matrices import MAX_DENSE_ITEMS
from consilience.metrics.parallel import run
from consilience.records.record import Examined, Interval, PairScore, PresetScore, Twin
from consilience.records.spec import MetricChoice, SpecSettings
from consilience.records.values import mean_value

from .alignment import PairAlignment, mean_alignment
from .cell import DominatedError
from .energy import energy_error, probe
from .lineage import lineage_of
from .presets import examine_in
from .protocol import Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding
    from consilience.metrics.preparation import Preparation
    from consilience.registry import Target

    Rows = NDArray[np.float64]


#: A cell fails where more than this share of its items, and more than one, are dominant: no estimate holds.
MOST_DOMINANT = 0.02


class Prepared:
    """One embedding in one preset, with what each metric keeps of it, made when first needed."""

    def __init__(
        self, preparation: Preparation, k: int, pair_metrics: Sequence[MetricChoice], singles: Sequence[MetricChoice]
    ) -> None:
        self.preparation = preparation
        self.rows: Rows = preparation.rows
        self.k = k
        self.pair_metrics, self._single_metrics = pair_metrics, singles
        self._states: dict[str, Any] = {}

    @cached_property
    def kernel(self) -> NeighborKernel:
        """Neighbour lists of CKNNA."""
        return NeighborKernel(self.rows, self.k)

    def state(self, metric: MetricChoice) -> Any:
        """What `metric` keeps of the embedding."""
        if metric.label not in self._states:
            parts = parts_of(metric.label)
            k = parts.neighbors if parts.neighbors is None or metric.k is None else metric.k
            self._states[metric.label] = parts.describe(self.rows, k)
        return self._states[metric.label]

    @cached_property
    def singles(self) -> dict[str, float]:
        """Metrics of the embedding alone."""
        return _singles(self.rows, self._single_metrics)

    def complete(self, halves: NDArray[np.intp], *, singles: bool) -> None:
        """Make whatever scoring will ask for."""
        self.kernel.subsampled(halves)
        _ = self.singles if singles else None
        if len(self.rows) <= MAX_DENSE_ITEMS:
            for metric in self.pair_metrics:
                self.state(metric)


class ReferenceSet:
    """References of one data set and everything drawn once for it (permutations, halves, controls).

    Parameters
    ----------
    items
        The data set.
    protocol
        What the board measures.
    references
        Target and embedding of each reference.
    strata
        Column of the items within whose groups permutations shuffle; all items by default.
    """

    def __init__(
        self,
        items: Items,
        protocol: Protocol,
        references: Mapping[str, tuple[Target, Embedding]],
        strata: str | None = None,
    ) -> None:
        self.items = items
        self.protocol = protocol
        self.strata = strata
        self.references = dict(references)
        self._common = np.ones(len(items), dtype=bool)
        for _, embedding in self.references.values():
            self._common &= embedding.embedded
        self._prepared: dict[tuple[str, str], Prepared] = {}
        self._restricted: dict[bytes, ReferenceSet] = {}

    @property
    def settings(self) -> SpecSettings:
        """Parameters of the board."""
        return self.protocol.spec.settings

    def constant(self, embedding: Embedding) -> str | None:
        """Why an embedding can't be scored at all: its rows do not differ. None where they do."""
        rows = embedding.features[embedding.embedded]
        if len(rows) and len(np.unique(rows, axis=0)) < 2:
            return f"all {len(rows)} rows are equal: the target sees no difference between these items"
        if len(rows) <= 2 * self.settings.k:
            return f"only {len(rows)} items were embedded, {2 * self.settings.k + 1} are needed"
        return None

    def score(self, target: Target, embedding: Embedding, twin: Embedding | None = None) -> dict[str, Any]:
        """Score one target.

        Parameters
        ----------
        target, embedding
            The target and its embedding of the reference set's items.
        twin
            Embedding of its untrained twin.

        Returns
        -------
        dict
            Fields of a :class:`~consilience.records.record.Record`: ``scores``, ``examined``, ``singles``, ``twin``,
            ``energy``, ``probe``.

        Raises
        ------
        DominatedError
            Rows that would decide the scores are more than 2 % of the items.
        """
        usable = embedding.embedded & self._common
        if twin is not None:
            usable &= twin.embedded
        if not usable.all():
            return self._restrict(usable).score(target, embedding.take(usable), twin and twin.take(usable))
        _ = self._subsets  # drawn once, before threads ask for them
        brief = self._in_brief(target)
        features, presets = embedding.features, (self.protocol.ranked,) if brief else self.protocol.names
        prepared = {preset: self._prepare(features, preset, brief=brief) for preset in presets}
        for one in prepared.values():
            number = len(one.preparation.dominant)
            if number > max(1, int(MOST_DOMINANT * len(features))):
                raise DominatedError(
                    f"{number} of {len(features)} rows are so long that they would decide the scores "
                    f"({MOST_DOMINANT:.0%} may be)"
                )
        others = [self._reference(name, preset) for name in self._outside(target) for preset in presets]
        # Each is on its own: as many at a time as there are cores.
        tasks = [(one, True) for one in prepared.values()] + [(one, False) for one in others]
        run(lambda task, _: task[0].complete(self._subsets, singles=task[1]), tasks)
        scores = {preset: self._against_references(target, prepared[preset], preset) for preset in presets}
        return {
            "scores": scores,
            "examined": {preset: found for preset in presets if (found := _examined(prepared[preset])) is not None},
            "singles": {preset: prepared[preset].singles for preset in presets},
            "twin": {} if twin is None else {p: self._against_twin(prepared[p], twin, p) for p in presets},
            "energy": self._energy(embedding) if target.trained else None,  # a twin only echoes fitted atom energies
            "probe": self._probe(features),
        }

    def _in_brief(self, target: Target) -> bool:
        """Whether a target is an own twin, which stands in its target's row: its alignment is all that is asked for."""
        return self.protocol.spec.measured.states_gain and target.weights.random and target.weights.twin > 0

    def _against_references(self, target: Target, prepared: Prepared, preset: str) -> PresetScore:
        pairs: dict[str, PairScore] = {}
        aligned: list[PairAlignment] = []
        others = {name: self._reference(name, preset) for name in self._outside(target)}
        metrics = _other_metrics(prepared, others, prepared.pair_metrics)
        for name, other in others.items():
            calibration = self._calibrate(prepared, other)
            cknna, threshold = calibration.score, calibration.null_quantile
            draws = self.protocol.interval.draws(prepared.kernel, other.kernel, cknna, self._subsets)
            aligned.append(self.protocol.calibration.align(calibration, draws))
            pair = aligned[-1]
            pairs[name] = PairScore(
                cknna=cknna,
                null_mean=calibration.null_mean,
                null_quantile=threshold,
                p_value=calibration.p_value,
                calibrated=calibration.calibrated,
                metrics=metrics[name],
                aligned=None if pair.cut else pair.value,
                draws=pair.draws.tolist() if preset == self.protocol.ranked and not pair.cut else [],
            )
        names = sorted({name for pair in pairs.values() for name in pair.metrics})
        score = PresetScore(
            alignment=Interval(value=None),
            cknna=mean_value([pair.cknna for pair in pairs.values()]),
            metrics={name: mean_value([pair.metrics.get(name) for pair in pairs.values()]) for name in names},
            pairs=pairs,
            self_alignment=cknna_from(prepared.kernel, prepared.kernel),
        )
        if not aligned:
            return score
        lineages = [lineage_of(self.references[name][0].card) for name in others]
        mean = mean_alignment(aligned, self.protocol.interval, lineages)
        update = {
            "alignment": mean.interval,
            "draws": mean.draws.tolist(),
            "centre": mean.centre,
            "deviation": mean.deviation,
            "uncut_draws": mean.uncut_draws.tolist() if preset == self.protocol.ranked else [],
        }
        return PresetScore.model_validate({**dict(score), **update})

    def _outside(self, target: Target) -> list[str]:
        """Names of the references outside the target's own family or lineage, as the board leaves out."""
        if self.protocol.spec.measured.left_out == "family":
            return [name for name, (other, _) in self.references.items() if other.card.family != target.card.family]
        own = lineage_of(target.card)
        return [name for name, (other, _) in self.references.items() if lineage_of(other.card) != own]

    def _against_twin(self, prepared: Prepared, twin: Embedding, preset: str) -> Twin:
        other = self._prepare(twin.features, preset)
        calibration = self._calibrate(prepared, other)
        return Twin(cknna=calibration.score, calibrated=calibration.calibrated, distance=1 - calibration.calibrated)

    def _energy(self, embedding: Embedding) -> Any:
        true = self.items.electronic_energy
        if true is None:
            return None
        counts, _ = self.items.composition()
        return energy_error(embedding.energies, true, counts, seed=self.settings.seed)

    def _probe(self, features: NDArray[np.float32]) -> Any:
        true = self.items.electronic_energy
        if true is None:
            return None
        counts, _ = self.items.composition()
        return probe(features.astype(np.float64), true, counts, self.items.controls(), seed=self.settings.seed)

    def _calibrate(self, a: Prepared, b: Prepared) -> Calibration:
        return calibrate_from(a.kernel, b.kernel, permutations=self._permutations, alpha=self.settings.alpha)

    def _reference(self, name: str, preset: str) -> Prepared:
        if (name, preset) not in self._prepared:
            self._prepared[name, preset] = self._prepare(self.references[name][1].features, preset)
        return self._prepared[name, preset]

    def _prepare(self, features: NDArray[np.float32], preset: str, *, brief: bool = False) -> Prepared:
        with warnings.catch_warnings():
            # An embedding that is linear in the controls has no score; the record says so with a null.
            warnings.simplefilter("ignore", DegenerateInputWarning)
            preparation = examine_in(self.protocol.preset(preset), features, self.items)
        pair_metrics, singles = ((), ()) if brief else (self.protocol.pair_metrics, self.protocol.single_metrics)
        return Prepared(preparation, self.settings.k, pair_metrics, singles)

    def _restrict(self, usable: NDArray[np.bool_]) -> ReferenceSet:
        """Return the reference set of the items that this target, too, could embed."""
        key = usable.tobytes()
        if key not in self._restricted:
            references = {name: (target, e.take(usable)) for name, (target, e) in self.references.items()}
            self._restricted = {key: ReferenceSet(self.items.select(usable), self.protocol, references, self.strata)}
        return self._restricted[key]

    @cached_property
    def _permutations(self) -> NDArray[np.intp]:
        strata = None if self.strata is None else self.items.strata(self.strata)
        settings = self.settings
        return draw_permutations(len(self.items), settings.permutations, seed=settings.seed, strata=strata)

    @cached_property
    def _subsets(self) -> NDArray[np.intp]:
        return self.protocol.interval.subsets(len(self.items), self.settings)


def _examined(prepared: Prepared) -> Examined | None:
    """What a record says of a preparation; None where the preset looks for no dominant rows."""
    found = prepared.preparation
    if np.isnan(found.largest_share):
        return None
    return Examined(dominant=len(found.dominant), largest_share=found.largest_share, left=found.left)


def _other_metrics(
    prepared: Prepared, others: Mapping[str, Prepared], metrics: Sequence[MetricChoice]
) -> dict[str, dict[str, float | None]]:
    """Score against each of the others; a directed metric gives two numbers, to and from the reference."""
    scores: dict[str, dict[str, float | None]] = {name: {} for name in others}
    with warnings.catch_warnings():
        # A control such as size leaves some metrics undefined; the record says so with a null.
        warnings.simplefilter("ignore", DegenerateInputWarning)
        # Beyond some thousand items no (n, n) matrix is held: one pass over tiles serves all of them.
        large = len(prepared.rows) > MAX_DENSE_ITEMS and len(others) > 0 and len(metrics) > 0
        rows = [prepared.rows, *(other.rows for other in others.values())] if large else []
        tiled = matrices_of({str(i): one for i, one in enumerate(rows)}, metrics) if large else None
        for number, (other, values) in enumerate(zip(others.values(), scores.values(), strict=True), start=1):
            for metric in metrics:
                name, value = metric.label, None
                if tiled is None:
                    value = parts_of(name).score(prepared.state(metric), other.state(metric))
                elif get_metric(metric.name).card.symmetric:
                    value = tiled[name][0, number]
                else:
                    value = tiled[name][0, number], tiled[name][number, 0]
                if isinstance(value, tuple):
                    values[f"{name}_to"], values[f"{name}_from"] = (float(part) for part in value)
                else:
                    values[name] = float(value)
    return scores


def matrices_of(prepared: Mapping[str, Rows], metrics: Sequence[MetricChoice]) -> dict[str, Rows]:
    """(M, M) matrices of some metrics, each with its number of neighbours."""
    neighbors = {metric.label: metric.k for metric in metrics if metric.k is not None}
    names = [metric.label for metric in metrics]
    return alignment_matrices(prepared, metrics=names, neighbors=neighbors).matrices


def _singles(rows: Rows, metrics: Sequence[MetricChoice]) -> dict[str, float]:
    values = {}
    for metric in metrics:
        try:
            if metric.variant is None and metric.k is None:
                values[metric.label] = float(get_metric(metric.name).function(rows))
            else:
                neighbors = {} if metric.k is None else {metric.label: metric.k}
                matrices = alignment_matrices({"x": rows}, metrics=[metric.label], neighbors=neighbors)
                values[metric.label] = float(matrices[metric.label][0])
        except ValueError:  # too few distinct distances: undefined here, not a failure of the target
            values[metric.label] = float("nan")
    return values
