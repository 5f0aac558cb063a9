import tracemalloc
from functools import partial

import numpy as np
import pytest
import scipy.linalg

from consilience.metrics import DegenerateInputWarning, cknna, prepare
from consilience.metrics._engine import columns as module
from consilience.metrics._engine.arrays import as_embedding, constant_columns, float_precision
from consilience.metrics._engine.regression import RIDGE_STRENGTHS, decompose, ridge
from consilience.metrics.preparation import examine, folds

SCHEMES = ["raw", "unit", "standardized"]


def dense(x, scheme="standardized", controls=None):
    """The same once more, on whole arrays in float64."""
    given = as_embedding(x, "x")
    if scheme == "raw":
        return given
    if scheme == "unit":
        return dense_unit(given)
    columns = dense_standardized(x)
    if controls is not None:
        predictors, prediction = dense_standardized(controls), np.empty_like(columns)
        for held_out in folds(len(columns)):
            seen = np.setdiff1d(np.arange(len(columns)), held_out)
            prediction[held_out] = dense_ridge(predictors[seen], columns[seen], predictors[held_out])
        columns = columns - prediction
    return dense_unit(columns)


def dense_unit(x):
    largest = np.abs(x).max(axis=1, keepdims=True)
    x = x / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def dense_standardized(x):
    precision, x = float_precision(x), as_embedding(x, "x")
    x = x[:, ~constant_columns(x, precision)]
    if not x.shape[1]:
        return np.zeros((len(x), 1))
    x = x - x.mean(axis=0)
    x -= x.mean(axis=0)
    x /= np.abs(x).max(axis=0)
    return x / x.std(axis=0)


