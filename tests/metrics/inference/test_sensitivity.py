"""Sweeps over k and n, against scores computed one by one."""

import warnings

import numpy as np
import pytest

from consilience import metrics
from consilience.metrics import DegenerateInputWarning, alignment_matrices, cknna, k_sweep, mutual_knn, n_sweep
from consilience.metrics.inference import sensitivity

METRICS = {"cknna": cknna, "mutual_knn": mutual_knn}


def together(x, y, **more):
    return {"a": x, "b": y, **more}


def members(result, n, seed=0):
    """Rows of each draw at each size."""
    random = np.random.default_rng(seed)
    draws = result.values.shape[1]
    orders = [random.permutation(n) for _ in range(draws)]
    return [[np.sort(order[:size]) for order in orders] for size in result.sizes]


@pytest.fixture(params=["held", "block by block"])
def lists(request, monkeypatch):
    if request.param == "block by block":
        monkeypatch.setattr(sensitivity, "HELD_BYTES", 0)
        monkeypatch.setattr(sensitivity, "_BLOCK_BYTES", 7 * 8 * 200)
    return request.param


@pytest.mark.parametrize("metric", METRICS)
def test_each_k_as_if_alone(trap, metric, lists):
    x, y = trap
    n = len(x)
    ks = sorted({1, 2, 5, 10, n // 2, n - 1})
    found = k_sweep(together(x, y), metric=metric, ks=ks)
    expected = [METRICS[metric](x, y, k=k) for k in ks]
    np.testing.assert_allclose(found.curve("a", "b"), expected, rtol=1e-12, atol=1e-15)
    assert found.ks == tuple(ks)
    np.testing.assert_allclose(np.diagonal(found.values, axis1=1, axis2=2), 1, rtol=1e-14)
    np.testing.assert_array_equal(found.values, found.values.swapaxes(1, 2))


@pytest.mark.parametrize("metric", METRICS)
def test_each_k_against_the_definition(pair, oracle, metric):
    x, y = pair
    found = k_sweep(together(x, y), metric=metric, ks=(3, 12, 59)).curve("a", "b")
    np.testing.assert_allclose(found, [getattr(oracle, metric)(x, y, k) for k in (3, 12, 59)], rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_ties(metric, lists):
    """Integers: many equal inner products, and k in the midst of them."""
    random = np.random.default_rng(3)
    x, y = random.integers(-1, 2, size=(80, 4)), random.integers(-1, 2, size=(80, 3))
    ks = (1, 4, 9, 20, 79)
    found = k_sweep(together(x, y), metric=metric, ks=ks).curve("a", "b")
    np.testing.assert_allclose(found, [METRICS[metric](x, y, k=k) for k in ks], rtol=1e-12)
    swept = n_sweep(together(x, y), metric=metric, k=6, sizes=(20, 60), draws=4)
    for size, subsets in enumerate(members(swept, 80)):
        expected = [METRICS[metric](x[rows], y[rows], k=6) for rows in subsets]
        np.testing.assert_allclose(swept.curve("a", "b")[size], expected, rtol=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_many_items_and_models(metric):
    """Lists of the candidate search (short) and of float64 (long), all pairs, ks in any order and repeated."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(1300, 5))
    embeddings = {
        name: np.tanh(hidden @ random.normal(size=(5, d))).astype(np.float32) + 0.1 * random.normal(size=(1300, d))
        for name, d in (("a", 20), ("b", 30), ("c", 8))
    }
    for ks in ((50, 2, 25, 2), (25, 400, 1299)):
        found = k_sweep(embeddings, metric=metric, ks=ks, threads=2)
        for k, values in zip(ks, found.values, strict=True):
            if metric == "cknna":
                expected = alignment_matrices(embeddings, metrics=[metric], k=k)[metric]
            else:
                expected = alignment_matrices(embeddings, metrics=[metric], neighbors={metric: k})[metric]
            np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_chance(independent):
    x, y = independent
    found = k_sweep(together(x, y), metric="mutual_knn", ks=(10, 100, 399))
    np.testing.assert_allclose(found.chance, [10 / 399, 100 / 399, 1])
    np.testing.assert_allclose(found.curve("a", "b"), found.chance, rtol=0.3)
    swept = n_sweep(together(x, y), metric="mutual_knn", k=10, sizes=(100, 200), draws=5)
    np.testing.assert_allclose(swept.chance, [10 / 99, 10 / 199])
    np.testing.assert_allclose(swept.mean[:, 0, 1], swept.chance, rtol=0.3)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale_k", [False, True])
def test_each_subset_as_if_alone(trap, metric, scale_k, lists):
    x, y = trap
    n = len(x)
    sizes = (max(6, n // 4), n // 2, n - 1)
    found = n_sweep(together(x, y), metric=metric, k=5, sizes=sizes, draws=3, seed=1, scale_k=scale_k)
    assert found.ks == tuple(max(1, round(5 * size / n)) if scale_k else 5 for size in sizes)
    for size, subsets in enumerate(members(found, n, seed=1)):
        expected = [METRICS[metric](x[rows], y[rows], k=found.ks[size]) for rows in subsets]
        np.testing.assert_allclose(found.curve("a", "b")[size], expected, rtol=1e-10)
    assert found.whole[0, 1] == pytest.approx(METRICS[metric](x, y, k=5), rel=1e-12)
    assert found.values.shape == (3, 3, 2, 2)
    np.testing.assert_allclose(found.mean, found.values.mean(axis=1))
    np.testing.assert_allclose(found.deviation, found.values.std(axis=1, ddof=1))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("lengths", ["long enough", "short", "too long to make"])
def test_subsets_of_many_items(metric, lengths, monkeypatch):
    """From the lists of the whole; by a new search where they run short or would have to be long."""
    random = np.random.default_rng(6)
    hidden = random.normal(size=(1200, 4))
    x, y = (np.tanh(hidden @ random.normal(size=(4, d))) + 0.1 * random.normal(size=(1200, d)) for d in (12, 16))
    anew = []
    score_all = sensitivity.score_all
    monkeypatch.setattr(sensitivity, "score_all", lambda *given: anew.append(1) or score_all(*given))
    if lengths == "short":
        monkeypatch.setattr(sensitivity, "_MARGIN", 0.0)
    sizes = (60, 90) if lengths == "too long to make" else (400, 700)
    found = n_sweep(together(x, y), metric=metric, k=20, sizes=sizes, draws=2, threads=2)
    assert len(anew) == {"long enough": 0, "short": 2, "too long to make": 4}[lengths]
    for size, subsets in enumerate(members(found, 1200)):
        expected = [METRICS[metric](x[rows], y[rows], k=20) for rows in subsets]
        np.testing.assert_allclose(found.curve("a", "b")[size], expected, rtol=1e-10)


def test_subsets_are_nested_and_seeded(pair):
    x, y = pair
    swept = [n_sweep(together(x, y), k=5, sizes=(20, 40), draws=2, seed=seed).values for seed in (0, 0, 1)]
    np.testing.assert_array_equal(swept[0], swept[1])
    assert (swept[0] != swept[2]).any()


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows(pair, metric, lists):
    x, y = pair
    with pytest.warns(DegenerateInputWarning, match=r"embeddings\['c'\]"):
        found = k_sweep(together(x, y, c=np.ones((60, 3))), metric=metric, ks=(2, 10))
    assert np.isnan(found.values[:, 2]).all()
    assert np.isnan(found.values[:, :, 2]).all()
    np.testing.assert_allclose(found.curve("a", "b"), [METRICS[metric](x, y, k=k) for k in (2, 10)])
    with pytest.warns(DegenerateInputWarning, match=r"embeddings\['c'\]"):
        swept = n_sweep(together(x, y, c=np.ones((60, 3))), metric=metric, k=5, sizes=(30,), draws=2)
    assert np.isnan(swept.values[..., 2]).all()
    assert not np.isnan(swept.values[..., :2, :2]).any()
    with pytest.warns(DegenerateInputWarning):
        assert np.isnan(k_sweep({"a": np.ones((9, 2)), "b": np.ones((9, 1))}, metric=metric, ks=(2,)).values).all()


@pytest.mark.parametrize("metric", METRICS)
def test_rows_equal_within_a_subset(pair, metric, lists):
    """All of an embedding's rows but one are equal: nan exactly where that one is left out."""
    x, _ = pair
    y = np.tile([0.1, 0.7, -0.3], (60, 1))
    y[7] = 2.0
    with pytest.warns(DegenerateInputWarning, match="within a subset"):
        found = n_sweep(together(x, y), metric=metric, k=3, sizes=(10, 40), draws=6)
    absent = [[7 not in rows for rows in subsets] for subsets in members(found, 60)]
    assert np.any(absent)
    assert not np.all(absent)
    np.testing.assert_array_equal(np.isnan(found.curve("a", "b")), absent)
    for size, subsets in enumerate(members(found, 60)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateInputWarning)
            expected = [METRICS[metric](x[rows], y[rows], k=3) for rows in subsets]
        np.testing.assert_allclose(found.curve("a", "b")[size], expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ks": (2, 60)}, "ks: 60 neighbours need more than 60 rows, found 60"),
        ({"ks": (2, 0)}, "ks: expected at least 1, found 0"),
        ({"ks": (2.5,)}, "ks: expected an integer"),
        ({"ks": ()}, "ks: expected at least one"),
        ({}, "ks: 100 neighbours need more than 100 rows, found 60"),
        ({"ks": (2,), "metric": "cknna:other"}, "metric: expected one of 'cknna', 'cknna:platonic-rep', found"),
        ({"ks": (2,), "metric": "cka"}, r"metric: expected one that takes neighbours \(cknna, .*mutual_knn"),
        ({"ks": (2,), "threads": 0}, "threads: expected at least 1"),
    ],
)
def test_refused_ks(pair, options, message):
    with pytest.raises(ValueError, match=message):
        k_sweep(together(*pair), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (30, 60)}, "sizes: expected fewer than 60 items, found 60"),
        ({"sizes": (0.5,)}, "sizes: expected an integer, found 0.5"),
        ({"sizes": (0,)}, "sizes: expected at least 1, found 0"),
        ({"sizes": ()}, "sizes: expected at least one"),
        ({"sizes": (30, 25)}, "sizes: 25 neighbours need more than 25 items, found 25"),
        ({"sizes": (30, 1), "scale_k": True}, "sizes: 1 neighbours need more than 1 items, found 1"),
        ({"sizes": (30,), "k": 60}, "k: 60 neighbours"),
        ({"sizes": (30,), "draws": 1}, "draws: expected at least 2, found 1"),
        ({"sizes": (30,), "metric": "cka:other"}, "metric: expected one of"),
        ({"sizes": (30,), "metric": "cka", "k": 5}, "k: cka has no neighbours, found k=5"),
    ],
)
def test_refused_sizes(pair, options, message):
    with pytest.raises(ValueError, match=message):
        n_sweep(together(*pair), **options)


