"""What a board measures: named, versioned, and the key of its cached scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.datasets.items import Items, open_dataset
from consilience.records.spec import MEASUREMENT_1, Choice, MetricChoice, Spec, read_spec
from consilience.registry import UnknownNameError
from consilience.scoring import alignment, energy, presets
from consilience.scoring.alignment import Halves, PairAlignment, mean_alignment
from consilience.scoring.presets import Controls, Preset, controls_sha256, get_controls, get_preset, prepare_in
from consilience.scoring.protocol import Protocol

from ..boards import V1_SPEC  # noqa: TID252

PINNED = Path(__file__).with_name("pinned.json")
SPEC = read_spec(V1_SPEC)


@pytest.fixture(scope="module")
def items() -> Items:
    return open_dataset("qm9-1k").head(60)


def rows_of(n: int, d: int) -> np.ndarray:
    """(n, d) numbers that depend on no random generator."""
    i, j = np.arange(1, n + 1)[:, None], np.arange(1, d + 1)[None]
    return np.sin(i * j * 0.7) + 0.3 * np.cos(i * 1.3 + j)


def measured(items: Items) -> dict[str, Any]:
    """Each preset, set of controls and estimator on fixed arrays, with the version of its definition."""
    features = rows_of(60, 7).astype(np.float32)
    values: dict[str, Any] = {}
    spoilt = features.copy()
    spoilt[3] = 1e4  # dominant
    for (name, version), preset in sorted(presets._presets.items()):
        rows = prepare_in(preset, features if version == 1 else spoilt, items)
        label = f"preset {name}" + (f" {version}" if version > 1 else "")
        values[label] = [version, *rows[[0, 17, 59]].ravel().tolist()]
    matrix = get_controls("composition").matrix(items)
    values["controls composition"] = [get_controls("composition").version, *matrix.sum(axis=0).tolist()]
    pairs = [
        PairAlignment.of(0.3, 0.34, 0.05, 0.3 + 0.1 * rows_of(1, 20)[0]),
        PairAlignment.of(0, 0.01, 0.05, rows_of(1, 20)[0] / 9),
    ]
    mean = mean_alignment(pairs, Halves())
    numbers = [mean.value, mean.low, mean.high, mean.centre, mean.deviation, *mean.draws[:3], *mean.uncut_draws[:3]]
    values["alignment"] = [alignment.VERSION, *map(float, numbers)]
    counts, _ = items.composition()
    true = counts.sum(axis=1) * -3.0 + rows_of(60, 1)[:, 0]
    error = energy.energy_error(true + 0.1 * rows_of(60, 2)[:, 1], true, counts)
    values["energy"] = [energy.VERSION, error.mae, error.mae_out_of_sample, error.mae_per_atom]
    probe = energy.probe(features.astype(np.float64), true, counts, matrix)
    values["probe"] = [energy.PROBE_VERSION, probe.mae, probe.baseline]
    return values


def test_no_definition_moves_without_its_version(items: Items) -> None:
    """A refactoring keeps all numbers; a changed definition raises its version, which voids cached scores."""
    pinned, now = json.loads(PINNED.read_text()), measured(items)
    assert sorted(pinned) == sorted(now)
    for name, (version, *numbers) in now.items():
        if version == pinned[name][0]:
            message = f"{name}: its numbers moved, its version did not; raise it and pin them anew"
            assert numbers == pytest.approx(pinned[name][1:], rel=1e-7, abs=1e-9), message


def test_a_board_measures_what_its_spec_names_and_nothing_else() -> None:
    protocol = Protocol.of(SPEC)
    assert protocol.names == ("paper", "standardized", "beyond_composition")
    assert list(protocol.metric_versions) == [metric.name for metric in MEASUREMENT_1.metrics]
    assert "cknna" not in [metric.label for metric in protocol.pair_metrics]
    fewer = MEASUREMENT_1.model_copy(update={"metrics": (MetricChoice(name="cknna"), MetricChoice(name="cka"))})
    newer = SPEC.model_copy(update={"schema_version": 2, "measurement": fewer})
    assert [metric.label for metric in Protocol.of(newer).pair_metrics] == ["cka"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"presets": (Choice(name="paper", version=2),), "ranked": "paper", "metrics_of_pairs": ()},
         "board v1 measures preset paper in version 2, this suite has 1"),
        ({"metrics": (MetricChoice(name="cknna", version=3),)},
         "board v1 measures metric cknna in version 3, this suite has 1"),
        ({"interval": Choice(name="halvs")}, "no interval method is named 'halvs'; there are: halves"),
        ({"calibration": Choice(name="threshold", version=9)}, "measures calibration threshold in version 9"),
        ({"presets": (Choice(name="papr"),), "ranked": "papr", "metrics_of_pairs": ()}, "did you mean paper"),
    ],
)  # fmt: skip
def test_what_the_suite_does_not_have_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    spec = SPEC.model_copy(update={"schema_version": 2, "measurement": MEASUREMENT_1.model_copy(update=change)})
    with pytest.raises((LookupError, ValueError), match=message) as caught:
        Protocol.of(spec)
    assert "\n" not in str(caught.value.args[0])


def test_a_changed_definition_of_the_controls_makes_all_scores_anew(
    items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, digest = Protocol.of(SPEC).key(items, None, {"target": "x"}), controls_sha256("composition", items)
    assert Protocol.of(SPEC).key(items, None, {"target": "x"}) == before
    original = Items.controls
    monkeypatch.setattr(Items, "controls", lambda self: original(self)[:, :-1])
    other = open_dataset("qm9-1k").head(60)
    assert controls_sha256("composition", other) != digest
    assert Protocol.of(SPEC).key(other, None, {"target": "x"}) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.model_copy(update={"settings": spec.settings.model_copy(update={"k": 12})}),
        lambda spec: spec.with_metrics([MetricChoice(name="mutual_knn", k=5, variant=None)]).model_copy(
            update={"schema_version": 2, "measurement": MEASUREMENT_1.model_copy(update={"metrics_of_pairs": ()})}
        ),
    ],
)
def test_another_measurement_is_another_key(items: Items, change: Callable[[Spec], Spec]) -> None:
    assert Protocol.of(SPEC).key(items, None, {}) != Protocol.of(change(SPEC)).key(items, None, {})


def test_other_embeddings_and_other_packages_are_another_key(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {Protocol.of(SPEC).key(items, strata, {"target": name}) for name in "ab" for strata in (None, "formula")}
    assert len(keys) == 4
    before = Protocol.of(SPEC).key(items, None, {})
    monkeypatch.setattr("consilience.scoring.protocol.version", lambda package: "0.0")
    assert Protocol.of(SPEC).key(items, None, {}) != before


def test_a_plug_in_offers_presets_and_controls(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_presets", dict(presets._presets))
    monkeypatch.setattr(presets, "_controls", dict(presets._controls))
    sizes = Controls("number-of-atoms", 1, lambda items: items.composition()[0].sum(axis=1, keepdims=True))
    presets.register_controls(sizes)
    presets.register_preset(Preset("beyond_size", "beyond size", "standardized", controls="number-of-atoms"))
    measured = MEASUREMENT_1.model_copy(update={"presets": (*MEASUREMENT_1.presets, Choice(name="beyond_size"))})
    protocol = Protocol.of(SPEC.model_copy(update={"schema_version": 2, "measurement": measured}))
    assert protocol.names[-1] == "beyond_size"
    assert set(protocol.controls_of(items)) == {"composition", "number-of-atoms"}
    with pytest.raises(ValueError, match="registered twice in version 1"):
        presets.register_preset(Preset("paper", "another", "raw"))
    presets.register_preset(Preset("paper", "another", "raw", version=2))
    assert Protocol.of(SPEC).names == presets.PRESETS, "one more preset changes no board"


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="no preset is named 'papr'; did you mean paper"):
        get_preset("papr")
