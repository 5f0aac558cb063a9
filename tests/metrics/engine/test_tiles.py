"""All pairs at once against each pair on its own: the engine of tiles and lists, on every trap."""

import numpy as np
import pytest

from consilience import metrics
from consilience.metrics import alignment_matrices, neighbors
from consilience.metrics._engine import tiles
from consilience.metrics._engine.neighbors import search
from consilience.metrics._engine.row_source import Source
from consilience.metrics._engine.tiles import MAX_SIDE, run, sweep, thread_count
from consilience.metrics.information_imbalance import MAX_TIE

METRICS = {
    "cknna": {"rel": 1e-9},
    "cknna:platonic-rep": {"rel": 1e-9},
    "mutual_knn": {"rel": 1e-12},
    "distance_correlation": {"abs": 1e-7},
    "distance_correlation:paper": {"abs": 1e-7},
    "distance_correlation:biased": {"abs": 1e-7},
    "information_imbalance": {"rel": 1e-12},
    "intrinsic_dimension_correlation": {"rel": 1e-5, "abs": 1e-5},
}


def alone(name, x, y, k):
    """Score of one pair by the functions of pairs, which are tested against the oracle."""
    base, _, variant = name.partition(":")
    options = {"variant": variant} if variant else {}
    if base in ("cknna", "mutual_knn"):
        options["k"] = k
    value = getattr(metrics, base)(x, y, **options)
    return value[0] if isinstance(value, tuple) else value


def assert_agrees(embeddings, k=5, names=tuple(METRICS), lattice=()):
    """`lattice` names embeddings whose exact ties float32 splits: no I_dCor of theirs is compared."""
    found = alignment_matrices(embeddings, metrics=names, k=k, neighbors={"mutual_knn": k})
    for name in names:
        for i, x in enumerate(embeddings.values()):
            for j, y in enumerate(embeddings.values()):
                if name == "intrinsic_dimension_correlation" and {i, j} & {list(embeddings).index(n) for n in lattice}:
                    continue
                expected = alone(name, x, y, k)
                assert found[name][i, j] == pytest.approx(expected, **METRICS[name]), (name, i, j)


def larger(n, seed=0):
    """Three views with loud, tied and duplicated items; float32 and float64."""
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(n, 6))
    x = np.tanh(hidden @ random.normal(size=(6, 40))) + 0.3 * random.normal(size=(n, 40))
    y = np.tanh(hidden @ random.normal(size=(6, 24))) + 0.3 * random.normal(size=(n, 24))
    y[7:12] = y[3]
    counts = random.poisson(1.5, size=(n, 8)) + 0.0  # integers: many exact ties
    return {"x": (x + 1e3).astype(np.float32), "y": y, "counts": counts}


def test_every_trap(trap):
    x, y = trap
    assert_agrees({"x": x, "y": y, "first": np.asarray(x)[:, :1]})


def test_several_tiles():
    # more items than the side of a tile, and than the number below which lists come from float64 alone
    assert_agrees(larger(MAX_SIDE + 200), k=25, lattice=["counts"])


def test_lists_from_float32_candidates_are_those_of_float64():
    for x in larger(1200).values():
        source = Source(x, "x")
        quick = search(source, inner_product=20, euclidean=20, small=0)
        exact = search(source, inner_product=20, euclidean=20, small=10**6)
        for found, expected in zip(quick, exact, strict=True):
            np.testing.assert_array_equal(found.indices, expected.indices)
            np.testing.assert_allclose(found.values, expected.values, rtol=1e-9, atol=1e-12)


def test_float32_candidates_on_every_trap(trap, oracle):
    x = np.asarray(trap[0], float)
    if len(x) > 20:
        found, _ = search(Source(trap[0], "x"), inner_product=11, small=0)
        assert found.indices.tolist() == oracle.nearest(x, 11)


def test_tight_clusters_are_resolved():
    """Distances of 1e-5 inside clusters that lie 1 apart: lost in a float32 matrix product, not in the lists."""
    random = np.random.default_rng(3)
    x = np.repeat(random.normal(size=(12, 10)), 100, axis=0) + 1e-5 * random.normal(size=(1200, 10))
    y = np.repeat(random.normal(size=(12, 10)), 100, axis=0) + 1e-5 * random.normal(size=(1200, 10))
    assert_agrees({"x": x, "y": y}, names=("cknna", "mutual_knn", "distance_correlation", "information_imbalance"))
    found = alignment_matrices({"x": x}, metrics=["intrinsic_dimension"])["intrinsic_dimension"]
    assert found[0] == pytest.approx(metrics.intrinsic_dimension(x), rel=1e-9)