def test_metrics_without_lists_are_computed_for_each_k(pair):
    ks = (1, 4, 20)
    found = k_sweep(together(*pair), metric="information_imbalance", ks=ks)
    for place, k in enumerate(ks):
        there, back = metrics.information_imbalance(*pair, k=k)
        np.testing.assert_allclose(found.values[place, [0, 1], [1, 0]], [there, back], rtol=1e-12)
    assert np.isnan(found.chance).all()


@pytest.mark.parametrize("metric", [name for name, e in metrics.list_metrics().items() if e.card.inputs == "pair"])
def test_every_pair_metric_is_swept_over_sizes(pair, metric):
    found = n_sweep(together(*pair), metric=metric, sizes=(30, 45), draws=3, seed=5)
    np.testing.assert_allclose(
        found.whole, alignment_matrices(together(*pair), metrics=[metric], neighbors={"mutual_knn": 25})[metric]
    )
    subsets = members(found, 60, seed=5)
    for s, k in enumerate(found.ks):
        options = {} if k is None else {"k": k}
        for d, rows in enumerate(subsets[s]):
            expected = metrics.list_metrics()[metric].function(*(x[rows] for x in pair), **options)
            there = expected[0] if isinstance(expected, tuple) else expected
            assert found.values[s, d, 0, 1] == pytest.approx(there, rel=1e-5, abs=1e-8)  # tiles of float32


def test_refused_embeddings(pair):
    x, y = pair
    with pytest.raises(ValueError, match="embeddings: expected at least two, found 1"):
        k_sweep({"a": x}, ks=(2,))
    with pytest.raises(ValueError, match="expected the same items, found 60 and 59"):
        k_sweep(together(x, y[1:]), ks=(2,))
    with pytest.raises(ValueError, match=r"embeddings\['b'\]: found 60 NaN"):
        n_sweep(together(x, np.full((60, 1), np.nan)), sizes=(30,))
