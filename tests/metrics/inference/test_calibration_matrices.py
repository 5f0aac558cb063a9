import numpy as np
import pytest
from scipy.stats import false_discovery_control

from consilience.metrics import DegenerateInputWarning, calibrate, calibration_matrices, draw_permutations, list_metrics
from consilience.metrics.pairs import MAX_NULL_BYTES, check_dense

PAIR_METRICS = [name for name, entry in list_metrics().items() if entry.card.inputs == "pair"]
VARIANTS = ["cknna:platonic-rep", "distance_correlation:paper", "distance_correlation:biased"]
#: Its null is drawn over anchors; with fewer items than anchors it is the plain one.
ANCHORED = "intrinsic_dimension_correlation"


@pytest.fixture
def embeddings(pair):
    random = np.random.default_rng(8)
    return {"a": pair[0], "b": pair[1], "noise": random.normal(size=(60, 5))}


@pytest.mark.parametrize("name", PAIR_METRICS + VARIANTS)
def test_each_pair_is_calibrated_as_if_alone(embeddings, name):
    found = calibration_matrices(embeddings, metrics=[name], permutations=39, seed=1)[name]
    for i, x in enumerate(embeddings.values()):
        for j, y in enumerate(embeddings.values()):
            directed = name == "information_imbalance"
            if i == j or (i > j and not directed):
                continue
            expected = calibrate(x, y, metric=name, permutations=39, seed=1)
            assert found.score[i, j] == pytest.approx(expected.score, rel=1e-5, abs=1e-5)
            if found.permutations[i, j] < 39:  # stopped once ten relabellings were as extreme
                assert name == ANCHORED
                assert found.p_value[i, j] >= 10 / 39
                continue
            for field in ("null_mean", "null_quantile", "p_value", "calibrated"):
                value = getattr(found, field)[i, j]
                assert value == pytest.approx(getattr(expected, field), rel=1e-4, abs=1e-6), field
            if not directed:
                assert found.p_value[j, i] == found.p_value[i, j]


def test_q_values_are_benjamini_and_hochbergs(embeddings):
    found = calibration_matrices(embeddings, metrics=["cknna"], permutations=39)["cknna"]
    above = np.triu_indices(3, 1)
    np.testing.assert_allclose(found.q_value[above], false_discovery_control(found.p_value[above]))
    np.testing.assert_array_equal(found.q_value, found.q_value.T)
    assert np.isnan(found.q_value.diagonal()).all()
    directed = calibration_matrices(embeddings, metrics=["information_imbalance"], permutations=39)
    off = ~np.eye(3, dtype=bool)
    expected = false_discovery_control(directed["information_imbalance"].p_value[off])
    np.testing.assert_allclose(directed["information_imbalance"].q_value[off], expected)


def test_strata(embeddings):
    alone = calibration_matrices(embeddings, permutations=19, strata=np.arange(60))
    for name, found in alone.items():
        off = ~np.eye(3, dtype=bool)
        assert (found.p_value[off] == 1).all(), name
        assert (found.calibrated[off] == 0).all(), name
    labels = np.arange(60) % 2
    within = calibration_matrices(embeddings, metrics=["cknna"], permutations=19, strata=labels)["cknna"]
    expected = calibrate(embeddings["a"], embeddings["b"], permutations=19, strata=labels)
    assert within.null_mean[0, 1] == pytest.approx(expected.null_mean)


def test_anchors_and_early_stopping(monkeypatch):
    random = np.random.default_rng(2)
    hidden = random.normal(size=(400, 3))
    embeddings = {
        "a": hidden + 0.05 * random.normal(size=(400, 3)),
        "b": hidden @ random.normal(size=(3, 6)),
        "noise": random.normal(size=(400, 3)),
    }
    found = calibration_matrices(embeddings, metrics=[ANCHORED], permutations=99)[ANCHORED]
    assert found.p_value[0, 1] == 0.01
    assert found.permutations[0, 1] == 99
    assert found.permutations[0, 2] < 99
    assert found.p_value[0, 2] == 10 / found.permutations[0, 2]
    assert "128 of 400 items as anchors" in found.note
    # the p-value is that of the anchors' statistic: uniform under independence, whatever their number
    p_values = []
    for seed in range(30):
        draws = np.random.default_rng(seed).normal(size=(2, 200, 4))
        one = calibration_matrices({"x": draws[0], "y": draws[1]}, metrics=[ANCHORED], permutations=19, seed=seed)
        p_values.append(one[ANCHORED].p_value[0, 1])
    assert 0.3 < np.mean(p_values) < 0.7
    assert np.mean(np.array(p_values) <= 0.25) < 0.5


def test_degenerate_embeddings_leave_the_others_alone(embeddings):
    with pytest.warns(DegenerateInputWarning, match=r"embeddings\['flat'\]"):
        found = calibration_matrices(embeddings | {"flat": np.ones((60, 2))}, metrics=["cknna"], permutations=9)
    without = calibration_matrices(embeddings, metrics=["cknna"], permutations=9)["cknna"]
    np.testing.assert_array_equal(found["cknna"].p_value[:3, :3], without.p_value)
    assert np.isnan(found["cknna"].p_value[3]).all()
    with pytest.warns(DegenerateInputWarning):
        only = calibration_matrices({"flat": np.ones((60, 2)), "a": embeddings["a"]}, permutations=9)
    assert all(np.isnan(one.p_value).all() for one in only.values())


def test_threads_and_progress_change_nothing(embeddings):
    stages = {}
    one = calibration_matrices(embeddings, permutations=9, threads=1)
    two = calibration_matrices(
        embeddings, permutations=9, threads=2, progress=lambda stage, done, total: stages.update({stage: (done, total)})
    )
    for name in one:
        np.testing.assert_allclose(one[name].null_mean, two[name].null_mean, rtol=1e-12)
    assert stages["null of CKNNA"] == (9, 9)
    assert draw_permutations(60, 9, seed=0).shape == (9, 60)


def test_a_null_that_does_not_fit_is_refused():
    check_dense("CKA", MAX_NULL_BYTES)
    with pytest.raises(ValueError, match=r"the null of CKA keeps .* 9 GiB here and 8 at most"):
        check_dense("CKA", 9 * 2**30)
