"""How often the interval of a score covers the truth, on synthetic data; prints a Markdown table.

The truth is the mean score over independent draws of n items from the distribution of a configuration. The interval of
each data set is asked of `consilience.metrics.interval`, so the table describes whatever rule that function follows.
Run it again when the rule changes:

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/interval_coverage.py            # the whole table
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/interval_coverage.py --quick    # a glance, a few minutes
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from consilience import metrics

Array = npt.NDArray[np.float64]

LEVEL = 0.95
#: Standard deviations between the ends of an exact interval of a normal score.
SPAN = 2 * NormalDist().inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True)
class Metric:
    """A score, the neighbours it asks `interval` for, and what is affordable."""

    score: Callable[[Array, Array], float]
    k: int | None = None
    #: Share of --draws: these are recomputed from the rows of each subset, at O(n^2 d).
    share: float = 1.0
    largest: int = 1000


METRICS = {
    "cknna": Metric(lambda x, y: metrics.cknna(x, y, k=25), 25),
    "mutual_knn": Metric(lambda x, y: metrics.mutual_knn(x, y, k=10), 10),
    "distance_correlation": Metric(metrics.distance_correlation, share=0.4),
    "information_imbalance": Metric(lambda x, y: metrics.information_imbalance(x, y, k=1)[0], 1, 0.4, 500),
    "intrinsic_dimension_correlation": Metric(metrics.intrinsic_dimension_correlation, share=0.4, largest=500),
}


@dataclass(frozen=True)
class Configuration:
    """Two noisy, bent views of common hidden variables; its maps are fixed, its items are drawn.

    Attributes
    ----------
    n : int
        Items of a data set.
    hidden : int
        Hidden variables, common to both views.
    noise : float
        Deviation of what is a view's own, per column; columns have a signal of about 1.3.
    widths : tuple of int
        Columns of both views.
    clusters : int
        Strata of unequal weight around which the hidden variables scatter; 0: one normal cloud.
    heavy : bool
        Every second column ``sign(x) (exp(|x|) - 1)``.
    """

    n: int
    hidden: int
    noise: float
    widths: tuple[int, int]
    clusters: int = 0
    heavy: bool = False

    def sampler(self, seed: int) -> Callable[[int], list[Array]]:
        """Fix the distribution; return what draws data set number i from it."""
        random = np.random.default_rng([seed, 0])
        maps = [random.normal(size=(2, self.hidden, width)) / np.sqrt(self.hidden) for width in self.widths]
        centers = 2 * random.normal(size=(self.clusters, self.hidden))
        weights = random.dirichlet(np.full(self.clusters, 2.0)) if self.clusters else None

        def draw(number: int) -> list[Array]:
            own = np.random.default_rng([seed, 1, number])
            hidden = own.normal(size=(self.n, self.hidden))
            if self.clusters:
                hidden = centers[own.choice(self.clusters, self.n, p=weights)] + 0.6 * hidden
            views = []
            for straight, bent in maps:
                x = hidden @ straight + np.tanh(1.5 * hidden @ bent)
                x += self.noise * own.normal(size=x.shape)
                if self.heavy:
                    x[:, ::2] = np.sign(x[:, ::2]) * np.expm1(np.abs(x[:, ::2]))
                views.append(metrics.prepare(x))
            return views

        return draw


CONFIGURATIONS = {
    "middle": Configuration(500, 8, 1.0, (64, 64)),
    "weak": Configuration(1000, 16, 3.0, (128, 32)),
    "strong": Configuration(500, 4, 0.1, (16, 128)),
    "25 clusters": Configuration(500, 8, 1.0, (64, 32), clusters=25),
    "10 clusters, strong": Configuration(1000, 8, 0.3, (128, 64), clusters=10),
    "heavy tails": Configuration(500, 8, 1.0, (32, 64), heavy=True),
    "unrelated": Configuration(500, 8, 50.0, (64, 64)),
    # the hardest one: strata of fewer items than CKNNA has neighbours, and columns standardised by few strata
    "10 small clusters": Configuration(500, 8, 0.3, (64, 32), clusters=10),
}


@dataclass(frozen=True)
class Coverage:
    """What became of the intervals of one metric in one configuration."""

    truth: float
    deviation: float
    covered: int
    intervals: int
    widths: float
    scores: int

    def row(self, name: str, n: int, metric: str) -> str:
        """One line of the table."""
        rate = self.covered / self.intervals
        # Agresti-Coull: the plain binomial error of 1.00 is zero
        shrunk = (self.covered + 2) / (self.intervals + 4)
        error = np.sqrt(shrunk * (1 - shrunk) / (self.intervals + 4))
        ratio = self.widths / (SPAN * self.deviation)
        return (
            f"| {name} | {n} | {metric} | {self.truth:.4f} | {self.deviation:.4f} | {self.intervals} "
            f"| {rate:.3f} ± {error:.3f} | {ratio:.2f} ± {ratio / np.sqrt(2 * self.scores):.2f} |"
        )


def measure(draw: Callable[[int], list[Array]], name: str, *, draws: int, extra: int, subsamples: int) -> Coverage:
    """Ask for the interval of `draws` data sets; `extra` more are scored only, for the truth."""
    metric = METRICS[name]
    intervals = [
        metrics.interval(*draw(number), metric=name, k=metric.k, subsamples=subsamples, level=LEVEL, seed=number)
        for number in range(draws)
    ]
    scores = [one.score for one in intervals] + [metric.score(*draw(draws + number)) for number in range(extra)]
    truth = float(np.mean(scores))
    return Coverage(
        truth=truth,
        deviation=float(np.std(scores, ddof=1)),
        covered=sum(one.low <= truth <= one.high for one in intervals),
        intervals=draws,
        widths=float(np.mean([one.high - one.low for one in intervals])),
        scores=len(scores),
    )


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="intervals per row (slow metrics: 40 %% of them)")
    parser.add_argument("--extra", type=int, default=300, help="further data sets that are only scored, for the truth")
    parser.add_argument("--subsamples", type=int, default=100, help="subsets behind an interval")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS), metavar="METRIC")
    parser.add_argument("--configurations", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="40 draws, 100 extra, n = 500 only")
    options = parser.parse_args()
    draws, extra = (40, 100) if options.quick else (options.draws, options.extra)
    start = time.process_time()
    print("| configuration | n | metric | truth | true SD | intervals | coverage | width / exact width |")
    print("|---|---|---|---|---|---|---|---|")
    for index, (name, configuration) in enumerate(CONFIGURATIONS.items()):
        if name not in options.configurations or (options.quick and configuration.n > 500):
            continue
        draw = configuration.sampler(1000 * options.seed + index)
        for metric in options.metrics:
            if configuration.n > METRICS[metric].largest:
                continue
            asked = max(1, round(draws * METRICS[metric].share))
            found = measure(draw, metric, draws=asked, extra=extra, subsamples=options.subsamples)
            print(found.row(name, configuration.n, metric), flush=True)
    print(f"\n{time.process_time() - start:.0f} CPU-s", file=sys.stderr)


if __name__ == "__main__":
    main()
