"""What other packages compute: one function per tool, for ``against_peers.py``.

All take float32 arrays with one row per item and return plain floats or arrays. Packages are imported inside the
functions: ASV imports every module of this folder, and the packages (the extra ``peers``) may be missing. The first
call therefore pays for imports and for numba's compilation: time a later one.

Threads are the caller's: ``OMP_NUM_THREADS`` before the start, ``torch.set_num_threads`` and
``faiss.omp_set_num_threads`` after it. DADApy starts threads of its own, as many as its argument `jobs` says.
"""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch

Embedding = npt.NDArray[np.float32]


def versions() -> dict[str, str | None]:
    """Versions of the peers and of the packages that decide their speed; ``None`` for a missing one."""
    names = ("dcor", "dadapy", "faiss-cpu", "scikit-dimension", "numba", "numpy", "scipy", "scikit-learn", "torch")
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- platonic-rep: CKNNA and mutual kNN (Huh et al. 2024, arXiv:2405.07987) --------------------------------------


def platonic_cknna(x: Embedding, y: Embedding, k: int = 25) -> float:
    """CKNNA as platonic-rep computes it; compare with ``cknna(x, y, k=k, variant="platonic-rep")``.

    platonic-rep is no package, so its algorithm is written afresh here, at the cost of its own: dense kernels, the
    neighbours found again for each of the three HSIC terms, and in each term a full n x n x n matrix product of
    which only the sum is used. That product takes most of the time once n is a few thousand.
    """
    first, second = (z @ z.T for z in (torch.from_numpy(x), torch.from_numpy(y)))
    joint = _masked_hsic(first, second, k)
    own = _masked_hsic(first, first, k) * _masked_hsic(second, second, k)
    return float(joint / (torch.sqrt(own) + 1e-6))


def _masked_hsic(first: torch.Tensor, second: torch.Tensor, k: int) -> torch.Tensor:
    """Unbiased HSIC (Song et al. 2012, eq. 5) of two kernels set to 0 where the neighbours are not shared."""
    n = len(first)
    shared = _largest(first, k) * _largest(second, k)
    # The masks have an empty diagonal, as equation 5 asks for; platonic-rep clears it once more.
    a = (shared * first).fill_diagonal_(0)
    b = (shared * second).fill_diagonal_(0)
    total = (a * b.T).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a @ b).sum() / (n - 2)
    return total / (n * (n - 3))


def _largest(kernel: torch.Tensor, k: int) -> torch.Tensor:
    """1 at the `k` largest entries of each row, the diagonal left out, 0 elsewhere."""
    columns = kernel.clone().fill_diagonal_(float("-inf")).topk(k, dim=1).indices
    return torch.zeros_like(kernel).scatter_(1, columns, 1.0)


def platonic_mutual_knn(x: Embedding, y: Embedding, k: int = 10) -> float:
    """Mutual kNN as platonic-rep computes it (every row sorted whole, dense masks); compare with ``mutual_knn``."""
    first, second = (_first_of_sorted(torch.from_numpy(z), k) for z in (x, y))
    return float(((first * second).sum(dim=1) / k).mean())


def _first_of_sorted(x: torch.Tensor, k: int) -> torch.Tensor:
    kernel = (x @ x.T).fill_diagonal_(float("-inf"))
    columns = kernel.argsort(dim=1, descending=True)[:, :k]
    return torch.zeros_like(kernel).scatter_(1, columns, 1.0)


# --- dcor: distance correlation (Szekely & Rizzo 2014) -----------------------------------------------------------


def dcor_as_shipped(x: Embedding, y: Embedding) -> float:
    """Squared U-centred distance correlation of dcor; compare with ``distance_correlation(x, y)``.

    dcor 0.7 means to use SciPy's distances, but asks whether the arrays' namespace *is* numpy, and
    array-api-compat answers with a wrapper module of its own. So it falls back on differences of all rows, an
    n x n x d array: ask :func:`dcor_as_shipped_bytes` first.
    """
    import dcor

    return float(dcor.u_distance_correlation_sqr(x, y))