def dense_ridge(predictors, responses, new):
    center, mean = predictors.mean(axis=0), responses.mean(axis=0)
    u, s, vt = np.linalg.svd(predictors - center, full_matrices=False)
    kept = s > 1e-10 * s[0]
    u, s, vt = u[:, kept], s[kept], vt[kept]
    projected = u.T @ (responses - mean)
    errors = []
    for strength in RIDGE_STRENGTHS:
        fit = u * (s**2 / (s**2 + strength))
        left = 1 - 1 / len(u) - np.sum(u * fit, axis=1)
        residual = responses - mean - fit @ projected
        errors.append(np.sum(np.square(residual / np.maximum(left, 1e-9)[:, None])))
    best = RIDGE_STRENGTHS[np.argmin(errors)]
    return mean + (new - center) @ vt.T @ ((s / (s**2 + best))[:, None] * projected)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, a partial one at the end."""
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 85)


def some_controls(n):
    random = np.random.default_rng(7)
    counts = random.poisson(2, size=(n, 4))
    return np.hstack([counts, counts.sum(axis=1, keepdims=True), np.ones((n, 1))])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_blocks_agree_with_whole_arrays(trap, scheme):
    for x in trap:
        found = prepare(x, scheme=scheme)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, dense(x, scheme), rtol=0 if scheme == "raw" else 1e-12, atol=1e-12)


@pytest.mark.usefixtures("small_blocks")
def test_blocks_agree_with_whole_arrays_beyond_controls(trap):
    for x in trap:
        controls = some_controls(len(x))
        np.testing.assert_allclose(prepare(x, controls=controls), dense(x, controls=controls), atol=1e-10)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("scheme", [*SCHEMES, "controls"])
def test_memory_maps(pair, tmp_path, dtype, order, scheme):
    x = pair[0].astype(dtype)
    x[:, 4] = 2
    given = np.memmap(tmp_path / "x", dtype, "w+", shape=x.shape, order=order)
    given[:] = x
    options = {"controls": some_controls(60)} if scheme == "controls" else {"scheme": scheme}
    expected = dense(x, **options)
    np.testing.assert_allclose(prepare(given, **options), expected, atol=1e-12)
    out = prepare(given, **options, out=partial(np.lib.format.open_memmap, tmp_path / "out.npy", "w+", np.float32))
    assert isinstance(out, np.memmap)
    out.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), prepare(given, **options).astype(np.float32))


@pytest.mark.usefixtures("small_blocks")
def test_out(pair):
    x, _ = pair
    for options in ({"scheme": "raw"}, {"scheme": "unit"}, {}, {"controls": some_controls(60)}):
        expected = prepare(x, **options)
        out = np.full((60, 24), np.nan)[:, ::2]
        assert prepare(x, **options, out=out) is out
        np.testing.assert_array_equal(out, expected)
        own = x.copy()
        assert prepare(own, **options, out=own) is own
        np.testing.assert_array_equal(own, expected)
    assert prepare(x) is not x
    assert not np.shares_memory(prepare(x, scheme="raw"), x)


@pytest.mark.usefixtures("small_blocks")
def test_offsets_and_sizes_in_single_precision(pair):
    x = pair[0].astype(np.float32)
    for moved in (x + np.float32(1e6), np.float32(1e6) * x, np.float32(1e-30) * x):
        np.testing.assert_allclose(prepare(moved), dense(moved), atol=1e-12)
        controls = moved[:, :3]
        np.testing.assert_allclose(prepare(x, controls=controls), dense(x, controls=controls), atol=1e-11)
    for scale in (1e-200, 1e55):  # squares leave the range of float64
        np.testing.assert_allclose(prepare(scale * pair[0]), dense(pair[0]), atol=1e-12)


def test_raw_and_unit(pair):
    x, _ = pair
    x[3] = 0
    np.testing.assert_array_equal(prepare(x.astype(np.float32), scheme="raw"), x.astype(np.float32))
    unit = prepare(x, scheme="unit")
    np.testing.assert_allclose(np.delete(np.linalg.norm(unit, axis=1), 3), 1)
    assert not unit[3].any()
    np.testing.assert_allclose(prepare(1e-200 * x, scheme="unit"), unit, atol=1e-14)


def test_standardized(pair):
    x, _ = pair
    expected = (x - x.mean(axis=0)) / x.std(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(prepare(x), expected, atol=1e-13)
    # units, offsets and constant columns are without effect
    scaled = x * np.logspace(-6, 6, x.shape[1]) + 100
    noise = 1e6 + 1e-10 * np.random.default_rng(0).integers(-1, 2, size=(60, 2))
    np.testing.assert_allclose(prepare(np.hstack([scaled, noise])), expected, atol=1e-7)


def test_columns_just_above_rounding_noise():
    # The mean of so many numbers is off by more than they differ.
    x = np.random.default_rng(0).normal(size=(100_000, 2))
    x[:, 1] = 1 + 6 * np.finfo(float).eps * np.sign(x[:, 1])
    np.testing.assert_allclose(prepare(x), dense(x), atol=1e-12)


def test_sparse_bits_are_kept_in_half_precision():
    bits = np.zeros((5000, 3), np.float16)
    bits[0, 0] = bits[:50, 1] = bits[::2, 2] = 1
    assert prepare(bits).shape == (5000, 3)


def test_rare_bits_are_loud_once_standardized():
    bits = np.random.default_rng(0).random((1000, 100)) < 0.2
    bits[:, 0] = np.arange(1000) < 5
    shares = {scheme: np.mean(prepare(bits, scheme=scheme)[:5, 0] ** 2) for scheme in ("unit", "standardized")}
    assert shares["unit"] == pytest.approx(0.05, abs=0.01)
    assert shares["standardized"] == pytest.approx(2 / 3, abs=0.02)


def test_loud_columns_decide_unless_standardized():
    def nearest(z):
        products = z @ z.T
        np.fill_diagonal(products, -np.inf)
        return np.argsort(-products, axis=1)[:, :10]

    def shared(a, b):
        return np.mean([len(np.intersect1d(*lists)) / 10 for lists in zip(a, b, strict=True)])

    x = np.random.default_rng(0).normal(size=(500, 64))
    x[:, :4] *= 30
    loud = nearest(prepare(x[:, :4], scheme="unit"))
    assert shared(nearest(prepare(x, scheme="unit")), loud) == pytest.approx(0.92, abs=0.02)
    assert shared(nearest(prepare(x)), loud) == pytest.approx(0.05, abs=0.01)


def test_all_constant_becomes_zero():
    x = np.full((12, 4), 0.1)
    assert prepare(x).tolist() == [[0.0]] * 12
    assert prepare(x, controls=np.arange(12.0)[:, None], out=np.ones((12, 1), np.float32)).tolist() == [[0.0]] * 12


def test_controls_remove_what_is_linear_in_them():
    random = np.random.default_rng(0)
    controls = np.hstack([random.poisson(3, size=(300, 4)), np.ones((300, 1))])
    own = random.normal(size=(300, 6))
    x = controls[:, :4] @ random.normal(size=(4, 6)) + 0.3 * own
    # rows are scaled last, so compare directions
    left = prepare(x, controls=controls)
    standard = own / np.linalg.norm(own / x.std(axis=0), axis=1, keepdims=True) / x.std(axis=0)
    assert np.mean(np.sum(left * standard, axis=1)) > 0.97
    assert np.mean(np.sum(prepare(x) * standard, axis=1)) < 0.7


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("columns", [3, 70])
def test_prediction_is_that_of_scikit_learn(pair, columns):
    from sklearn.linear_model import RidgeCV

    x, _ = pair
    predictors = np.random.default_rng(0).normal(size=(60, columns))
    predictors[:, :2] += x[:, :2]
    for held_out in folds(60):
        seen = np.delete(np.arange(60), held_out)
        model = RidgeCV(alphas=RIDGE_STRENGTHS).fit(predictors[seen], x[seen])
        found = ridge(predictors, lambda rows: x[rows], 12, seen).predict(predictors[held_out])
        np.testing.assert_allclose(found, model.predict(predictors[held_out]), atol=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_strength_is_no_matter_of_rounding_where_controls_explain_all(seed):
    # The residual of the only item with some element is near 0, as is the share of it that leaving it out adds.
    counts = np.random.default_rng(seed).poisson(0.01 + 3 * (np.arange(90) < 4), size=(400, 90))
    counts[:, 0] += 1
    size = counts.sum(axis=1, keepdims=True)
    sizes = np.hstack([size, 1 / size, size**2])
    controls, x = np.hstack([counts, counts / size, sizes]), sizes.astype(np.float32)
    np.testing.assert_allclose(prepare(x, controls=controls), dense(x, controls=controls), atol=1e-8)


@pytest.fixture(params=[("gesdd",), ("gesdd", "gesvd")], ids="+".join)
def failing_drivers(request, monkeypatch):
    """A function that makes LAPACK's drivers of the SVD fail, one or both; it counts their failures."""
    failures = dict.fromkeys(request.param, 0)

    def fails(name):
        def svd(*args, **options):
            assert options.get("lapack_driver", "gesdd") == name
            failures[name] += 1
            raise np.linalg.LinAlgError("SVD did not converge")

        return svd

    def start():
        monkeypatch.setattr(np.linalg, "svd", fails("gesdd"))
        if "gesvd" in failures:
            monkeypatch.setattr(scipy.linalg, "svd", fails("gesvd"))
        return failures

    return start


