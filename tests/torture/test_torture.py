"""Runs the scripts beside this file for a share of the time; each prints its counts and its seed.

A seed given by ``CONSILIENCE_TORTURE_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
MINUTES = float(os.environ.get("CONSILIENCE_TORTURE_MINUTES", "1"))
SEED = os.environ.get("CONSILIENCE_TORTURE_SEED")
#: Shares of the time.
SCRIPTS = {"fuzz": 0.4, "kill": 0.4, "race": 0.2}

pytestmark = [
    pytest.mark.torture,
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and process lists are Linux's"),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_fault_is_left(script: str, tmp_path: Path) -> None:
    log = tmp_path / "faults"
    command = [sys.executable, str(HERE / f"{script}.py"), "--minutes", str(MINUTES * SCRIPTS[script])]
    seed = ["--seed", SEED] if SEED else []
    done = subprocess.run([*command, *seed, "--log", str(log)], capture_output=True, text=True, check=False)
    print(f"\n{done.stdout}")
    faults = log.read_text() if log.exists() else ""
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{faults[:5000]}"
    assert done.stdout.splitlines()[-1].endswith(" 0 faults")
