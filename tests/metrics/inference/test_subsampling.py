from itertools import combinations

import numpy as np
import pytest

from consilience.metrics import (
    DegenerateInputWarning,
    Interval,
    NeighborKernel,
    cknna,
    draw_halves,
    information_imbalance,
    interval,
    interval_from,
    intrinsic_dimension_correlation,
    mutual_knn,
    prepare,
    subsample_scores,
)
from consilience.metrics.inference.subsampling import draws_around

METRICS = {"cknna": cknna, "mutual_knn": mutual_knn}


def any_subsets(n, count, size, seed=2):
    """Subsets that are no halves."""
    random = np.random.default_rng(seed)
    return np.stack([np.sort(random.permutation(n)[:size]) for _ in range(count)])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("depth", [10, 199])
def test_subsets_score_as_if_computed_alone(larger_pair, fraction, depth, metric):
    x, y = larger_pair
    subsets = any_subsets(200, 8, round(200 * fraction))
    found = subsample_scores(NeighborKernel(x, 10, depth), NeighborKernel(y, 10, depth), subsets, metric=metric)
    expected = [METRICS[metric](x[rows], y[rows], k=round(10 * fraction)) for rows in subsets]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_beyond_the_table(larger_pair, monkeypatch, metric):
    x, y = larger_pair
    expected = interval(x, y, metric=metric, k=10, subsamples=10)
    monkeypatch.setattr("consilience.metrics._engine.neighbor_kernel.MAX_TABLE_ITEMS", 0)
    assert interval(x, y, metric=metric, k=10, subsamples=10) == expected


def test_interval_is_around_the_whole(larger_pair):
    x, y = larger_pair
    found = interval(x, y, k=10)
    assert found.score == cknna(x, y, k=10)
    assert found.low < found.score < found.high
    assert found.score - found.low == pytest.approx(found.high - found.score)
    narrower = interval(x, y, k=10, level=0.5)
    assert found.low < narrower.low < narrower.high < found.high
    assert narrower.high - narrower.low == pytest.approx(2 * 0.6744897501960817 * found.deviation)


@pytest.mark.parametrize("name", ["cknna", "mutual_knn", "information_imbalance", "intrinsic_dimension_correlation"])
def test_the_formula(larger_pair, name):
    """Halves scored one by one with the public functions, the mean square written out."""
    score = {
        "cknna": lambda x, y, k: cknna(x, y, k=k),
        "mutual_knn": lambda x, y, k: mutual_knn(x, y, k=k),
        "information_imbalance": lambda x, y, k: information_imbalance(x, y, k=k)[0],
        "intrinsic_dimension_correlation": lambda x, y, k: intrinsic_dimension_correlation(x, y),
    }[name]
    x, y = larger_pair
    k = None if name.startswith("intrinsic") else 10
    found = interval(x, y, metric=name, k=k, subsamples=12, seed=4)
    halves = draw_halves(200, 6, seed=4)
    total, draws, scores = 0.0, [], []
    for p in range(6):
        first, second = (score(x[halves[2 * p + side]], y[halves[2 * p + side]], 5) for side in (0, 1))
        total += (first - second) ** 2 / 4
        draws += [found.score + (first - second) / 2, found.score + (second - first) / 2]
        scores += [first, second]
    deviation = np.sqrt(total / 6)
    if name.startswith("intrinsic"):
        deviation, draws = np.std(scores), found.score + np.array(scores) - np.mean(scores)
    assert found.score == pytest.approx(score(x, y, k))
    assert found.deviation == pytest.approx(deviation)
    assert found.low == pytest.approx(found.score - 1.959963984540054 * deviation)
    assert found.high == pytest.approx(found.score + 1.959963984540054 * deviation)
    np.testing.assert_allclose(found.draws, draws, rtol=1e-9)


def test_the_deviation_of_a_mean_is_its_standard_error():
    """Over all splits of 8 numbers, the rule is exact for a statistic that is a mean."""
    values = np.random.default_rng(0).normal(size=8)
    splits = [(rows, sorted(set(range(8)) - set(rows))) for rows in combinations(range(8), 4) if 0 in rows]
    halves = np.array([values[rows].mean() for split in splits for rows in map(list, split)])
    found = Interval.from_draws(values.mean(), draws_around(values.mean(), halves))
    assert found.deviation == pytest.approx(values.std(ddof=1) / np.sqrt(8))


