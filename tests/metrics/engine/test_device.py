"""The work of a device gives the processor's results; torch on the processor stands in for a device."""

import numpy as np
import pytest
import torch

from consilience.metrics import alignment_matrices, matrices
from consilience.metrics._engine import device as device_module
from consilience.metrics._engine.device import OnDevice
from consilience.metrics._engine.engine import PROCESSOR
from consilience.metrics._engine.factory import engine_for
from consilience.metrics._engine.neighbors import SMALL, search
from consilience.metrics._engine.row_source import Source

METRICS = [
    "cka",
    "cknna",
    "cknna:platonic-rep",
    "distance_correlation",
    "distance_correlation:biased",
    "distance_correlation:paper",
    "information_imbalance",
    "intrinsic_dimension",
    "intrinsic_dimension:mle",
    "intrinsic_dimension_correlation",
    "mutual_knn",
]
#: Sums of float32 numbers depend on their order; the other metrics are the same to the last digits.
LOOSE = {"distance_correlation": 1e-7, "intrinsic_dimension_correlation": 1e-6}
FEW = {"mutual_knn": 5, "intrinsic_dimension:mle": 5, "information_imbalance": 2}
ITEMS = 1500


def torch_engine(*, cramped=False):
    """Torch on the processor, if `cramped` with small tiles and all rows sent again for each."""
    made = OnDevice("cpu")
    if cramped:
        made.scale, made.free_bytes = 1, 0
    return made


def compare(embeddings, engine, monkeypatch, metrics=METRICS):
    """All scores by `engine` against those by the processor's."""
    expected = alignment_matrices(embeddings, metrics=metrics, k=5, neighbors=FEW)
    with monkeypatch.context() as patched:
        patched.setattr(matrices, "engine_for", lambda device: engine)
        found = alignment_matrices(embeddings, metrics=metrics, k=5, neighbors=FEW)
    for name in metrics:
        tolerance = LOOSE.get(name.partition(":")[0], 1e-9)
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance, err_msg=name)
        assert found[name].dtype == np.float64


def plain():
    random = np.random.default_rng(0)
    hidden = random.normal(size=(ITEMS, 4))
    a, b = (np.tanh(hidden @ random.normal(size=(4, w))) + 0.2 * random.normal(size=(ITEMS, w)) for w in (24, 9))
    return {"float64": a, "float32": b.astype(np.float32), "offset": a[:, :3] + 1e6}


def ties():
    random = np.random.default_rng(1)
    bits = (random.random((ITEMS, 80)) < 0.1).astype(np.float32)
    return {"bits": bits, "grid": random.integers(0, 12, (ITEMS, 3)).astype(np.float64)}


def duplicates():
    random = np.random.default_rng(2)
    x, y = random.normal(size=(ITEMS, 16)), random.normal(size=(ITEMS, 40)).astype(np.float32)
    x[1400:1450], y[::50] = x[3], y[1]
    clusters = np.repeat(random.normal(size=(10, 64)), ITEMS // 10, axis=0)
    return {"x": x, "y": y, "clusters": clusters + 1e-5 * random.normal(size=clusters.shape)}


def test_small_embeddings(trap, monkeypatch):
    compare(dict(zip("xy", trap, strict=True)), torch_engine(), monkeypatch)


@pytest.mark.parametrize("cramped", [False, True])
@pytest.mark.parametrize("data", [plain, ties, duplicates])
def test_more_items_than_a_tile_holds(data, cramped, monkeypatch):
    assert ITEMS > SMALL
    if cramped:
        monkeypatch.setattr(device_module, "CHUNK_BYTES", 2**21)
    compare(data(), torch_engine(cramped=cramped), monkeypatch)


@pytest.mark.parametrize("cramped", [False, True])
@pytest.mark.parametrize("data", [plain, ties, duplicates])
def test_neighbours_are_the_same(data, cramped):
    for name, x in data().items():
        wanted = {"inner_product": 7, "euclidean": 12}
        expected = search(Source(x, name), **wanted)
        found = search(Source(x, name), **wanted, engine=torch_engine(cramped=cramped))
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours.indices, theirs.indices)
            np.testing.assert_array_equal(ours.values, theirs.values)


@pytest.mark.parametrize("cramped", [False, True])
@pytest.mark.filterwarnings("error")
def test_rows_are_the_processors_also_of_a_file(cramped, tmp_path):
    x = np.random.default_rng(3).normal(size=(90, 7)) + 1e3
    np.save(tmp_path / "x.npy", x)
    source = Source(np.load(tmp_path / "x.npy", mmap_mode="r"), "x", standardize=True)
    engine, order = torch_engine(cramped=cramped), np.random.default_rng(4).permutation(90)
    for part in (slice(20, 50), slice(80, 100), order):
        np.testing.assert_array_equal(engine.to_numpy(engine.rows(source, part)), source.rows(part))
    np.testing.assert_array_equal(x, source.x)


def test_products_are_not_rounded_to_tf32():
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    try:
        matmul.allow_tf32 = True
        with OnDevice("cpu").full_precision():
            assert not matmul.allow_tf32
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before


def test_the_level_of_precision_is_restored():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with OnDevice("cpu").full_precision():
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_devices(pair, monkeypatch):
    embeddings = dict(zip("xy", pair, strict=True))
    assert engine_for("cpu") is engine_for(torch.device("cpu")) is PROCESSOR
    for wrong in ("gpu", "cuda:x", None):
        with pytest.raises(ValueError, match=f"device: expected 'cpu', 'cuda', .* found {wrong!r}"):
            alignment_matrices(embeddings, device=wrong)
    with pytest.raises(ValueError, match="device: found 'meta', which cannot hold float64 here"):
        alignment_matrices(embeddings, device="meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device: found 'cuda:0', but torch\.cuda\.is_available\(\) is False"):
        alignment_matrices(embeddings, device="cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("data", [plain, ties, duplicates])
def test_cuda(data):
    embeddings = data()
    expected = alignment_matrices(embeddings, metrics=METRICS, neighbors=FEW)
    found = alignment_matrices(embeddings, metrics=METRICS, neighbors=FEW, device="cuda")
    for name in METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5, err_msg=name)