def test_wide_ties_are_sampled(monkeypatch):
    random = np.random.default_rng(0)
    sizes = random.integers(0, 4, size=(300, 1)) + 0.0  # about 75 items at distance 0 of each
    other = random.normal(size=(300, 4)) + sizes
    found = alignment_matrices({"sizes": sizes, "other": other}, metrics=["information_imbalance"])
    there, back = metrics.information_imbalance(sizes, other)
    matrix = found["information_imbalance"]
    assert matrix[1, 0] == pytest.approx(back, rel=1e-12)
    # the mean rank of about 75 tied items, over 300 items, from 32 of them each
    assert matrix[0, 1] == pytest.approx(there, abs=5 * 0.3 / np.sqrt(300 * MAX_TIE))


def test_memory_mapped_files_are_read_in_blocks(tmp_path):
    embeddings = larger(700)
    mapped = {}
    for name, x in embeddings.items():
        np.save(tmp_path / f"{name}.npy", x)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    here, there = alignment_matrices(embeddings), alignment_matrices(mapped)
    for name in here.matrices:
        np.testing.assert_array_equal(here[name], there[name])
    assert np.shares_memory(Source(mapped["x"], "x").x, mapped["x"])


def test_memory_is_bounded_by_tiles(monkeypatch):
    monkeypatch.setattr("consilience.metrics._engine.tiles.STACK_BYTES", 2**20)
    monkeypatch.setattr("consilience.metrics._engine.tiles.RESIDENT_BYTES", 0)
    monkeypatch.setattr("consilience.metrics._engine.row_source.BLOCK_BYTES", 2**14)
    shapes = set()

    class Watch(tiles.Consumer):
        def distances(self, model, tile, place, scratch):
            shapes.add(tile.shape)

    embeddings = larger(700)
    sweep([Source(x, name) for name, x in embeddings.items()], [Watch()], threads=1)
    assert max(rows * columns for rows, columns in shapes) * 4 * len(embeddings) <= 2**20
    assert_agrees(embeddings, lattice=["counts"])


def test_two_threads_find_what_one_finds():
    embeddings = larger(MAX_SIDE + 100)
    one, two = (alignment_matrices(embeddings, threads=threads) for threads in (1, 2))
    for name in one.matrices:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-12)


def test_pairs_beyond_the_dense_limit(monkeypatch):
    monkeypatch.setattr("consilience.metrics.matrices.MAX_DENSE_ITEMS", 100)
    small, large = larger(90), larger(150)
    for name in METRICS:
        for embeddings in (small, large):
            x, y = embeddings["x"], embeddings["y"]
            value = alone(name, x, y, 5)
            monkeypatch.setattr("consilience.metrics.matrices.MAX_DENSE_ITEMS", 10**6)
            assert value == pytest.approx(alone(name, x, y, 5), **METRICS[name])
            monkeypatch.setattr("consilience.metrics.matrices.MAX_DENSE_ITEMS", 100)
    with pytest.warns(metrics.DegenerateInputWarning, match="dCor is undefined"):
        assert np.isnan(metrics.distance_correlation(np.ones((150, 2)), large["y"]))
    with pytest.raises(ValueError, match=r"^y: found 1 NaN"):
        metrics.information_imbalance(large["x"], np.where(large["y"] == large["y"][5, 1], np.nan, large["y"]))


def test_progress_names_the_stages():
    stages = []
    alignment_matrices(larger(80), progress=lambda stage, done, total: stages.append((stage, done, total)))
    assert {stage for stage, _, _ in stages} == {"neighbours", "CKA", "CKNNA", "mutual kNN", "distances", "I_dCor"}
    assert stages[-1][1] == stages[-1][2]


def test_singles_come_from_the_same_lists(pair):
    names = ["intrinsic_dimension", "intrinsic_dimension:mle", "cknna"]
    found = alignment_matrices({"a": pair[0], "b": pair[1]}, metrics=names)
    for i, x in enumerate(pair):
        assert found["intrinsic_dimension"][i] == pytest.approx(metrics.intrinsic_dimension(x), rel=1e-12)
        expected = metrics.intrinsic_dimension(x, estimator="mle")
        assert found["intrinsic_dimension:mle"][i] == pytest.approx(expected, rel=1e-12)
    assert set(found.matrices) == {"cknna"}


def test_work_is_shared_and_errors_surface():
    done = []
    run(lambda task, scratch: done.append(task), range(10), threads=2)
    assert sorted(done) == list(range(10))

    def fails(task, scratch):
        raise RuntimeError(f"task {task}")

    with pytest.raises(RuntimeError, match="task 0"):
        run(fails, range(1), threads=2)
    with pytest.raises(ValueError, match="threads: expected at least 1, found 0"):
        thread_count(0)


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count(None) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert thread_count(None) >= 1


def test_neighbours_of_a_large_offset_in_float32():
    x = (np.random.default_rng(0).normal(size=(1500, 12)) + 1e6).astype(np.float32)
    expected, _ = search(Source(x, "x"), inner_product=10, small=10**6)
    np.testing.assert_array_equal(neighbors(x, 10).indices, expected.indices)
