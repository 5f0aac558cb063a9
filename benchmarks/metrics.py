"""Time and memory of the metrics on fixed random embeddings of the size of the embedded data sets."""

import numpy as np

from consilience import metrics
from consilience.registry import get_metric, list_metrics


def _embedding(seed, n=1000, d=128):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


class PairMetrics:
    """Every registered pair metric, by name."""

    params = sorted(name for name, entry in list_metrics().items() if entry.card.inputs == "pair")
    param_names = ("metric",)
    version = "1"

    def setup(self, metric):
        self.function = get_metric(metric).function
        self.x, self.y = _embedding(0), _embedding(1)

    def time_pair(self, metric):
        self.function(self.x, self.y)

    def peakmem_pair(self, metric):
        self.function(self.x, self.y)

    time_pair.version = peakmem_pair.version = "1"


class Calibration:
    """A calibrated CKNNA pair from ready lists: 200 relabellings."""

    def setup(self):
        self.kernels = [metrics.NeighborKernel(metrics.prepare(_embedding(seed))) for seed in (0, 1)]
        self.relabellings = metrics.draw_permutations(1000, 200, seed=0)

    def time_calibrate(self):
        metrics.calibrate_from(*self.kernels, permutations=self.relabellings)

    time_calibrate.version = "1"
