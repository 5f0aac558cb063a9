"""Files of structures that ASE reads, read in a process with limits of its own.

ASE has dozens of readers. Most take a file at its word: a file of 50 bytes that announces a billion atoms fills the
memory. The limits grow with the file's size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consilience.bounds import allowance
from consilience.checks import MalformedDataError
from consilience.scratch import scratch_folder

CHILD = Path(__file__).with_name("child.py")
#: Memory and processor time beyond what the start takes: a fixed part, and one that grows with the files.
MEBIBYTES, BYTES_PER_BYTE = 400, 64
SECONDS, BYTES_PER_SECOND = 4.0, 20_000
#: Clock time: so many times the processor's, for busy machines and slow disks.
_PATIENCE = 20


def read_apart(files: Mapping[Path, str]) -> dict[Path, list[tuple[Any, ...]]]:
    """Read files whose formats are given by ASE's names for them.

    Returns
    -------
    dict
        Of each file, numbers, positions, cell, pbc and what else it states of each structure.

    Raises
    ------
    MalformedDataError
        A file can't be read, or not within the limits.
    """
    if not files:
        return {}
    size = sum(_expanded(path) for path in files)
    limits = {
        "bytes": MEBIBYTES * 2**20 + BYTES_PER_BYTE * size,
        "seconds": SECONDS + size / BYTES_PER_SECOND,
    }
    with scratch_folder() as folder:
        job = {
            "files": [[str(path.resolve()), kind] for path, kind in files.items()],
            "folder": str(folder),
            "path": sys.path,
            **limits,
        }
        (folder / "job.json").write_text(json.dumps(job), "utf-8")
        variables = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
        nowhere = subprocess.DEVNULL
        try:
            code: int | None = subprocess.run(
                [sys.executable, "-P", str(CHILD), str(folder / "job.json")],
                stdin=nowhere,
                stdout=nowhere,
                stderr=nowhere,
                env=variables,
                timeout=_PATIENCE * limits["seconds"],
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        paths = list(files)
        current, row = _progress(folder, paths)
        if (folder / "error.json").is_file():
            error = json.loads((folder / "error.json").read_text("utf-8"))
            raise MalformedDataError(current, error["reason"], row=row, column=error["column"])
        if code != 0:
            raise MalformedDataError(current, _how_it_ended(code, limits, files[current]), row=row)
        return _content(folder, paths)


def _expanded(path: Path) -> int:
    """Bytes that a file holds, at most; of a compressed one, it was found to be within its allowance."""
    size = path.stat().st_size
    return min(20 * size, allowance(path)) if path.suffix.lower() in (".gz", ".bz2", ".xz") else size


def _progress(folder: Path, paths: list[Path]) -> tuple[Path, int | None]:
    """File and structure that were being read last."""
    try:
        number, row = (folder / "at").read_text("ascii").split()
        return paths[int(number)], int(row)
    except (OSError, ValueError, IndexError):
        return paths[0], None


def _how_it_ended(code: int | None, limits: Mapping[str, float], kind: str) -> str:
    instead = "write the structures as extxyz or parquet"
    import signal

    if code is None or code == -getattr(signal, "SIGXCPU", 0):
        return f"reading it as {kind} takes more than {limits['seconds']:.0f} s of processor time: {instead}"
    return f"ase.io ended while it read this as {kind} (exit code {code}): {instead}"


def _content(folder: Path, paths: list[Path]) -> dict[Path, list[tuple[Any, ...]]]:
    import numpy as np

    stated = json.loads((folder / "stated.json").read_text("utf-8"))
    content: dict[Path, list[tuple[Any, ...]]] = {path: [] for path in paths}
    with np.load(folder / "structures.npz", allow_pickle=False) as arrays:
        offsets = arrays["offsets"]
        numbers, positions, cells, pbc = (arrays[name] for name in ("numbers", "positions", "cell", "pbc"))
        for i, (number, values) in enumerate(stated):
            atoms = slice(offsets[i], offsets[i + 1])
            content[paths[number]].append((numbers[atoms], positions[atoms], cells[i], pbc[i], values))
    return content