def dcor_as_shipped_bytes(n: int, d: int, itemsize: int = 4) -> int:
    """Memory that :func:`dcor_as_shipped` needs: the differences, squared in place (`itemsize` 8 for float64)."""
    return itemsize * n * n * d


def dcor_scipy(x: Embedding, y: Embedding) -> float:
    """As :func:`dcor_as_shipped` on the path that dcor means to take, with SciPy's ``cdist``: far faster."""
    import dcor

    with patch("dcor.distances._can_be_numpy_double", return_value=True):
        return float(dcor.u_distance_correlation_sqr(x, y))


# --- DADApy: information imbalance (Glielmo et al. 2022), TwoNN (Facco et al. 2017) ------------------------------


def dadapy_information_imbalance(x: Embedding, y: Embedding, k: int = 1, jobs: int = 1) -> tuple[float, float]:
    """Both imbalances, x to y and y to x, over all rows; compare with two calls of ``information_imbalance``.

    By itself DADApy looks at subsets of 2,000 rows only; `subset_size` turns that off. Its ranks are then exact.
    """
    from dadapy.metric_comparisons import MetricComparisons

    n = len(x)
    comparison = MetricComparisons(coordinates=x, maxk=n - 1, n_jobs=jobs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Subset size greater")  # all rows is what we want
        (forth, _), (back, _) = comparison.return_information_imbalace(y, k=k, subset_size=n)  # sic
    return float(forth), float(back)


def dadapy_two_nn(x: Embedding, jobs: int = 1) -> float:
    """Intrinsic dimension, linear fit of the lowest 90 % of the ratios; compare with ``intrinsic_dimension(x)``."""
    from dadapy.id_estimation import IdEstimation

    dimension, _, _ = IdEstimation(coordinates=x, maxk=2, n_jobs=jobs).compute_id_2NN()
    return float(dimension)


# --- the rest ----------------------------------------------------------------------------------------------------


def faiss_inner_product(x: Embedding, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Products and indices of the `k` + 1 rows nearest to each (itself mostly among them); compare with ``neighbors``.

    The exact flat index of faiss, building included. It is exact in float32: near ties may come in another order.
    """
    import faiss

    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x)
    products: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] = index.search(x, k + 1)
    return products


def skdim_two_nn(x: Embedding) -> float:
    """Intrinsic dimension of scikit-dimension's TwoNN, 90 % kept; compare with ``intrinsic_dimension(x)``."""
    from skdim.id import TwoNN

    estimator: Any = TwoNN(discard_fraction=0.1)
    return float(estimator.fit(x).dimension_)


def three_two_nn(x: Embedding, y: Embedding) -> float:
    """I_dCor without its p-value (Basile et al. 2024, arXiv:2406.15812); compare with ``..._correlation(x, y)``.

    The authors' code is no package. Written afresh at its cost: standardised columns, and TwoNN from all distances
    of x, of y and of both side by side, in float32.
    """
    first, second = (_standardized(torch.from_numpy(z)) for z in (x, y))
    a, b, both = (_torch_two_nn(z) for z in (first, second, torch.cat([first, second], dim=1)))
    return (a + b - both) / max(a, b)


def _standardized(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(dim=0)) / (x.std(dim=0) + 1e-9)


def _torch_two_nn(x: torch.Tensor, fraction: float = 0.9) -> float:
    """Slope of -log(1 - F) on log(r2 / r1) through the origin, duplicates and ties left out."""
    nearest = torch.cdist(x, x).topk(3, dim=1, largest=False).values
    r1, r2 = nearest[:, 1], nearest[:, 2]
    valid = (r1 > 0) & (r1 < r2)
    ratios = (r2[valid] / r1[valid]).sort().values
    n = len(ratios)
    kept = min(int(n * fraction), n - 1)  # 1 - F is 0 at the last ratio
    shares = torch.arange(1, kept + 1, dtype=x.dtype) / n
    fit = torch.linalg.lstsq(ratios[:kept].log()[:, None], -torch.log(1 - shares)[:, None])
    return float(fit.solution)
