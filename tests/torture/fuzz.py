"""Mutate every format that is read, and judge what becomes of it.

``python tests/torture/fuzz.py --minutes 5 --seed 1`` runs all formats in turn until the time is over;
``--count N`` makes N mutants of each instead. Mutants are read in a child process with limits of memory and time; a
mutant that ends the child is counted, and a new child goes on behind it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
#: Processor time of one mutant beyond the start, in seconds; memory of the child beyond the start.
SECONDS, MEMORY = 5, 2**30
FAULTS = ("accepted and wrong", "traceback", "hang", "memory", "crash", "long message")


def judge(form: Any, data: bytes, path: Path, true: Any) -> tuple[str, str]:
    """Verdict on a mutant, and details."""
    from consilience.circumstances import in_words

    try:
        answer = form.read(path)
    except MemoryError as error:
        return "memory", str(error)
    except (ValueError, FileNotFoundError) as error:
        if isinstance(error, UnicodeError) or type(error).__name__ == "JSONDecodeError":
            return "traceback", f"{type(error).__name__} without the file's name"
        if str(path.name) not in str(error) and str(path.parent) not in str(error) and form.name != "submission":
            return "traceback", f"names no file: {in_words(error)[:200]}"
        text = in_words(error)
        return ("refused", text[:200]) if "\n" not in text and len(text) < 1200 else ("long message", text[:100])
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error} {traceback.format_exc()[-600:]}"
    if answer is None and form.missing:
        return "as good as none", ""
    if answer == true:
        return "same", ""
    if form.sealed:
        return "accepted and wrong", f"{str(answer)[:200]}"
    if form.second is not None:
        from formats import NotApplicableError, held

        try:
            second = form.second(data)
        except NotApplicableError:
            return "read as it stands", "not compared"
        except Exception as error:
            return "accepted and wrong", f"the second reader refuses it: {error!r:.200} {str(answer)[:100]}"
        try:
            if (isinstance(answer, dict) and "schema_version" in answer) or form.name == "spec":
                held(second, answer)
            else:
                for name, values in second.items():
                    assert values == answer[name], (name, _difference(values, answer[name]))
        except (AssertionError, KeyError, IndexError, TypeError) as error:
            return "accepted and wrong", f"{error!r:.300}"
    return "read as it stands", ""


def _difference(one: Any, other: Any) -> str:
    if len(one) != len(other):
        return f"{len(one)} and {len(other)}"
    return next((f"{a!r:.80} and {b!r:.80}" for a, b in zip(one, other, strict=True) if a != b), "")


def child(name: str, seed: int, first: int, count: int, folder: Path) -> None:
    """Make and judge some mutants; a line of JSON for each."""
    os.environ["TORTURE_SCRATCH"] = str(folder)
    from formats import FORMATS

    form = next(one for one in FORMATS if one.name == name)
    sample = form.sample()
    path = folder / f"mutant{form.suffix}"
    path.write_bytes(sample)
    true = form.read(path)
    report = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(first, first + count):
        rng = random.Random(f"{seed}/{name}/{number}")
        what, data = form.mutate(rng, sample)
        path.write_bytes(data)
        print(json.dumps({"number": number, "what": what}), file=report, flush=True)
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = used.ru_utime + used.ru_stime
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + SECONDS + 1, resource.RLIM_INFINITY))
        verdict, details = judge(form, data, path, true) if data != sample else ("same", "not changed")
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = used.ru_utime + used.ru_stime - spent
        if form.known and verdict == "traceback" and any(one in details for one in form.known):
            verdict = "known fault"
        verdict = "hang" if seconds > SECONDS else verdict
        line = {"number": number, "verdict": verdict, "details": details, "seconds": round(seconds, 2)}
        print(json.dumps(line), file=report, flush=True)


def batch(name: str, seed: int, first: int, count: int, log: Any, *, alone: bool = False) -> Counter[str]:
    """Run mutants of one format in children until all are judged; one that ends its child is tried once more, alone."""
    verdicts: Counter[str] = Counter()
    after = first + count
    while first < after:
        with tempfile.TemporaryDirectory(prefix="consilience-torture-") as folder:
            cache = Path(folder) / "cache"
            variables = os.environ | {"CONSILIENCE_CACHE": str(cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            command = [
                sys.executable,
                str(HERE / "fuzz.py"),
                "--child",
                name,
                str(seed),
                str(first),
                str(after - first),
            ]
            done = subprocess.run([*command, folder], capture_output=True, text=True, env=variables, check=False)
            begun = None
            for line in map(json.loads, done.stdout.splitlines()):
                if "verdict" not in line:
                    begun = line
                    continue
                assert begun is not None
                verdicts[line["verdict"]] += 1
                if line["verdict"] in FAULTS:
                    print(json.dumps({"format": name, "seed": seed, **begun, **line}), file=log, flush=True)
                first, begun = line["number"] + 1, None
            if begun is not None:  # it ended in the middle of one
                verdict = "hang" if done.returncode == -signal.SIGXCPU else "crash"
                if (
                    not alone
                    and sum(batch(name, seed, begun["number"], 1, log, alone=True)[one] for one in FAULTS) == 0
                ):
                    verdict = f"{verdict} that is not repeated"
                verdicts[verdict] += 1
                line = {"format": name, "seed": seed, **begun, "verdict": verdict, "code": done.returncode}
                print(json.dumps(line), file=log, flush=True)
                first = begun["number"] + 1
            elif first < after:
                print(f"{name}: the child did not begin: {done.stderr[-2000:]}", file=sys.stderr)
                verdicts["crash"] += 1
                return verdicts
    return verdicts


def main() -> int:
    """Run it and print the counts; 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--count", type=int, default=0, help="mutants of each format, whatever the time")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--formats", default="", help="names, separated by commas")
    parser.add_argument("--log", default="", help="file for the faults")
    parser.add_argument("--child", nargs=5, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        name, seed, first, count, folder = given.child
        child(name, int(seed), int(first), int(count), Path(folder))
        return 0
    from formats import FORMATS

    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    chosen = [one for one in FORMATS if not given.formats or one.name in given.formats.split(",")]
    random.Random(seed).shuffle(chosen)  # a short time reaches other formats each time
    counts: dict[str, Counter[str]] = {one.name: Counter() for one in chosen}
    began, step = time.monotonic(), 0
    with Path(given.log or os.devnull).open("a") as log:
        while True:
            for one in chosen:
                number = given.count or 25
                number = max(number // 10, 3) if one.slow else number
                counts[one.name] += batch(one.name, seed, step * number, number, log)
                if not given.count and time.monotonic() - began > 60 * given.minutes:
                    break
            step += 1
            if given.count or time.monotonic() - began > 60 * given.minutes:
                break
    total: Counter[str] = Counter()
    for name, verdicts in counts.items():
        total += verdicts
        words = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        print(f"{name}: {sum(verdicts.values())} mutants: {words}")
    faults = sum(total[one] for one in FAULTS)
    print(f"mutations: {sum(total.values())}, seed {seed}: {dict(total)}, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
