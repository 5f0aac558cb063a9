"""All metrics of many models of 50,000 items from memory-mapped files: time and memory of a process of its own.

``python -m benchmarks.against_peers --large`` writes the files and starts this module as that process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

REPOSITORY = Path(__file__).resolve().parents[1]
STATUS = Path("/proc/self/status")
#: Seconds between two looks at the memory, and between two lines of progress.
INTERVAL, PRINT_EVERY = 0.05, 20.0
HIDDEN = 20


@lru_cache(maxsize=1)
def _hidden(n: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng([n, 0]).normal(size=(n, HIDDEN))


def view(n: int, width: int, model: int) -> npt.NDArray[np.float32]:
    """Return one noisy view of the hidden variable, rows of length 1; see ``against_peers.synthetic_views``."""
    random = np.random.default_rng([n, 1, model])
    x = np.tanh(_hidden(n) @ random.normal(size=(HIDDEN, width)) / np.sqrt(HIDDEN))
    x += 0.5 * random.normal(size=x.shape)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32)


def measure(folder: Path, *, n: int, models: int, width: int, k: int, metrics: Sequence[str]) -> dict[str, Any]:
    """Write the models to `folder` and score all pairs in another process; return what :func:`main` prints."""
    for model in range(models):
        np.save(folder / f"{model:03}.npy", view(n, width, model))
    command = [sys.executable, "-m", "benchmarks.large", str(folder), "--k", str(k), "--metrics", *metrics]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


class Memory(threading.Thread):
    """Samples memory that belongs to no file (RssAnon): mapped inputs are not in it, everything else is."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = self.stage_peak = anonymous_bytes()

    def run(self) -> None:
        while True:
            self.sample()
            time.sleep(INTERVAL)

    def sample(self) -> int:
        now = anonymous_bytes()
        self.peak, self.stage_peak = max(self.peak, now), max(self.stage_peak, now)
        return now


def anonymous_bytes() -> int:
    found = re.search(r"^RssAnon:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    assert found is not None, f"{STATUS} has no RssAnon"
    return 1024 * int(found[1])


class Progress:
    """Prints stages as they go, and keeps the time and the peak of each."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.start = memory, time.perf_counter()
        self.stages: dict[str, dict[str, float]] = {}
        self.last = self.printed = self.start
        self.current = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if stage != self.current:
            self.memory.stage_peak = self.memory.sample()
            self.current = stage
        entry = self.stages.setdefault(stage, {"wall": 0.0, "peak": 0.0})
        entry["wall"] += now - self.last
        entry["peak"] = max(entry["peak"], self.memory.stage_peak)
        self.last = now
        if done == total or now - self.printed > PRINT_EVERY:
            self.printed = now
            gib = self.memory.stage_peak / 2**30
            print(f"{now - self.start:7.0f} s  {stage}: {done} of {total}, peak {gib:.2f} GiB", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--k", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--metrics", nargs="+", required=True)
    options = parser.parse_args()
    from consilience import metrics

    models = {path.stem: np.load(path, mmap_mode="r") for path in sorted(options.folder.glob("*.npy"))}
    memory = Memory()
    before = memory.sample()
    memory.start()
    progress = Progress(memory)
    wall, cpu = time.perf_counter(), time.process_time()
    metrics.alignment_matrices(models, metrics=options.metrics, k=options.k, threads=options.threads, progress=progress)
    found = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": memory.peak,
        "before": before,
        "files": sum(model.nbytes for model in models.values()),
        "stages": progress.stages,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
