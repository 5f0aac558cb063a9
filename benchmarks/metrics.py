"""Time and memory of the metrics on fixed synthetic embeddings, over commits.

Sizes are those of the embedded data sets (n = 1,000) unless a parameter says otherwise. The ``setup`` of each class
makes one call, so that imports and numba's compilation are not timed. ``peakmem_*`` is the memory of the whole process,
libraries and inputs included.
"""

import numpy as np

from consilience import metrics
from consilience.metrics import get_metric, list_metrics

PAIR_METRICS = sorted(name for name, entry in list_metrics().items() if entry.card.inputs == "pair")
#: Variants share the pass of their metric, or have a way of their own to all pairs.
VARIANTS = ["cknna:platonic-rep", "distance_correlation:paper", "intrinsic_dimension", "intrinsic_dimension:mle"]


def _embedding(seed, n=1000, d=128):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def _collection(models=8, n=1000):
    return {f"model {seed}": metrics.prepare(_embedding(seed, n)).astype(np.float32) for seed in range(models)}


class PairMetrics:
    """Every registered pair metric, by name."""

    params = PAIR_METRICS
    param_names = ("metric",)
    version = "1"

    def setup(self, metric):
        self.function = get_metric(metric).function
        self.x, self.y = _embedding(0), _embedding(1)
        self.function(self.x, self.y)

    def time_pair(self, metric):
        """Score one pair."""
        self.function(self.x, self.y)

    def peakmem_pair(self, metric):
        """Score one pair."""
        self.function(self.x, self.y)

    time_pair.version = peakmem_pair.version = "1"


class Neighbors:
    """Exact neighbour lists of one embedding; from 1,025 items on candidates come from float32 tiles."""

    params = ([1000, 5000], ["inner_product", "euclidean"])
    param_names = ("n", "similarity")
    version = "1"

    def setup(self, n, similarity):
        self.x = _embedding(0, n, 256)
        metrics.neighbors(self.x, 25, similarity=similarity)

    def time_neighbors(self, n, similarity):
        """Find the 25 nearest of each item."""
        metrics.neighbors(self.x, 25, similarity=similarity)

    def peakmem_neighbors(self, n, similarity):
        """Find the 25 nearest of each item."""
        metrics.neighbors(self.x, 25, similarity=similarity)

    time_neighbors.version = peakmem_neighbors.version = "1"


class AllPairs:
    """All pairs of eight embeddings under one metric, in one thread."""

    params = PAIR_METRICS + VARIANTS
    param_names = ("metric",)
    timeout = 300
    version = "1"

    def setup(self, metric):
        self.embeddings = _collection()
        self.score(metric)

    def score(self, metric):
        metrics.alignment_matrices(self.embeddings, metrics=[metric], threads=1)

    def time_all_pairs(self, metric):
        """Score all pairs, lists and distances included."""
        self.score(metric)

    def peakmem_all_pairs(self, metric):
        """Score all pairs, lists and distances included."""
        self.score(metric)

    time_all_pairs.version = peakmem_all_pairs.version = "1"


class AllPairsLarge:
    """All metrics of the one pass together, at a size that takes tiles."""

    timeout = 300
    version = "1"

    def setup(self):
        self.embeddings = _collection(models=4, n=4000)
        self.score()

    def score(self):
        wanted = ["cknna", "mutual_knn", "distance_correlation", "information_imbalance", "intrinsic_dimension"]
        metrics.alignment_matrices(self.embeddings, metrics=wanted, threads=1)

    def time_one_pass(self):
        """Score all pairs of four embeddings of 4,000 items."""
        self.score()

    def peakmem_one_pass(self):
        """Score all pairs of four embeddings of 4,000 items."""
        self.score()

    time_one_pass.version = peakmem_one_pass.version = "1"


class Calibration:
    """A calibrated CKNNA pair from ready lists: 200 relabellings."""

    def setup(self):
        self.kernels = [metrics.NeighborKernel(metrics.prepare(_embedding(seed))) for seed in (0, 1)]
        self.relabellings = metrics.draw_permutations(1000, 200, seed=0)

    def time_calibrate(self):
        """Relabel the lists of one embedding 200 times."""
        metrics.calibrate_from(*self.kernels, permutations=self.relabellings)

    time_calibrate.version = "1"


class CalibrationOfAllPairs:
    """Permutation nulls of all pairs of eight embeddings, 20 relabellings, one thread."""

    params = PAIR_METRICS
    param_names = ("metric",)
    timeout = 300
    version = "1"

    def setup(self, metric):
        self.embeddings = _collection()
        self.calibrate(metric)

    def calibrate(self, metric):
        metrics.calibration_matrices(self.embeddings, metrics=[metric], permutations=20, threads=1)

    def time_calibration(self, metric):
        """Calibrate all pairs, their scores included."""
        self.calibrate(metric)

    def peakmem_calibration(self, metric):
        """Calibrate all pairs, their scores included."""
        self.calibrate(metric)

    time_calibration.version = peakmem_calibration.version = "1"


class Intervals:
    """Interval of one pair from 20 halves: from lists, or recomputed on each half."""

    params = ("cknna", "mutual_knn", "distance_correlation")
    param_names = ("metric",)
    version = "1"

    def setup(self, metric):
        self.x, self.y = (metrics.prepare(_embedding(seed)) for seed in (0, 1))
        metrics.interval(self.x, self.y, metric=metric, subsamples=4)

    def time_interval(self, metric):
        """Score one pair with its interval."""
        metrics.interval(self.x, self.y, metric=metric, subsamples=20)

    def peakmem_interval(self, metric):
        """Score one pair with its interval."""
        metrics.interval(self.x, self.y, metric=metric, subsamples=20)

    time_interval.version = peakmem_interval.version = "1"


class Preparation:
    """Preparation of one embedding; ``controls``: residuals on 20 controls, out of fold."""

    params = ("unit", "standardized", "controls")
    param_names = ("scheme",)
    version = "1"

    def setup(self, scheme):
        self.x = _embedding(0, 5000, 256)
        self.options = {"scheme": scheme} if scheme != "controls" else {"controls": _embedding(1, 5000, 20)}
        metrics.prepare(self.x, **self.options)

    def time_prepare(self, scheme):
        """Prepare 5,000 items."""
        metrics.prepare(self.x, **self.options)

    def peakmem_prepare(self, scheme):
        """Prepare 5,000 items."""
        metrics.prepare(self.x, **self.options)

    time_prepare.version = peakmem_prepare.version = "1"