@pytest.mark.parametrize("metric", METRICS)
def test_interval_covers_other_draws(metric):
    """Neither too narrow nor, as the spread of all halves would be, far too wide."""
    random = np.random.default_rng(1)
    maps = [random.normal(size=(4, 12)) for _ in range(2)]

    def draw():
        hidden = random.normal(size=(200, 4))
        return [prepare(np.tanh(hidden @ m) + 0.5 * random.normal(size=(200, 12))) for m in maps]

    intervals = [interval(*draw(), metric=metric, k=10, subsamples=40) for _ in range(60)]
    scores = [one.score for one in intervals] + [METRICS[metric](*draw(), k=10) for _ in range(140)]
    truth = np.mean(scores)
    assert sum(one.low <= truth <= one.high for one in intervals) >= 55
    assert 0.85 < np.mean([one.deviation for one in intervals]) / np.std(scores) < 1.45


def test_other_metrics_are_recomputed(pair):
    x, y = pair
    found = interval(x, y, metric="cka", subsamples=4, seed=1)
    assert found.low < found.score < found.high
    directed = interval(x, y, metric="information_imbalance", subsamples=4)
    assert directed.low < directed.score < directed.high


def test_mean_over_pairs_keeps_its_joint_distribution(larger_pair):
    x, y = larger_pair
    halves = draw_halves(200, 25)
    a, b, c = NeighborKernel(x, 10), NeighborKernel(y, 10), NeighborKernel(y[:, :5], 10)
    first, second = interval_from(a, b, halves=halves), interval_from(a, c, halves=halves)
    joint = Interval.from_draws((first.score + second.score) / 2, (first.draws + second.draws) / 2)
    assert joint.low < joint.score < joint.high
    # as if the mean of both had been the metric from the start
    means = (subsample_scores(a, b, halves) + subsample_scores(a, c, halves)) / 2
    np.testing.assert_allclose(joint.draws, draws_around(joint.score, means), rtol=1e-12)
    covariance = np.mean((first.draws - first.score) * (second.draws - second.score))
    assert joint.deviation**2 == pytest.approx((first.deviation**2 + second.deviation**2 + 2 * covariance) / 4)
    assert covariance > 0.1 * first.deviation * second.deviation
    assert a.subsampled(halves) is a.subsampled(halves)


@pytest.mark.parametrize("n", [4, 30, 31])
def test_halves_are_complementary(n):
    halves = draw_halves(n, 20, seed=3)
    assert halves.shape == (40, n // 2)
    assert (np.diff(halves, axis=1) > 0).all()
    for first, second in zip(halves[::2].tolist(), halves[1::2].tolist(), strict=True):
        assert len({*first, *second} & set(range(n))) == 2 * (n // 2)
    assert (halves == draw_halves(n, 20, seed=3)).all()
    assert (halves != draw_halves(n, 20, seed=4)).any()
    assert not halves.flags.writeable


def test_an_odd_item_is_left_out_in_turn():
    halves = draw_halves(5, 200)
    counts = np.bincount(halves.ravel(), minlength=5)
    assert counts.sum() == 800
    assert (np.abs(counts - 160) < 25).all()


def test_degenerate(pair):
    x, _ = pair
    flat = np.ones((60, 2))
    with pytest.warns(DegenerateInputWarning):
        assert np.isnan(interval(x, flat, k=5).low)
    with pytest.warns(DegenerateInputWarning):
        found = interval_from(NeighborKernel(x), NeighborKernel(flat), halves=draw_halves(60))
    assert np.isnan([found.high, found.deviation, *found.draws]).all()


def test_errors(pair):
    x, y = pair
    with pytest.raises(ValueError, match="level: expected 0 < level < 1, found 95"):
        interval(x, y, level=95)
    for subsamples in (0, -2, 7):
        with pytest.raises(ValueError, match=f"subsamples: expected an even number, .* found {subsamples}"):
            interval(x, y, subsamples=subsamples)
    with pytest.raises(ValueError, match="splits: expected at least 1, found 0"):
        draw_halves(60, 0)
    with pytest.raises(ValueError, match="n: halves need at least 4 items, found 3"):
        interval(x[:3], y[:3], k=1)
    a, b = NeighborKernel(x), NeighborKernel(y)
    with pytest.raises(ValueError, match=r"halves: expected shape \(number, fewer than 60\), found \(6, 80\)"):
        interval_from(a, b, halves=draw_halves(160, 3))
    with pytest.raises(ValueError, match="halves: expected two for each split, found 3"):
        interval_from(a, b, halves=draw_halves(60, 2)[:3])
    with pytest.raises(ValueError, match=r"halves: rows 2p and 2p \+ 1 have items in common"):
        interval_from(a, b, halves=draw_halves(60, 2)[[0, 2, 1, 3]])
    with pytest.raises(ValueError, match="metric: expected one of 'cknna', 'mutual_knn', found 'cka'"):
        interval_from(a, b, halves=draw_halves(60, 2), metric="cka")
