"""Two and four commands at once on one cold cache and one board, xdist among them: equal to one after another.

``python tests/torture/race.py --minutes 10 --seed 1`` (or ``--rounds N``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from kill import TARGET, Place, _difference, board_state, leftovers, stripped, whole, wipe_board

#: Each time its model is loaded or embeds from the first item on, it says so in a file.
LOGGING = TARGET.replace(
    "    scale = float(",
    '    with Path(__file__).with_name("loads").open("a") as file:\n        file.write("x")\n    scale = float(',
)
NAMES = ("target_tiny.py", "size", "composition")
CONSILIENCE = [sys.executable, "-c", "from consilience.cli import main; main()"]
FAULTS = ("exit code", "different", "not embedded once", "torn file", "leftover")


def commands(kind: str, count: int) -> list[list[str]]:
    """Return commands that run at once."""
    publish = [*CONSILIENCE, "run", "--quiet", "--targets", ",".join(NAMES), "--publish", "board"]
    if kind == "publish":
        return [publish] * count
    if kind == "parts":  # each publishes another target
        return [[*publish[:-3], NAMES[i % len(NAMES)], "--publish", "board"] for i in range(max(count, len(NAMES)))]
    if kind == "run":
        run = [*CONSILIENCE, "run", "--quiet", "--targets", ",".join(NAMES), "--datasets", "mp-1k", "--save"]
        return [[*run, f"saved-{i}.json"] for i in range(count)]
    xdist = ["-n", str(count)] if count > 1 else []
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark", *xdist]
    return [[*pytest, "--align-targets=size,composition,tiny", "--align-publish=board", "target_tiny.py"]]


class Races:
    """Rounds of commands at once, each compared with the same commands one after another."""

    def __init__(self, folder: Path, log: Any) -> None:
        self.place, self.log = Place(folder), log
        (folder / "target_tiny.py").write_text(LOGGING)
        os.utime(folder / "target_tiny.py", (time.time() - 100, time.time() - 100))
        self.counts: Counter[str] = Counter()
        self.wanted: dict[str, Any] = {}

    def fault(self, kind: str, case: str, details: object) -> None:
        self.counts[kind] += 1
        print(f"{kind}: {case}: {details}", file=self.log, flush=True)

    def run(self, kind: str, count: int, *, at_once: bool) -> Any:
        """State that the commands leave."""
        wipe_board(self.place)
        loads = self.place.folder / "loads"
        loads.unlink(missing_ok=True)
        running: list[subprocess.Popen[str]] = []
        for command in commands(kind, count if at_once or kind != "pytest" else 1):
            running.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8")
            )
            if not at_once:
                running[-1].communicate()
        for one in running:
            output = "" if one.stdout is None or one.stdout.closed else one.communicate()[0]
            if one.returncode != 0:
                self.fault("exit code", f"{kind} {count}", f"{one.returncode}: {output[-1500:]}")
        times = len(loads.read_text()) if loads.exists() else 0
        if times != 1:
            self.fault("not embedded once", f"{kind} {count}", f"the model was loaded {times} times")
        if kind == "run":
            state: Any = [
                stripped(json.loads(path.read_text())) for path in sorted(self.place.folder.glob("saved-*.json"))
            ]
            if any(one != state[0] for one in state):
                self.fault("different", f"{kind} {count}", "the saved runs differ")
            return state[0]
        return board_state(self.place)

    def round(self, kind: str, count: int) -> None:
        """Compare commands at once with one after another."""
        if kind not in self.wanted:
            self.wanted[kind] = self.run(kind, count, at_once=False)
        state = self.run(kind, count, at_once=True)
        self.counts["races"] += 1
        self.counts[f"{kind} with {count}"] += 1
        if state != self.wanted[kind]:
            self.fault("different", f"{kind} {count}", _difference(self.wanted[kind], state))
        for name, torn in whole(self.place):
            if torn:
                self.fault("torn file", f"{kind} {count}", f"{name}: {torn}")
        if left := [one for one in leftovers(self.place) if not one.startswith("tmp/pytest-")]:
            self.fault("leftover", f"{kind} {count}", left)
        shutil.rmtree(self.place.scratch, ignore_errors=True)
        self.place.scratch.mkdir()


def main() -> int:
    """Run it and print the counts; 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kinds", default="publish,pytest,parts,run")
    parser.add_argument("--log", default="", help="file for the faults")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    rng, began, done = random.Random(seed), time.monotonic(), 0
    log_path = Path(given.log or os.devnull)
    with tempfile.TemporaryDirectory(prefix="consilience-race-") as folder, log_path.open("a") as log:
        races = Races(Path(folder).resolve() / "place", log)
        kinds = given.kinds.split(",")
        try:
            while done < given.rounds or (not given.rounds and time.monotonic() - began < 60 * given.minutes):
                races.round(kinds[done % len(kinds)], rng.choice([2, 4]))
                done += 1
        finally:
            os.chdir("/")
    counts = races.counts
    faults = sum(counts[kind] for kind in FAULTS)
    seconds = time.monotonic() - began
    print(f"races: {counts['races']}, seed {seed}, {seconds:.0f} s: {dict(counts)}, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
