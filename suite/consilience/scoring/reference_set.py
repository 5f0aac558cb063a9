"""The panel: the references of a data set, prepared once, against which every target is scored."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
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
    draw_halves,
    draw_permutations,
    draws_around,
    get_metric,
    list_metrics,
    parts_of,
    subsample_scores,
)
from consilience.metrics import Interval as ScoreInterval
from consilience.metrics.matrices import MAX_DENSE_ITEMS
from consilience.metrics.parallel import run
from consilience.records.record import PRESETS, Interval, PairScore, PresetName, PresetScore, Twin
from consilience.records.spec import SpecSettings

from .energy import energy_error, probe
from .pairs import other_pair_metrics, prepare_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding
    from consilience.registry import Target

    Rows = NDArray[np.float64]


class Prepared:
    """One embedding in one preset, with what each metric keeps of it, made when first needed."""

    def __init__(self, rows: Rows, k: int) -> None:
        self.rows = rows
        self.k = k
        self._states: dict[str, Any] = {}

    @cached_property
    def kernel(self) -> NeighborKernel:
        """Neighbour lists of CKNNA."""
        return NeighborKernel(self.rows, self.k)

    def state(self, metric: str) -> Any:
        """What `metric` keeps of the embedding."""
        if metric not in self._states:
            parts = parts_of(metric)
            self._states[metric] = parts.describe(self.rows, parts.neighbors)
        return self._states[metric]

    @cached_property
    def singles(self) -> dict[str, float]:
        """Metrics of the embedding alone."""
        return _singles(self.rows)

    def complete(self, halves: NDArray[np.intp], *, singles: bool) -> None:
        """Make whatever scoring will ask for."""
        self.kernel.subsampled(halves)
        _ = self.singles if singles else None
        if len(self.rows) <= MAX_DENSE_ITEMS:
            for metric in other_pair_metrics():
                self.state(metric)


class Panel:
    """References of one data set and everything drawn once for it (relabellings, halves, controls).

    Parameters
    ----------
    items
        The data set.
    settings
        Parameters of the board.
    references
        Target and embedding of each reference.
    strata
        Column of the items within whose groups relabellings shuffle; all items by default.
    """

    def __init__(
        self,
        items: Items,
        settings: SpecSettings,
        references: Mapping[str, tuple[Target, Embedding]],
        strata: str | None = None,
    ) -> None:
        self.items = items
        self.settings = settings
        self.strata = strata
        self.references = dict(references)
        self._common = np.ones(len(items), dtype=bool)
        for _, embedding in self.references.values():
            self._common &= embedding.embedded
        self._prepared: dict[tuple[str, PresetName], Prepared] = {}
        self._restricted: dict[bytes, Panel] = {}

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
            The target and its embedding of the panel's items.
        twin
            Embedding of its untrained twin.

        Returns
        -------
        dict
            Fields of a :class:`~consilience.records.record.Record`: ``scores``, ``singles``, ``twin``, ``energy``,
            ``probe``.
        """
        usable = embedding.embedded & self._common
        if twin is not None:
            usable &= twin.embedded
        if not usable.all():
            return self._restrict(usable).score(target, embedding.take(usable), twin and twin.take(usable))
        _ = self._halves  # drawn once, before threads ask for it
        features = embedding.features
        prepared = {preset: self._prepare(features, preset) for preset in PRESETS}
        others = [self._reference(name, preset) for name in self._outside(target) for preset in PRESETS]
        # Each is on its own: as many at a time as there are cores.
        tasks = [(one, True) for one in prepared.values()] + [(one, False) for one in others]
        run(lambda task, _: task[0].complete(self._halves, singles=task[1]), tasks)
        scores = {preset: self._against_references(target, prepared[preset], preset) for preset in PRESETS}
        return {
            "scores": scores,
            "singles": {preset: prepared[preset].singles for preset in PRESETS},
            "twin": {} if twin is None else {p: self._against_twin(prepared[p], twin, p) for p in PRESETS},
            "energy": self._energy(embedding) if target.trained else None,  # a twin only echoes fitted atom energies
            "probe": self._probe(features),
        }

    def _against_references(self, target: Target, prepared: Prepared, preset: PresetName) -> PresetScore:
        pairs: dict[str, PairScore] = {}
        calibrations: list[Calibration] = []
        draws: list[Rows] = []
        others = {name: self._reference(name, preset) for name in self._outside(target)}
        metrics = _other_metrics(prepared, others)
        for name, other in others.items():
            calibration = self._calibrate(prepared, other)
            calibrations.append(calibration)
            halves = subsample_scores(prepared.kernel, other.kernel, self._halves)
            draws.append(_scale(draws_around(calibration.score, halves), calibration))
            pairs[name] = PairScore(
                cknna=calibration.score,
                null_mean=calibration.null_mean,
                null_quantile=calibration.null_quantile,
                p_value=calibration.p_value,
                calibrated=calibration.calibrated,
                metrics=metrics[name],
            )
        alignment = Interval(value=None)
        kept: list[float | None] = []
        if pairs:
            value = float(np.mean([calibration.calibrated for calibration in calibrations]))
            # The mean over references keeps its joint distribution: the halves are the same for all of them. The
            # interval is around the mean before anything is cut off at 0; its ends are cut off afterwards.
            centre = float(np.mean([_scale(np.array([c.score]), c)[0] for c in calibrations]))
            spread = ScoreInterval.from_draws(centre, np.mean(draws, axis=0))
            alignment = Interval(value=value)
            if np.isfinite([spread.low, spread.high, value]).all():
                alignment = Interval(value=value, low=max(0.0, min(spread.low, value)), high=max(spread.high, value))
            # Draws are cut off reference by reference, as the value is: they are what ranks are drawn from.
            kept = [float(mean) for mean in np.mean(np.maximum(draws, 0), axis=0)]
        names = sorted({name for pair in pairs.values() for name in pair.metrics})
        return PresetScore(
            alignment=alignment,
            cknna=_mean([pair.cknna for pair in pairs.values()]),
            metrics={name: _mean([pair.metrics.get(name) for pair in pairs.values()]) for name in names},
            pairs=pairs,
            draws=kept,
            self_alignment=cknna_from(prepared.kernel, prepared.kernel),
        )

    def _outside(self, target: Target) -> list[str]:
        """Names of the references outside the target's own family."""
        return [name for name, (other, _) in self.references.items() if other.card.family != target.card.family]

    def _against_twin(self, prepared: Prepared, twin: Embedding, preset: PresetName) -> Twin:
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
        return calibrate_from(a.kernel, b.kernel, permutations=self._relabellings, alpha=self.settings.alpha)

    def _reference(self, name: str, preset: PresetName) -> Prepared:
        if (name, preset) not in self._prepared:
            self._prepared[name, preset] = self._prepare(self.references[name][1].features, preset)
        return self._prepared[name, preset]

    def _prepare(self, features: NDArray[np.float32], preset: PresetName) -> Prepared:
        return Prepared(prepare_in(preset, features, self.items), self.settings.k)

    def _restrict(self, usable: NDArray[np.bool_]) -> Panel:
        """Return the panel of the items that this target, too, could embed."""
        key = usable.tobytes()
        if key not in self._restricted:
            references = {name: (target, e.take(usable)) for name, (target, e) in self.references.items()}
            self._restricted = {key: Panel(self.items.select(usable), self.settings, references, self.strata)}
        return self._restricted[key]

    @cached_property
    def _relabellings(self) -> NDArray[np.intp]:
        strata = None if self.strata is None else self.items.strata(self.strata)
        settings = self.settings
        return draw_permutations(len(self.items), settings.permutations, seed=settings.seed, strata=strata)

    @cached_property
    def _halves(self) -> NDArray[np.intp]:
        return draw_halves(len(self.items), self.settings.subsamples // 2, seed=self.settings.seed)


def _scale(scores: Rows, calibration: Calibration) -> Rows:
    """Put CKNNA values on the calibrated scale of a pair, not cut off at 0 as calibrated scores are."""
    room = 1 - calibration.null_quantile
    return (scores - calibration.null_quantile) / room if room > 0 else np.zeros_like(scores)


def _other_metrics(prepared: Prepared, others: Mapping[str, Prepared]) -> dict[str, dict[str, float | None]]:
    """The metrics against each of the others; a directed one gives two figures, to and from the reference."""
    found: dict[str, dict[str, float | None]] = {name: {} for name in others}
    names = other_pair_metrics()
    with warnings.catch_warnings():
        # A control such as size leaves some metrics undefined; the record says so with a null.
        warnings.simplefilter("ignore", DegenerateInputWarning)
        # Beyond some thousand items no (n, n) matrix is held: one pass over tiles serves all of them.
        large = len(prepared.rows) > MAX_DENSE_ITEMS and len(others) > 0
        rows = [prepared.rows, *(other.rows for other in others.values())] if large else []
        tiled = alignment_matrices({str(i): one for i, one in enumerate(rows)}, metrics=names) if large else None
        for number, (other, values) in enumerate(zip(others.values(), found.values(), strict=True), start=1):
            for name in names:
                value: Any
                if tiled is None:
                    value = parts_of(name).score(prepared.state(name), other.state(name))
                elif get_metric(name).card.symmetric:
                    value = tiled[name][0, number]
                else:
                    value = tiled[name][0, number], tiled[name][number, 0]
                if isinstance(value, tuple):
                    values[f"{name}_to"], values[f"{name}_from"] = (float(part) for part in value)
                else:
                    values[name] = float(value)
    return found


def _singles(rows: Rows) -> dict[str, float]:
    found = {}
    for name, entry in list_metrics().items():
        if entry.card.inputs == "single":
            try:
                found[name] = float(entry.function(rows))
            except ValueError:  # too few distinct distances: undefined here, not a failure of the target
                found[name] = float("nan")
    return found


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None