def test_controls_whose_svd_does_not_converge(trap, failing_drivers):
    cases = [(x, some_controls(len(x))) for x in trap]
    random = np.random.default_rng(0)
    x, wide, once = random.normal(size=(60, 12)), random.normal(size=(60, 70)), np.zeros((60, 1))
    wide[:, :5] = x[:, :5] + 0.1 * wide[:, :5]
    once[17] = 1  # in the fold of row 17 nothing is left to fit
    twice = np.hstack([wide[:, :20], wide[:, :20] * 3 + 1])  # rank 20
    near = np.hstack([wide[:, :20], wide[:, :20] + 1e-9 * wide[:, 20:40]])  # too little for a Gram matrix
    cases += [(x, wide), (x, once), (x, twice), (x, near)]
    expected = [dense(x, controls=controls) for x, controls in cases]
    failures = failing_drivers()
    for (x, controls), wanted in zip(cases, expected, strict=True):
        np.testing.assert_allclose(prepare(x, controls=controls), wanted, atol=1e-10)
    assert set(failures.values()) == {5 * len(cases)}


def test_controls_that_explain_all_and_whose_svd_does_not_converge(failing_drivers):
    x = np.random.default_rng(0).normal(size=(400, 6))
    controls = np.hstack([x @ np.random.default_rng(1).normal(size=(6, 9)), x])
    seen = np.arange(320)
    centered = dense_standardized(controls)
    expected = dense_ridge(centered[seen], x[seen], centered)
    failing_drivers()
    np.testing.assert_allclose(ridge(centered, lambda rows: x[rows], 6, seen).predict(centered), expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20)])
