from __future__ import annotations

import numpy as np
import pytest

from consilience.scoring.energy import energy_error, probe, ridge_out_of_fold


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_reference_energies_of_elements_do_not_count(rng: np.random.Generator) -> None:
    counts = rng.integers(1, 9, (200, 4)).astype(float)
    interaction = rng.normal(size=200)
    true = counts @ [-10.0, -1000.0, -13.6, 5.0] + 7 + interaction
    predicted = counts @ [3.0, 0.0, -8.0, 2.0] - 1 + interaction
    found = energy_error(predicted, true, counts)
    assert found is not None
    assert found.mae == pytest.approx(0, abs=1e-9)
    assert found.mae_out_of_sample == pytest.approx(0, abs=1e-8)


def test_the_paper_figure_equals_a_dense_reference(rng: np.random.Generator) -> None:
    counts = rng.integers(0, 9, (80, 3)).astype(float)
    true, predicted = rng.normal(size=80) * 5, rng.normal(size=80) * 5
    design = np.column_stack([counts, np.ones(80)])
    hat = design @ np.linalg.inv(design.T @ design) @ design.T
    expected = np.abs((true - hat @ true) - (predicted - hat @ predicted)).mean()
    found = energy_error(predicted, true, counts)
    assert found is not None
    assert found.mae == pytest.approx(expected, rel=1e-9)
    assert found.mae_out_of_sample is not None
    assert found.mae_out_of_sample > expected


def test_constant_composition_leaves_a_constant_only(rng: np.random.Generator) -> None:
    counts = np.tile([7.0, 10.0, 2.0], (100, 1))
    true = rng.normal(size=100)
    found = energy_error(true + 123.0, true, counts)
    assert found is not None
    assert found.mae == pytest.approx(0, abs=1e-9)


def test_without_energies_there_is_no_error(rng: np.random.Generator) -> None:
    assert energy_error(np.full(50, np.nan), rng.normal(size=50), np.ones((50, 1))) is None


def test_a_probe_reads_what_is_there_and_nothing_from_noise(rng: np.random.Generator) -> None:
    counts = rng.integers(1, 9, (400, 3)).astype(float)
    hidden = rng.normal(size=400)
    energies = counts.sum(axis=1) * (0.5 * hidden) + counts @ [1.0, 2.0, 3.0]
    informed = np.column_stack([hidden, rng.normal(size=(400, 5))])
    good = probe(informed, energies, counts, counts)
    bad = probe(rng.normal(size=(400, 6)), energies, counts, counts)
    assert good is not None
    assert bad is not None
    assert good.mae is not None
    assert good.baseline is not None
    assert good.mae < 0.2 * good.baseline
    assert bad.mae == pytest.approx(bad.baseline, rel=0.05)


def test_composition_is_no_merit_of_the_embedding(rng: np.random.Generator) -> None:
    counts = rng.integers(1, 9, (400, 3)).astype(float)
    fractions = counts / counts.sum(axis=1, keepdims=True)
    energies = counts.sum(axis=1) * (fractions @ [1.0, 2.0, 30.0] + 0.1 * rng.normal(size=400))
    found = probe(fractions, energies, counts, fractions)
    assert found is not None
    assert found.mae == pytest.approx(found.baseline, rel=0.05)


def test_several_properties_are_predicted_as_each_alone() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 8))
    y = np.column_stack([x @ random.normal(size=8) + 0.1 * random.normal(size=120), random.normal(size=120)])
    together = ridge_out_of_fold(x, y, 0)
    assert together.shape == y.shape
    for column in range(2):
        np.testing.assert_allclose(together[:, column], ridge_out_of_fold(x, y[:, column], 0), atol=1e-12)
    nothing = ridge_out_of_fold(np.ones_like(x), y, 0)  # no column varies: the mean of the others
    assert np.isfinite(nothing).all()
    assert np.abs(nothing - y.mean(axis=0)).max() < 0.5
