"""A model's repository over five commits: ASV keeps the history and publishes the regression."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TARGET = """
import numpy as np
from consilience import Card, Embedded, target

NOISE = {noise}  # commit {number}

@target(Card(name="toy", family="toy", modality="atoms"))
def load(card, weights, device):
    def embed(items):
        rows = np.array([np.histogram(a.get_all_distances(), 24, (0.5, 6.5))[0] for a in items], dtype=float)
        noise = np.array([np.random.default_rng(len(a) + int(1e6 * a.positions.std())).normal(size=24) for a in items])
        return Embedded((rows + NOISE * noise).astype(np.float32))
    return embed
"""
CONFIG = {
    "version": 1, "project": "toy", "repo": ".", "branches": ["main"], "environment_type": "existing",
    "pythons": ["same"], "benchmark_dir": "benchmarks", "env_dir": ".asv/env", "results_dir": ".asv/results",
    "html_dir": ".asv/html",
}  # fmt: skip
BENCHMARK = """
from pathlib import Path

from consilience.asv import misalignment_of_run

Alignment = misalignment_of_run(Path(__file__).parents[1] / ".consilience" / "asv.json")
"""


@pytest.mark.slow
def test_a_regression_shows_in_the_published_history(tmp_path: Path) -> None:
    def call(*command: str, when: int = 0) -> None:
        # A day between commits: ASV orders them by their dates.
        dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), f"2026-01-0{when + 1}T12:00:00")
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ | dates
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    asv = (sys.executable, "-m", "asv")
    call("git", "init", "--quiet", "--initial-branch=main")
    call("git", "config", "user.email", "toy@example.org")
    call("git", "config", "user.name", "toy")
    (tmp_path / "asv.conf.json").write_text(json.dumps(CONFIG))
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "alignment.py").write_text(BENCHMARK)
    (tmp_path / ".gitignore").write_text(".asv\n.consilience\n__pycache__\n")
    call(*asv, "machine", "--yes")
    for number, noise in enumerate((0.0, 0.0, 0.0, 4.0, 4.0)):
        (tmp_path / "target_toy.py").write_text(TARGET.format(noise=noise, number=number))
        call("git", "add", "--all", when=number)
        call("git", "commit", "--quiet", "--message", f"commit {number}", when=number)
        call(
            sys.executable, "-m", "pytest", "--benchmark", "--align-save=asv", "--align-datasets=qm9-isomers-1k",
            "--align-limit=120", "target_toy.py",
        )  # fmt: skip
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
        call(*asv, "run", "--python=same", f"--set-commit-hash={head.stdout.strip()}", "--quick")
    call(*asv, "publish")
    pages = tmp_path / ".asv" / "html"
    assert (pages / "index.html").is_file()
    series = list(pages.glob("graphs/**/alignment.Alignment.track_misalignment_calibrated.json"))
    assert series
    values = [value for _, value in json.loads(series[0].read_text())]
    assert len(values) == 5
    assert max(values[:3]) < min(values[3:])
    regressions = json.loads((pages / "regressions.json").read_text())["regressions"]
    assert any("track_misalignment_calibrated" in entry[0] for entry in regressions)