def test_decompositions_by_each_driver_agree(shape, failing_drivers):
    x = np.random.default_rng(0).normal(size=shape)
    x[:, -1] = x[:, 0]
    _, wanted, _ = np.linalg.svd(x, full_matrices=False)
    failing_drivers()
    u, s, vt = decompose(x)
    np.testing.assert_allclose(s, wanted[: len(s)], atol=1e-12)
    assert (np.delete(wanted, np.arange(len(s))) < 1e-12).all()  # what a Gram matrix can't tell from zero
    np.testing.assert_allclose((u * s) @ vt, x, atol=1e-12)
    kept = s > 1e-10
    np.testing.assert_allclose((u.T @ u)[kept][:, kept], np.eye(kept.sum()), atol=1e-12)


def test_the_first_driver_decides_where_it_works(pair, monkeypatch):
    def svd(*args, **options):
        raise AssertionError("not asked for")

    x, _ = pair
    for found, wanted in zip(decompose(x), np.linalg.svd(x, full_matrices=False), strict=True):
        np.testing.assert_array_equal(found, wanted)
    monkeypatch.setattr(scipy.linalg, "svd", svd)
    prepare(x, controls=some_controls(60))


def test_many_controls_do_not_overfit():
    random = np.random.default_rng(1)
    x, controls = random.normal(size=(120, 10)), random.normal(size=(120, 90))
    np.testing.assert_allclose(np.sum(prepare(x) * prepare(x, controls=controls), axis=1).mean(), 1, atol=0.05)


def test_constant_controls_leave_plain_standardized(pair):
    x, _ = pair
    np.testing.assert_array_equal(prepare(x, controls=np.full((60, 3), 7.3)), prepare(x))


def test_control_that_varies_in_one_fold_only(pair):
    x, _ = pair
    controls = np.zeros((60, 1))
    controls[17] = 1
    np.testing.assert_allclose(prepare(x, controls=controls), dense(x, controls=controls), atol=1e-12)


@pytest.mark.parametrize(("controls", "most"), [(0, 50e6), (40, 75e6)])
def test_memory(tmp_path, controls, most):
    n, d = 20_000, 256  # 41 MB in float64
    random = np.random.default_rng(0)
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(n, d))
    for start in range(0, n, 1000):
        x[start : start + 1000] = random.normal(size=(1000, d))
    options = {"controls": random.normal(size=(n, controls))} if controls else {}
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=(n, d))
    tracemalloc.start()
    try:
        prepare(x, **options, out=out)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(np.linalg.norm(out[::100], axis=1), 1, rtol=1e-6)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x[:, 0],
        lambda x: x[:, :0],
        lambda x: x[:1],
        lambda x: x[:0],
        lambda x: 3.0,
        lambda x: x.astype(complex),
        lambda x: [["a", "b"]] * 3,
        lambda x: np.where(np.arange(720).reshape(60, 12) % 300 == 299, np.nan, x),
        lambda x: np.where(np.arange(720).reshape(60, 12) % 300 == 299, [np.nan, -np.inf, np.inf] * 4, x),
        lambda x: np.where(np.arange(720).reshape(60, 12) == 700, -np.inf, x.astype(np.float16)),
        lambda x: np.where(x > 0, 1.7e308, -1.7e308),
        lambda x: -1e61 * abs(x),
    ],
)
def test_refuses_what_metrics_refuse_in_the_same_words(pair, spoil):
    x = spoil(pair[0])
    with pytest.raises(ValueError, match=r".") as expected:
        as_embedding(x, "x")
    for scheme in SCHEMES:
        out = np.zeros((60, 12))
        with pytest.raises(ValueError, match=r".") as found:
            prepare(x, scheme=scheme, out=out)
        assert str(found.value) == str(expected.value)
        assert not out.any()


