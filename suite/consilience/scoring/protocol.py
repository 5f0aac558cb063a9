"""The protocol of a board: what its spec names, looked up among what the suite offers, and the key of its scores.

The registry offers presets, metrics, controls, interval methods; a board measures what its spec names, in the
versions that it names. One more metric file, ours or a plug-in's, changes no published board.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from consilience.metrics import get_metric
from consilience.records.spec import Choice, MetricChoice, Spec
from consilience.registry import UnknownNameError

from . import alignment, energy
from .alignment import CalibrationMethod, IntervalMethod, get_calibration, get_interval_method
from .presets import Preset, controls_sha256, get_controls, get_preset

if TYPE_CHECKING:
    from consilience.datasets.items import Items

#: Packages whose version may move a score.
NUMERICAL_PACKAGES = ("numpy", "scipy", "numba", "scikit-learn", "torch")


@dataclass(frozen=True)
class Protocol:
    """What a board measures, every name looked up.

    Attributes
    ----------
    spec
        The board's spec.
    presets
        In the order of the board.
    pair_metrics
        Metrics of two embeddings but CKNNA, which is calibrated.
    single_metrics
        Metrics of one embedding.
    interval
        Interval method of alignments.
    calibration
        Scale of alignments.
    """

    spec: Spec
    presets: tuple[Preset, ...]
    pair_metrics: tuple[MetricChoice, ...]
    single_metrics: tuple[MetricChoice, ...]
    interval: IntervalMethod
    calibration: CalibrationMethod
    _controls: dict[tuple[str, str], str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, spec: Spec) -> Protocol:
        """Look up what a spec names.

        Raises
        ------
        LookupError
            The suite has nothing of one of the names.
        ValueError
            It has another version than the spec names.
        """
        measured = spec.measured
        presets = tuple(_preset(spec, choice) for choice in measured.presets)
        interval = get_interval_method(measured.interval.name)
        _require(spec, "interval", measured.interval.name, measured.interval.version, interval.version)
        calibration = get_calibration(measured.calibration.name)
        _require(spec, "calibration", measured.calibration.name, measured.calibration.version, calibration.version)
        kinds: dict[str, list[MetricChoice]] = {"pair": [], "single": []}
        for metric in measured.metrics:
            card = get_metric(metric.name).card
            _require(spec, "metric", metric.name, metric.version, card.version)
            if metric.label != "cknna":
                kinds[card.inputs].append(metric)
        return cls(spec, presets, tuple(kinds["pair"]), tuple(kinds["single"]), interval, calibration)

    def of_dataset(self, dataset: str) -> Protocol:
        """Return this protocol with the settings of one data set."""
        return replace(self, spec=self.spec.of_dataset(dataset))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the presets."""
        return tuple(preset.name for preset in self.presets)

    def preset(self, name: str) -> Preset:
        """Return one of the presets, in the version that the board measures."""
        return next(preset for preset in self.presets if preset.name == name)

    @property
    def ranked(self) -> str:
        """Preset that the board ranks by."""
        return self.spec.ranked

    @property
    def metric_versions(self) -> dict[str, int]:
        """Version of every metric that is measured, as records state them."""
        return {metric.label: metric.version for metric in self.spec.measured.metrics}

    @property
    def preset_versions(self) -> dict[str, int]:
        """Version of every preset, as records state them."""
        return {preset.name: preset.version for preset in self.presets}

    def controls_of(self, items: Items) -> dict[str, str]:
        """SHA-256 of the matrix of each set of controls for these items."""
        names = dict.fromkeys(preset.controls for preset in self.presets if preset.controls is not None)
        for name in names:
            if (name, items.items_sha256) not in self._controls:
                self._controls[name, items.items_sha256] = controls_sha256(name, items)
        return {name: self._controls[name, items.items_sha256] for name in names}

    def key(self, items: Items, strata: str | None, inputs: Mapping[str, Any]) -> str:
        """Key of a cached score: equal only where everything that decides it is.

        Parameters
        ----------
        items
            The scored items.
        strata
            Column within whose groups the null shuffles.
        inputs
            Keys of the embeddings, and whatever else the score was made from.
        """
        groups = None if strata is None else [str(label) for label in items.strata(strata).tolist()]
        parts = {
            "board": self.spec.board,
            "settings": self.spec.settings.model_dump(),
            "measurement": self.spec.measured.model_dump(),
            "controls": self.controls_of(items),
            "controls_versions": {name: get_controls(name).version for name in self.controls_of(items)},
            "versions": {"alignment": alignment.VERSION, "energy": energy.VERSION, "probe": energy.PROBE_VERSION},
            "packages": {name: _version(name) for name in NUMERICAL_PACKAGES},
            "strata": [strata, groups],
            "inputs": dict(inputs),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _preset(spec: Spec, choice: Choice) -> Preset:
    _ = get_preset(choice.name)  # an unknown name is told with near ones
    try:
        return get_preset(choice.name, choice.version)
    except UnknownNameError as error:
        raise ValueError(f"board {spec.board} measures {error.args[0]}") from error


def _require(spec: Spec, what: str, name: str, named: int, offered: int) -> None:
    if named != offered:
        raise ValueError(f"board {spec.board} measures {what} {name} in version {named}, this suite has {offered}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
