"""The CI page's promise: the steps of the action, run on a toy repository as GitHub's runner would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
RUNNER = ROOT / "scripts" / "run_action.py"
TARGET = '''
"""A toy model: how many neighbours atoms have, with noise in its "weights"."""
import numpy as np
from consilience import Card, Embedded, target

NOISE = {noise}

@target(Card(name="toy", family="toy", modality="atoms"))
def load(card, weights, device):
    def embed(items):
        rng = np.random.default_rng(0)
        rows = []
        for atoms in items:
            distances = atoms.get_all_distances()
            rows.append(np.histogram(distances, bins=24, range=(0.5, 6.5))[0] / len(atoms))
        rows = np.array(rows, dtype=np.float32)
        seeds = [int(1e3 * row.sum()) for row in rows]
        noise = np.array([np.random.default_rng(seed).normal(size=24) for seed in seeds])
        return Embedded((rows + NOISE * noise).astype(np.float32))
    return embed
'''

pytestmark = pytest.mark.skipif(not RUNNER.is_file(), reason="needs the repository")


def run(repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUNNER), str(repository), "--skip", "Install"]
    for option in ("target=target_toy.py", "datasets=qm9-isomers-1k", "limit=120", *options):
        command += ["--input", option]
    bin_folder = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": bin_folder})


@pytest.mark.slow
def test_the_steps_of_the_action_score_compare_and_report(tmp_path: Path) -> None:
    (tmp_path / "target_toy.py").write_text(TARGET.format(noise=0.0))
    first = run(tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    report = tmp_path / "consilience-report"
    assert {path.name for path in report.iterdir()} >= {"report.md", "run.json", "junit.xml"}
    assert "toy" in first.stdout.split("-- summary")[1]

    keep = ["--benchmark", "--align-save=main", "--align-datasets=qm9-isomers-1k", "--align-limit=120"]
    subprocess.run([sys.executable, "-m", "pytest", *keep, "target_toy.py"], cwd=tmp_path, check=True)
    same = run(tmp_path, "baseline=main", "fail=cknna:5%")
    assert same.returncode == 0, same.stdout + same.stderr

    (tmp_path / "target_toy.py").write_text(TARGET.format(noise=3.0))
    worse = run(tmp_path, "baseline=main", "fail=cknna:5%")
    assert worse.returncode == 1, worse.stdout + worse.stderr
    assert "toy" in worse.stdout.split("-- summary")[1]  # written before the job failed


def test_an_input_that_the_action_lacks_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "tresholds=1")
    assert done.returncode == 2
    assert "tresholds" in done.stderr


@pytest.mark.parametrize("name", ["action.yml", "docs/ci/align.yml", "docs/ci/align-comment.yml", "docs/ci/gitlab.yml"])
def test_no_input_is_put_into_a_script(name: str) -> None:
    """What a stranger names (a branch, a title) must reach a shell as a variable, never as text of the script."""
    found: list[str] = []

    def collect(node: object) -> None:
        if isinstance(node, dict):
            found.extend(value for key, value in node.items() if key == "run" and isinstance(value, str))
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(yaml.safe_load((ROOT / name).read_text("utf-8")))
    assert not any("${{" in script for script in found)


def test_options_of_the_pages_exist() -> None:
    command = [sys.executable, "-m", "pytest", "--help"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for page in ("docs/ci.md", "action.yml", "docs/ci/gitlab.yml"):
        words = (ROOT / page).read_text("utf-8").replace("=", " ").replace('"', " ").replace("`", " ").split()
        options = {word.strip("(,.):") for word in words if word.lstrip("(").startswith("--align-")}
        assert options
        assert all(option.lstrip("(") in known for option in options), options


GROUPED = """
import os, time
from pathlib import Path
import pytest

@pytest.mark.parametrize("i", [pytest.param(i, marks=pytest.mark.xdist_group("one")) for i in range(4)])
def test_it(i):
    time.sleep(0.2)
    with Path("processes").open("a") as file:
        print(os.getpid(), file=file)
"""


@pytest.mark.slow
def test_tests_of_a_group_share_a_process(tmp_path: Path) -> None:
    """The contract examines all cards of a file at once. With some versions of pytest groups have no effect."""
    (tmp_path / "test_it.py").write_text(GROUPED)
    options = ["-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup", "-q"]
    subprocess.run([sys.executable, "-m", "pytest", *options], cwd=tmp_path, check=True)
    processes = (tmp_path / "processes").read_text().split()
    assert len(processes) == 4
    assert len(set(processes)) == 1