def test_objects_are_numbers_too(pair):
    x, _ = pair
    np.testing.assert_array_equal(prepare(x.astype(object)), prepare(x))
    np.testing.assert_array_equal(prepare(x.tolist()), prepare(x))


def test_errors(pair):
    x, _ = pair
    with pytest.raises(ValueError, match="scheme: expected one of"):
        prepare(x, scheme="white")
    with pytest.raises(ValueError, match="controls: only with scheme='standardized', found scheme='unit'"):
        prepare(x, scheme="unit", controls=x)
    with pytest.raises(ValueError, match="x and controls: expected the same items, found 60 and 59 rows"):
        prepare(x, controls=x[1:])
    with pytest.raises(ValueError, match="controls: found 60 NaN"):
        prepare(x, controls=np.full((60, 1), np.nan))
    with pytest.raises(ValueError, match="controls: needs at least 10 rows, found 9"):
        prepare(x[:9], controls=x[:9])


def test_errors_of_out(pair):
    x, _ = pair
    x[:, [2, 5]] = 1
    hint = "; 2 columns are constant and left out, a callable is told the shape"
    with pytest.raises(ValueError, match=rf"^out: expected shape \(60, 10\), found \(60, 12\){hint}$"):
        prepare(x, out=np.empty((60, 12)))
    with pytest.raises(ValueError, match=r"^out: expected shape \(60, 12\), found \(12, 60\)$"):
        prepare(x, scheme="unit", out=lambda shape: np.empty(shape[::-1]))
    expected = "out: expected an array of a float dtype or a callable that returns one, found"
    with pytest.raises(ValueError, match=f"{expected} dtype int64"):
        prepare(x, scheme="unit", out=np.empty((60, 12), np.int64))
    with pytest.raises(ValueError, match=f"{expected} list"):
        prepare(x, out=[])
    read_only = np.broadcast_to(0.0, (60, 10))
    with pytest.raises(ValueError, match="out: expected an array that can be written to, found a read-only one"):
        prepare(x, out=read_only)


def dense_without_dominant_rows(x, dominance, controls=None):
    """The definition, one row at a time, on whole arrays."""
    kept = np.ones(len(x), bool)
    while True:
        few = x[kept]
        varying = ~constant_columns(few, float_precision(x))
        mean, deviation = few[:, varying].mean(axis=0), few[:, varying].std(axis=0)
        columns = (x[:, varying] - mean) / deviation
        squares = np.where(kept, np.sum(columns**2, axis=1), 0)
        if squares.max() <= min(dominance * squares.sum() / kept.sum(), squares.sum() / 4):
            break
        kept[squares.argmax()] = False
    if controls is not None:
        predictors, prediction = dense_standardized(controls), np.empty_like(columns)
        for held_out in folds(len(columns)):
            seen = np.setdiff1d(np.flatnonzero(kept), held_out)
            prediction[held_out] = dense_ridge(predictors[seen], columns[seen], predictors[held_out])
        columns = columns - prediction
    return dense_unit(columns), np.flatnonzero(~kept)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("controlled", [False, True])
