import numpy as np
import pytest

from consilience.metrics import (
    DegenerateInputWarning,
    Interval,
    NeighborKernel,
    cknna,
    draw_subsets,
    interval,
    interval_from,
    mutual_knn,
    subsample_scores,
)


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("depth", [10, 199])
def test_subsets_score_as_if_computed_alone(larger_pair, fraction, depth):
    x, y = larger_pair
    subsets = draw_subsets(200, 8, fraction=fraction, seed=2)
    found = subsample_scores(NeighborKernel(x, 10, depth), NeighborKernel(y, 10, depth), subsets)
    expected = [cknna(x[rows], y[rows], k=round(10 * fraction)) for rows in subsets]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_beyond_the_table(larger_pair, monkeypatch):
    x, y = larger_pair
    expected = interval(x, y, k=10, subsamples=10)
    monkeypatch.setattr("consilience.metrics.neighbor_kernel.LARGEST_TABLE", 0)
    assert interval(x, y, k=10, subsamples=10) == expected


def test_interval_is_around_the_whole(larger_pair):
    x, y = larger_pair
    found = interval(x, y, k=10)
    assert found.score == cknna(x, y, k=10)
    assert found.low < found.score < found.high
    deviation = found.subsamples - found.subsamples.mean()
    assert found.high - found.low == pytest.approx(np.diff(np.quantile(deviation, [0.025, 0.975]))[0])
    narrower = interval(x, y, k=10, level=0.5)
    assert found.low < narrower.low < narrower.high < found.high


def test_interval_covers_other_draws():
    random = np.random.default_rng(0)
    maps = [random.normal(size=(4, 12)) for _ in range(2)]

    def draw():
        hidden = random.normal(size=(200, 4))
        return [np.tanh(hidden @ m) + 0.2 * random.normal(size=(200, 12)) for m in maps]

    truth = np.mean([cknna(*draw(), k=10) for _ in range(40)])
    intervals = [interval(*draw(), k=10, subsamples=40) for _ in range(20)]
    assert sum(i.low <= truth <= i.high for i in intervals) >= 18


def test_other_metrics_are_recomputed(pair):
    x, y = pair
    found = interval(x, y, metric="mutual_knn", subsamples=4, seed=1)
    rows = draw_subsets(60, 4, seed=1)[0]
    assert found.subsamples[0] == mutual_knn(x[rows], y[rows], k=5)
    directed = interval(x, y, metric="information_imbalance", subsamples=4)
    assert directed.low < directed.score < directed.high


def test_mean_over_pairs_keeps_its_joint_distribution(larger_pair):
    x, y = larger_pair
    subsets = draw_subsets(200, 50)
    a, b, c = NeighborKernel(x, 10), NeighborKernel(y, 10), NeighborKernel(y[:, :5], 10)
    first, second = interval_from(a, b, subsets=subsets), interval_from(a, c, subsets=subsets)
    joint = Interval.from_subsamples(
        (first.score + second.score) / 2, (first.subsamples + second.subsamples) / 2, fraction=0.5
    )
    assert joint.low < joint.score < joint.high
    assert a.subsampled(subsets) is a.subsampled(subsets)


def test_subsets():
    subsets = draw_subsets(30, 20, fraction=0.4, seed=3)
    assert subsets.shape == (20, 12)
    assert all(len(set(rows)) == 12 for rows in subsets.tolist())
    assert (subsets == draw_subsets(30, 20, fraction=0.4, seed=3)).all()


def test_degenerate(pair):
    x, _ = pair
    flat = np.ones((60, 2))
    with pytest.warns(DegenerateInputWarning):
        assert np.isnan(interval(x, flat, k=5).low)
    with pytest.warns(DegenerateInputWarning):
        assert np.isnan(interval_from(NeighborKernel(x), NeighborKernel(flat), subsets=draw_subsets(60)).high)


def test_errors(pair):
    x, y = pair
    with pytest.raises(ValueError, match="fraction: expected 0 < fraction < 1, found 1"):
        interval(x, y, fraction=1)
    with pytest.raises(ValueError, match=r"fraction: 0\.01 of 60 items are 1"):
        interval(x, y, fraction=0.01)
    with pytest.raises(ValueError, match="level: expected 0 < level < 1, found 95"):
        interval(x, y, level=95)
    with pytest.raises(ValueError, match="subsamples: expected at least 1"):
        interval(x, y, subsamples=0)
    a, b = NeighborKernel(x), NeighborKernel(y)
    with pytest.raises(ValueError, match=r"subsets: expected shape \(number, fewer than 60\), found \(3, 80\)"):
        interval_from(a, b, subsets=draw_subsets(160, 3))
