"""The comparison with other packages runs, without those packages too, and its references are the oracles'."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    name = "peers_" + Path(path).stem
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


references = load("benchmarks/references.py")
report = load("benchmarks/report.py")
oracles = load("tests/metrics/oracles.py")


@pytest.mark.parametrize(
    ("ours", "oracle"),
    [
        (lambda x, y: references.cknna(x, y, 7), lambda x, y: oracles.cknna(x, y, 7)),
        (lambda x, y: references.mutual_knn(x, y, 7), lambda x, y: oracles.mutual_knn(x, y, 7)),
        (
            lambda x, y: references.distance_correlation(x, y, unbiased=True),
            lambda x, y: oracles.distance_correlation(x, y, "unbiased"),
        ),
        (
            lambda x, y: references.distance_correlation(x, y, unbiased=False),
            lambda x, y: oracles.distance_correlation(x, y, "paper"),
        ),
        (references.information_imbalance, lambda x, y: oracles.information_imbalance(x, y, 1)),
        (lambda x, y: references.two_nn(x), lambda x, y: oracles.two_nn(oracles.squared(x))),
        (references.dimension_correlation, oracles.dimension_correlation),
    ],
    ids=["cknna", "mutual_knn", "dcor_unbiased", "dcor_paper", "imbalance", "two_nn", "idcor"],
)
def test_references_are_the_oracles(ours: Callable[..., float], oracle: Callable[..., float]) -> None:
    random = np.random.default_rng(0)
    hidden = random.normal(size=(40, 4))
    x, y = (np.tanh(hidden @ random.normal(size=(4, 9))) + 0.2 * random.normal(size=(40, 9)) for _ in range(2))
    assert ours(x, y) == pytest.approx(oracle(x, y), rel=1e-12)


def test_bars_are_judged_from_their_own_side() -> None:
    assert report.Bar(">=", 3, 5).verdict(3.1) == "yes"
    assert report.Bar(">=", 3, 5).verdict(5.1) == "yes, stretch"
    assert report.Bar(">=", 3, 5).verdict(2.9) == "no"
    assert report.Bar("<=", 50, 20).verdict(51) == "no"
    assert report.Bar("<=", 0).verdict(0) == "yes"
    assert report.Bar(">=", 3).verdict(float("nan")) == "no"


def test_results_replace_what_is_between_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("above\n<!-- results -->\nold\n<!-- /results -->\nbelow\n")
    report.fill("results", "new", path)
    assert path.read_text() == "above\n<!-- results -->\nnew\n<!-- /results -->\nbelow\n"
    with pytest.raises(ValueError, match="large"):
        report.fill("large", "new", path)


def test_readme_has_the_marks() -> None:
    text = (REPOSITORY / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for marker in ("results", "large"):
        assert text.index(f"<!-- {marker} -->") < text.index(f"<!-- /{marker} -->")


@pytest.mark.slow
def test_rows_run_and_a_missing_peer_is_named(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.against_peers",
        "--quick",
        "--n=300",
        "--repeats=1",
        f"--json={figures}",
    ]
    command += ["--only", "agreement", "idcor", "two-nn"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    lines = {line["what"]: line for line in found["lines"]}
    assert "I_dCor of 28 pairs" in " ".join(lines)
    assert all(line["met"] in ("", "not judged") for line in lines.values())  # bars are about the full size
    assert max(line["figure"] for line in lines.values() if line["row"] == "agreement") < 1e-5
    assert "two-nn" in {line["row"] for line in lines.values()} or "skdim is not installed: `make peers`" in done.stderr


@pytest.mark.slow
def test_the_large_run_reports_time_and_memory() -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.against_peers",
        "--large",
        "--large-n=1500",
        "--models=3",
        "--width=16",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| large |") == 2
    assert "distances:" in done.stderr