@pytest.mark.parametrize("spoilt", [{}, {7: 1e3}, {7: 1e3, 40: 1e6}, {7: 1e3, 8: -1e3, 140: 40.0}])
def test_no_row_decides(spoilt, controlled):
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 8))
    for row, factor in spoilt.items():
        x[row] *= factor
    x[20, 3] = 5.0  # long, and not dominant
    controls = some_controls(300) if controlled else None
    expected, rows = dense_without_dominant_rows(x, 50, controls)
    assert set(spoilt) == set(rows)
    seen = examine(x, controls=controls, dominance=50)
    np.testing.assert_array_equal(seen.dominant, rows)
    np.testing.assert_allclose(seen.rows, expected, atol=1e-10)
    squares = np.sum(dense_standardized(x) ** 2, axis=1)
    assert seen.largest_share == pytest.approx(squares.max() / squares.sum())
    plain = prepare(x, controls=controls)
    assert np.array_equal(seen.rows, plain) == (not spoilt)
    assert len(seen.rows) == 300


def test_a_dominant_row_leaves_the_neighbours_of_the_others():
    """What the rule is for: one broken item takes the weight from the columns in which it is large."""
    x = np.random.default_rng(1).normal(size=(200, 6))
    other = x + 0.3 * np.random.default_rng(2).normal(size=x.shape)
    broken = x.copy()
    broken[3, :3] = 1e5
    clean = cknna(prepare(x), prepare(other), k=10)
    assert cknna(prepare(broken, dominance=50), prepare(other, dominance=50), k=10) == pytest.approx(clean, abs=0.01)
    assert cknna(prepare(broken), prepare(other), k=10) < clean - 0.2


def test_at_most_a_tenth_is_set_aside():
    x = np.random.default_rng(0).normal(size=(100, 3)) ** 9
    assert len(examine(x, dominance=1.5).dominant) == 10
    assert len(examine(x[:5], dominance=1.5).dominant) == 1


def test_columns_of_dominant_rows_alone_are_left_out():
    x = np.random.default_rng(0).normal(size=(100, 4))
    x[:, 3] = 0
    x[5, 3] = 1
    found = prepare(x, dominance=50)  # a quarter of the whole: 100 of 400
    assert examine(x, dominance=50).dominant.tolist() == [5]
    assert found.shape == (100, 3)


def test_what_is_linear_in_the_controls_is_undefined():
    random = np.random.default_rng(0)
    counts = random.poisson(2, size=(200, 5)).astype(float)
    linear = counts @ random.normal(size=(5, 16))
    other = random.normal(size=(200, 16))
    options = {"controls": counts, "dominance": 50, "least_left": 1e-6}
    with pytest.warns(DegenerateInputWarning, match="linear in the controls"):
        seen = examine(linear, **options)
    assert seen.left < 1e-20
    assert not seen.rows.any()
    with pytest.warns(DegenerateInputWarning, match="undefined"):
        assert np.isnan(cknna(seen.rows, prepare(other, **options)))
    for share in (1e-4, 1e-2):
        noisy = linear + np.sqrt(share) * linear.std(axis=0) * other
        left = examine(noisy, **options).left
        assert left == pytest.approx(share * 194 / 199, rel=0.15)
    assert examine(other, **options).left == pytest.approx(194 / 199, abs=0.02)
    # 120 controls of 100 items explain anything: that is no finding about the embedding.
    many = random.normal(size=(100, 120))
    assert examine(other[:100], controls=many, dominance=50, least_left=1e-6).rows.any()


def test_errors_of_dominance(pair):
    x, _ = pair
    for scheme in ("raw", "unit"):
        with pytest.raises(ValueError, match="dominance: a number above 1, with scheme='standardized'"):
            prepare(x, scheme=scheme, dominance=50)
    for wrong in (0, 1, -3, float("nan")):
        with pytest.raises(ValueError, match="dominance"):
            prepare(x, dominance=wrong)
    with pytest.raises(ValueError, match="least_left: expected a share"):
        prepare(x, least_left=1.0)
