"""Reads structures through ASE in a process with limits, and writes them as plain arrays (see :mod:`.apart`)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(job: dict[str, Any]) -> None:
    """Read the files of a job; what goes wrong is written down."""
    sys.path[:] = job["path"]
    folder = Path(job["folder"])
    import numpy as np
    from ase.io import iread

    _end_with_parent()
    _limit(job["bytes"], job["seconds"])
    parts: dict[str, list[Any]] = {"numbers": [], "positions": [], "cell": [], "pbc": []}
    statements: list[Any] = []
    row = 1
    column = None
    try:
        for number, (path, kind) in enumerate(job["files"]):
            row = 1
            _note(folder, number, row)
            for atoms in iread(path, ":", format=kind, do_not_split_by_at_sign=True):
                stated = {**atoms.info.get("key_value_pairs", {}), **atoms.info}  # the former in a .db
                results = atoms.calc.results if atoms.calc is not None else {}
                if results.get("energy") is not None:
                    stated["energy"] = results["energy"]
                statements.append(
                    [number, {str(name): value for name, one in stated.items() if (value := _plain(one)) != ()}]
                )
                for name, array in (
                    ("numbers", atoms.numbers),
                    ("positions", atoms.positions),
                    ("cell", atoms.cell.array),
                    ("pbc", atoms.pbc),
                ):
                    parts[name].append(np.asarray(array))
                row += 1
                _note(folder, number, row)
    except MemoryError:
        return _fail(folder, "reading it takes far more memory than its size: write it as extxyz or parquet")
    except KeyError as error:  # what ASE's table of elements raises
        column, symbol = "numbers", error.args[0] if error.args else ""
        return _fail(folder, f"unknown element {symbol!r}", column)
    except Exception as error:  # dozens of readers, each of which fails in its own way
        return _fail(folder, f"{type(error).__name__}: {error}")
    lengths = [len(one) for one in parts["numbers"]]
    arrays = {
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "numbers": np.concatenate(parts["numbers"]) if statements else np.zeros(0, int),
        "positions": np.concatenate(parts["positions"]) if statements else np.zeros((0, 3)),
        "cell": np.array(parts["cell"]).reshape(-1, 3, 3),
        "pbc": np.array(parts["pbc"]).reshape(-1, 3),
    }
    with (folder / "structures.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    (folder / "stated.json").write_text(json.dumps(statements), "utf-8")
    return None


def _plain(value: Any) -> Any:
    """A text or number as JSON has it; () for anything else."""
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
    return value if isinstance(value, str | int | float | bool) else ()


def _note(folder: Path, number: int, row: int) -> None:
    (folder / "at").write_text(f"{number} {row}", "ascii")


def _fail(folder: Path, reason: str, column: str | None = None) -> None:
    (folder / "error.json").write_text(json.dumps({"reason": reason[:4000], "column": column}), "utf-8")


def _end_with_parent() -> None:
    if sys.platform.startswith("linux"):
        import ctypes
        import signal

        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(75)


def _limit(more_bytes: float, more_seconds: float) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + more_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    status = Path("/proc/self/statm")
    if status.is_file():
        most = int(status.read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE") + int(more_bytes)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")))
