"""Our metrics beside other packages, in one process with one thread each side: prints a Markdown table of ratios.

    make peers                                # all rows at full size
    make peers ARGS="--quick"                 # a glance, about a minute
    make peers ARGS="--only knn dcor"         # some rows
    make peers ARGS="--write"                 # all rows, and put the table into README.md
    make peers ARGS="--only knn --write"      # some rows, and put them beside that table: measured again
    make peers ARGS="--large --write"         # the n = 50,000 run alone, and put its table there

Figures are CPU-seconds, medians of runs that alternate (ours, peer, ours, peer ...) after a call of each on small
inputs, which pays for imports and for numba's compilation. Where a row is about all pairs, the peer is timed on one
pair and multiplied by the number of pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from consilience import metrics

from . import large, peers, references, report
from .report import Bar, Line, Seconds

View = npt.NDArray[np.float32]
Views = Sequence[View]

#: All the metrics of the issue's table but I_dCor, which passes over distances of its own.
SUITE = (
    "cknna",
    "mutual_knn",
    "distance_correlation",
    "distance_correlation:paper",
    "information_imbalance",
    "intrinsic_dimension",
)
CALIBRATED = (
    "cknna",
    "mutual_knn",
    "distance_correlation",
    "information_imbalance",
    "intrinsic_dimension_correlation",
)
LISTS = ("CKNNA", "mutual kNN")
PASS = ("distances",)
#: Enough items for the ways that large inputs take, few enough to be quick.
WARM_UP = (2100, 3)
#: A row that takes longer is not run again.
ENOUGH_SECONDS = 150.0


# --- data, and how it is timed -----------------------------------------------------------------------------------


@cache
def synthetic_views(n: int, models: int, width: int) -> tuple[View, ...]:
    """Return noisy views of one hidden variable with 20 dimensions, rows of length 1, float32.

    View m is tanh(hidden @ W_m / sqrt(20)) plus noise of deviation 0.5. Seeds: [n, 0] for the hidden variable and
    [n, 1, m] for view m.
    """
    return tuple(large.view(n, width, model) for model in range(models))


@dataclass(frozen=True)
class Setting:
    """Sizes of a run."""

    n: int
    models: int
    width: int
    k: int
    repeats: int
    knn_sizes: tuple[int, ...]
    calibration_size: int
    permutations: int
    agreement_sizes: tuple[int, ...]
    judged: bool

    @property
    def pairs(self) -> int:
        return self.models * (self.models - 1) // 2

    def views(self, n: int | None = None, models: int | None = None) -> tuple[View, ...]:
        return synthetic_views(n or self.n, models or self.models, self.width)

    def line(self, row: str, what: str, **rest: Any) -> Line:
        return Line(row, what, **rest, judged=self.judged)


Stages = dict[str, float]


@dataclass(frozen=True)
class Run:
    """CPU-seconds and seconds of one call; of :func:`all_pairs` also the CPU-seconds by stage."""

    cpu: float
    wall: float
    stages: Stages


def run_once(call: Callable[[Views], Any], views: Views) -> Run:
    cpu, wall = time.process_time(), time.perf_counter()
    found = call(views)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Run(cpu, wall, found if isinstance(found, dict) else {})


def interleaved(setting: Setting, views: Views, *calls: Callable[[Views], Any]) -> list[list[Run]]:
    """Run the calls in turn, as often as asked for; first each on small inputs."""
    small = setting.views(*WARM_UP)
    for call in calls:
        call(small)
    rounds: list[list[Run]] = []
    start = time.perf_counter()
    while len(rounds) < setting.repeats and not (rounds and time.perf_counter() - start > len(calls) * ENOUGH_SECONDS):
        rounds.append([run_once(call, views) for call in calls])
    return [list(runs) for runs in zip(*rounds, strict=True)]


def cpu(runs: Sequence[Run], stages: Sequence[str] = ()) -> Seconds:
    """CPU-seconds of the runs, of some stages only if any are named."""
    return Seconds(tuple(sum(run.stages.get(name, 0.0) for name in stages) if stages else run.cpu for run in runs))


def all_pairs(wanted: Sequence[str], k: int = 25, threads: int = 1) -> Callable[[Views], Stages]:
    """Return what scores all pairs of views and tells the CPU-seconds by stage.

    A stage lasts from the end of the one before it to its own end: reading the embeddings counts for the first,
    preparing the pass over distances for that pass, and what comes after the last step for the last stage.
    """

    def score(views: Views) -> Stages:
        stages: Stages = {}
        last, stage = time.process_time(), ""

        def add(name: str, *_: int) -> None:
            nonlocal last, stage
            now = time.process_time()
            stages[name] = stages.get(name, 0.0) + now - last
            last, stage = now, name

        named = {f"view {number}": view for number, view in enumerate(views)}
        metrics.alignment_matrices(named, metrics=wanted, k=k, threads=threads, progress=add)
        add(stage)
        return stages

    return score


def by_stage(runs: Sequence[Run]) -> str:
    """Return the median CPU-seconds of each stage, as text."""
    return ", ".join(f"{name} {cpu(runs, [name]).median:.3g} s" for name in runs[0].stages)


class MissingPeerError(Exception):
    """A package of the extra ``peers`` is not installed."""


def need(module: str) -> None:
    if find_spec(module) is None:
        raise MissingPeerError(f"{module} is not installed: `make peers` installs it and runs this script")
    if module == "faiss":
        import faiss

        faiss.omp_set_num_threads(1)


# --- one function per row ----------------------------------------------------------------------------------------


def knn(setting: Setting) -> Iterator[Line]:
    """Exact neighbour lists of one model, against faiss and against the bare matrix product."""

    def ours(views: Views) -> None:
        metrics.neighbors(views[0], setting.k)

    def faiss(views: Views) -> None:
        peers.faiss_inner_product(views[0], setting.k)

    for n in setting.knn_sizes:
        # ones, not zeros: pages must have been touched, fresh ones would cost as much as the product
        out = torch.ones(max(n, WARM_UP[0]) ** 2)

        def sgemm(views: Views, out: torch.Tensor = out) -> None:
            x = torch.from_numpy(views[0])
            torch.mm(x, x.T, out=out[: len(x) ** 2].view(len(x), len(x)))

        views = setting.views(n, 1)
        own, bare = (cpu(runs) for runs in interleaved(setting, views, ours, sgemm))
        rate = 2e-9 * n * n * setting.width / bare.median
        yield setting.line(
            "knn",
            f"exact kNN of a model, n={n:,}, against the bare sgemm of all n^2 products",
            ours=own,
            peer=bare,
            figure=own.median / bare.median,
            bar=Bar("<=", 2.5, 1.5),
            remarks=f"sgemm {rate:.0f} GFLOP/s",
        )
        need("faiss")
        own, other = (cpu(runs) for runs in interleaved(setting, views, ours, faiss))
        yield setting.line(
            "knn",
            f"exact kNN of a model, n={n:,}, against faiss IndexFlatIP",
            ours=own,
            peer=other,
            figure=other.median / own.median,
            bar=Bar(">=", 3, 5),
            remarks=f"faiss takes {other.median / bare.median:.2f}x the bare sgemm",
        )


def _platonic(setting: Setting) -> Callable[[Views], None]:
    def one_pair(views: Views) -> None:
        peers.platonic_cknna(views[0], views[1], setting.k)

    return one_pair


def lists(setting: Setting) -> Iterator[Line]:
    """CKNNA and mutual kNN of all pairs from ready lists, against one pair of platonic-rep."""
    ours = all_pairs(["cknna", "mutual_knn"], setting.k)
    own, other = interleaved(setting, setting.views(), ours, _platonic(setting))
    from_lists, pair = cpu(own, LISTS), cpu(other)
    yield setting.line(
        "lists",
        f"CKNNA and mutual kNN of all {setting.pairs:,} pairs from ready lists, against one platonic-rep CKNNA",
        ours=from_lists,
        peer=pair,
        figure=from_lists.median / pair.median,
        bar=Bar("<=", 0.4, 0.15),
        remarks=f"the lists themselves: {cpu(own, ['neighbours']).median:.3g} s",
    )


def suite(setting: Setting) -> Iterator[Line]:
    """All metrics but I_dCor of all pairs, lists included, against one pair of platonic-rep."""
    own, other = interleaved(setting, setting.views(), all_pairs(SUITE, setting.k), _platonic(setting))
    yield setting.line(
        "suite",
        f"CKNNA, mutual kNN, dCor both, II and TwoNN of all {setting.pairs:,} pairs, against one platonic-rep CKNNA",
        ours=cpu(own),
        peer=cpu(other),
        figure=cpu(own).median / cpu(other).median,
        bar=Bar("<=", 4, 1.5),
        remarks=by_stage(own),
    )


def dcor(setting: Setting) -> Iterator[Line]:
    """DCor of all pairs in one sweep, against dcor on the path it means to take and as it is shipped."""
    need("dcor")
    ours = all_pairs(["distance_correlation"])
    own, other = interleaved(setting, setting.views(), ours, lambda views: peers.dcor_scipy(*views[:2]))
    peer = cpu(other).times(setting.pairs)
    yield setting.line(
        "dcor",
        f"dCor of {setting.pairs:,} pairs, against dcor on its SciPy path (one pair x {setting.pairs:,})",
        ours=cpu(own),
        peer=peer,
        figure=peer.median / cpu(own).median,
        bar=Bar(">=", 500, 1500),
        remarks=f"dcor: {cpu(other).median:.3g} s per pair",
    )
    yield _dcor_as_shipped(setting, cpu(own))


def _dcor_as_shipped(setting: Setting, own: Seconds) -> Line:
    what = f"... against dcor as shipped (one pair x {setting.pairs:,})"
    needed, free = peers.dcor_as_shipped_bytes(setting.n, setting.width), _available_bytes()
    if needed > 0.8 * free:
        why = f"not run: one pair takes {needed / 2**30:.1f} GiB for differences, {free / 2**30:.1f} GiB are free"
        return setting.line("dcor", what, ours=own, remarks=why)
    x, y = setting.views()[:2]
    pair = Seconds((run_once(lambda views: peers.dcor_as_shipped(*views), (x, y)).cpu,))
    peer = pair.times(setting.pairs)
    remarks = f"dcor: {pair.median:.3g} s and {needed / 2**30:.1f} GiB per pair"
    return setting.line("dcor", what, ours=own, peer=peer, figure=peer.median / own.median, remarks=remarks)


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def imbalance(setting: Setting) -> Iterator[Line]:
    """What information imbalance adds to the pass over distances that dCor makes anyway, and against DADApy."""
    # TwoNN in both: its search reads the embeddings and finds the lists, so that the passes alone differ by II
    alone = all_pairs(["distance_correlation", "intrinsic_dimension"])
    both = all_pairs(["distance_correlation", "information_imbalance", "intrinsic_dimension"])
    without, with_it = interleaved(setting, setting.views(), alone, both)
    base, passed = cpu(without, PASS), cpu(with_it, PASS)
    search = cpu(with_it, ["neighbours"])
    added = passed.median - base.median
    yield setting.line(
        "imbalance",
        f"II of all {setting.pairs:,} pairs both ways on top of dCor's pass: pass with both against pass without II",
        ours=passed,
        peer=base,
        figure=100 * added / base.median,
        unit="%",
        bar=Bar("<=", 50, 20),
        remarks=f"its nearest neighbours (shared with TwoNN): {search.median:.3g} s more, "
        f"{100 * search.median / base.median:+.0f} % if charged to it",
    )
    need("dadapy")
    (other,) = interleaved(setting, setting.views(), lambda v: peers.dadapy_information_imbalance(*v[:2]))
    peer = cpu(other).times(setting.pairs)
    yield setting.line(
        "imbalance",
        f"II of {2 * setting.pairs:,} ordered pairs, search and the whole pass, dCor's share included, "
        f"against DADApy on all rows (one call x {setting.pairs:,})",
        ours=cpu(with_it),
        peer=peer,
        figure=peer.median / cpu(with_it).median,
        remarks=f"DADApy: {cpu(other).median / 2:.3g} s per ordered pair; "
        f"{peer.median / (added + search.median):,.0f}x II's own cost, search included",
    )


def idcor(setting: Setting) -> Iterator[Line]:
    """I_dCor of all pairs without p, against three TwoNN per pair."""
    ours = all_pairs(["intrinsic_dimension_correlation"])
    own, other = interleaved(setting, setting.views(), ours, lambda views: peers.three_two_nn(*views[:2]))
    peer = cpu(other).times(setting.pairs)
    yield setting.line(
        "idcor",
        f"I_dCor of {setting.pairs:,} pairs without p, against three TwoNN each (one pair x {setting.pairs:,})",
        ours=cpu(own),
        peer=peer,
        figure=peer.median / cpu(own).median,
        bar=Bar(">=", 60, 150),
        remarks=f"three TwoNN: {cpu(other).median:.3g} s per pair",
    )


def two_nn(setting: Setting) -> Iterator[Line]:
    """TwoNN of one model, against scikit-dimension and DADApy."""

    def ours(views: Views) -> None:
        metrics.intrinsic_dimension(views[0])

    rivals = {"skdim": ("scikit-dimension", peers.skdim_two_nn), "dadapy": ("DADApy", peers.dadapy_two_nn)}
    for module, (name, function) in rivals.items():
        need(module)
        own, other = interleaved(setting, setting.views(), ours, lambda views, f=function: f(views[0]))
        yield setting.line(
            "two-nn",
            f"TwoNN of a model, against {name}",
            ours=cpu(own),
            peer=cpu(other),
            figure=cpu(other).median / cpu(own).median,
        )


def threads(setting: Setting) -> Iterator[Line]:
    """Seconds on the clock of the row `suite` with one thread and with two."""
    if len(os.sched_getaffinity(0)) < 2:
        print("threads: skipped, this process may use one core only", file=sys.stderr)
        return
    before = report.load()
    calls = [all_pairs(SUITE, setting.k, threads=count) for count in (2, 1)]
    two, one = interleaved(setting, setting.views(), *calls)
    wall = [Seconds(tuple(run.wall for run in runs)) for runs in (two, one)]
    yield setting.line(
        "threads",
        "the call of row `suite` with two threads (ours) and with one (peer): seconds on the clock",
        ours=wall[0],
        peer=wall[1],
        figure=wall[1].median / wall[0].median,
        bar=Bar(">=", 1.6, 1.85),
        remarks=f"load of 1 and 5 minutes: {before} before, {report.load()} after, this script included; "
        f"CPU-seconds {cpu(two).median:.3g} and {cpu(one).median:.3g}",
    )


def calibration(setting: Setting) -> Iterator[Line]:
    """Permutation nulls of all pairs, one metric at a time."""
    calibrate = getattr(metrics, "calibration_matrices", None)
    if not callable(calibrate):  # a module of that name may exist before the function does
        print("calibration: skipped, consilience.metrics has no calibration_matrices", file=sys.stderr)
        return
    total = 0.0
    for metric in CALIBRATED:

        def ours(views: Views, metric: str = metric) -> None:
            named = {f"view {number}": view for number, view in enumerate(views)}
            permutations = min(setting.permutations, 20) if len(views) < setting.models else setting.permutations
            calibrate(named, metrics=[metric], permutations=permutations, threads=1)

        (own,) = interleaved(setting, setting.views(setting.calibration_size), ours)
        total += cpu(own).median
        yield setting.line(
            "calibration",
            f"null of {metric} of all {setting.pairs:,} pairs, {setting.permutations} permutations, "
            f"n={setting.calibration_size:,}",
            ours=cpu(own),
            figure=cpu(own).median,
            unit="s",
            bar=Bar("<=", 60, 15),
        )
    yield setting.line("calibration", "all five together", figure=total, unit="s")


def agreement(setting: Setting) -> Iterator[Line]:
    """Largest difference from dense float64 references over all ordered pairs of four models."""
    bars = {
        "CKNNA": Bar("<=", 1e-9),
        "mutual kNN": Bar("<=", 0),
        "dCor, U-centred": Bar("<=", 1e-7),
        "dCor, doubly centred": Bar("<=", 1e-7),
        "II": Bar("<=", 1e-12),
        "TwoNN, relative": Bar("<=", 1e-6),
        "I_dCor, relative": Bar("<=", 1e-5),
    }
    for n in setting.agreement_sizes:
        for name, difference in _differences(setting.views(n, 4), setting.k).items():
            remarks = {"II": "exact but for the last digit", "mutual kNN": "exact"}.get(name, "")
            yield setting.line(
                "agreement",
                f"{name} against dense float64, n={n:,}, 4 models",
                figure=difference,
                unit="",
                bar=bars[name],
                remarks=remarks,
            )


def _differences(views: Views, k: int) -> dict[str, float]:
    dense = [view.astype(np.float64) for view in views]
    named = {str(number): view for number, view in enumerate(views)}
    found = metrics.alignment_matrices(
        named, metrics=[*SUITE, "intrinsic_dimension_correlation"], k=k, neighbors={"mutual_knn": 10}, threads=1
    )

    def largest(metric: str, reference: Callable[[Any, Any], float], relative: bool = False) -> float:
        ordered = [(a, b) for a in range(len(dense)) for b in range(len(dense)) if a != b]
        truths = np.array([reference(dense[a], dense[b]) for a, b in ordered])
        ours = np.array([found[metric][a, b] for a, b in ordered])
        return float(np.max(np.abs(ours - truths) / (np.abs(truths) if relative else 1.0)))

    dimensions = np.array([references.two_nn(x) for x in dense])
    return {
        "CKNNA": largest("cknna", lambda x, y: references.cknna(x, y, k)),
        "mutual kNN": largest("mutual_knn", lambda x, y: references.mutual_knn(x, y, 10)),
        "dCor, U-centred": largest(
            "distance_correlation", lambda x, y: references.distance_correlation(x, y, unbiased=True)
        ),
        "dCor, doubly centred": largest(
            "distance_correlation:paper", lambda x, y: references.distance_correlation(x, y, unbiased=False)
        ),
        "II": largest("information_imbalance", references.information_imbalance),
        "TwoNN, relative": float(np.max(np.abs(found["intrinsic_dimension"] / dimensions - 1))),
        "I_dCor, relative": largest("intrinsic_dimension_correlation", references.dimension_correlation, relative=True),
    }


ROWS: dict[str, Callable[[Setting], Iterator[Line]]] = {
    "agreement": agreement,
    "knn": knn,
    "lists": lists,
    "suite": suite,
    "dcor": dcor,
    "imbalance": imbalance,
    "idcor": idcor,
    "two-nn": two_nn,
    "threads": threads,
    "calibration": calibration,
}


# --- the large run -----------------------------------------------------------------------------------------------


def large_run(options: argparse.Namespace) -> Iterator[Line]:
    """All rows of `suite` at n = 50,000 from memory-mapped files, in a process of its own with two threads."""
    judged = (options.large_n, options.models, options.width, options.k) == (50_000, 60, 256, 25)
    if options.memmap_dir is not None:
        options.memmap_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="consilience-", dir=options.memmap_dir) as folder:
        found = large.measure(
            Path(folder), n=options.large_n, models=options.models, width=options.width, k=options.k, metrics=SUITE
        )
    what = f"CKNNA, mutual kNN, dCor both, II and TwoNN, n={options.large_n:,}, M={options.models}, memory-mapped"
    stages = ", ".join(f"{name} {stage['wall'] / 60:.1f} min" for name, stage in found["stages"].items())
    yield Line(
        "large",
        f"{what}: time on the clock, two threads",
        ours=Seconds((found["wall"],)),
        figure=found["wall"] / 60,
        unit="min",
        bar=Bar("<=", 40, 20),
        remarks=f"{stages}; {found['cpu'] / 60:.1f} CPU-minutes; load of 1 and 5 minutes afterwards: {report.load()}",
        judged=judged,
    )
    peaks = ", ".join(f"{name} {stage['peak'] / 2**30:.2f} GiB" for name, stage in found["stages"].items())
    yield Line(
        "large",
        f"{what}: peak memory beyond the mapped files (RssAnon, every 50 ms), libraries included",
        figure=found["peak"] / 2**30,
        unit="GiB",
        bar=Bar("<=", 2, 1),
        remarks=f"{peaks}; {found['before'] / 2**30:.2f} GiB before the call; files {found['files'] / 2**30:.2f} GiB",
        judged=judged,
    )


# --- command line ------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_peers", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=5000, help="items (kNN also at three times as many)")
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--width", type=int, default=256, help="columns of a model")
    parser.add_argument("--k", type=int, default=25, help="neighbours of CKNNA")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="n = 1,000, 8 models, 20 permutations: no verdicts")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--json", type=Path, help="also write the figures, every run of them, to this file")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    parser.add_argument("--large", action="store_true", help="the n = 50,000 run, and nothing else")
    parser.add_argument("--large-n", type=int, default=50_000, help="its items, to try it out")
    parser.add_argument("--memmap-dir", type=Path, help="where its inputs go (3 GB, deleted afterwards)")
    options = parser.parse_args()
    if options.quick:
        options.n, options.models = min(options.n, 1000), min(options.models, 8)
    if options.write and options.quick:
        parser.error("--write takes rows at full size: not with --quick")
    return options


def setting_of(options: argparse.Namespace) -> Setting:
    quick = options.quick
    return Setting(
        n=options.n,
        models=options.models,
        width=options.width,
        k=options.k,
        repeats=options.repeats,
        knn_sizes=(options.n, 3 * options.n),
        calibration_size=300 if quick else 1000,
        permutations=20 if quick else 200,
        agreement_sizes=(600,) if quick else (600, 2000),
        judged=(options.n, options.models, options.width, options.k) == (5000, 60, 256, 25),
    )


def rows_of(setting: Setting, names: Sequence[str]) -> Iterator[Line]:
    for name in names:
        try:
            yield from ROWS[name](setting)
        except MissingPeerError as missing:
            print(f"{name}: skipped, {missing}", file=sys.stderr)


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    setting = setting_of(options)
    with threadpool_limits(1):
        start = report.load()
        if options.large:
            lines = large_run(options)
            sizes = f"one run, seeds [{options.large_n}, 0] and [{options.large_n}, 1, m]"
        else:
            lines = rows_of(setting, options.only or list(ROWS))
            sizes = (
                f"n={setting.n:,}, M={setting.models} models, d={setting.width}, k={setting.k}, one thread each side, "
                f"CPU-seconds, median of {setting.repeats} alternating runs ± half their range"
            )
        print(report.table_head(), flush=True)
        done = []
        for line in lines:
            done.append(line)
            print(line.markdown(), flush=True)
    about = {"sizes": sizes} | report.machine() | {"load of 1 and 5 minutes": f"{start} before, {report.load()} after"}
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items() if value)
    print(f"\n{facts}")
    if options.json:
        options.json.write_text(json.dumps(about | {"lines": [line.record() for line in done]}, indent=1) + "\n")
    if options.write:
        text = "\n".join([facts, "", report.table_head(), *(line.markdown() for line in done)])
        report.fill("large" if options.large else "again" if options.only else "results", text)


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # libraries read it when they are loaded: start again
        os.execve(sys.executable, sys.orig_argv, os.environ | {"OMP_NUM_THREADS": "1"})  # noqa: S606
    main()
