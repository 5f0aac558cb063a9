"""What ``against_peers.py`` prints: lines of a table, the machine, and the marked places of ``README.md``."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any, Literal

README = Path(__file__).with_name("README.md")
#: OpenBLAS kernels of processors without AVX2: on a newer one, a sign that it did not know the processor.
OLD_KERNELS = {"prescott", "core2", "penryn", "dunnington", "nehalem", "atom", "barcelona", "opteron", "generic"}

COLUMNS = ("row", "what", "ours", "peer", "result", "bar", "stretch", "met", "remarks")


@dataclass(frozen=True)
class Seconds:
    """Repeated measurements of one thing."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.runs)

    def times(self, factor: float) -> Seconds:
        return Seconds(tuple(factor * run for run in self.runs))

    def __str__(self) -> str:
        """Median, and half the range of the runs as a share of it."""
        text = f"{_short(self.median)} s"
        if len(self.runs) == 1:
            return f"{text}, one run"
        spread = (max(self.runs) - min(self.runs)) / 2 / self.median if self.median else 0.0
        return f"{text} ±{spread:.0%}" + (", two runs" if len(self.runs) == 2 else "")


@dataclass(frozen=True)
class Bar:
    """What a figure must reach."""

    sense: Literal[">=", "<="]
    value: float
    stretch: float | None = None

    def verdict(self, figure: float) -> str:
        if not isfinite(figure):
            return "no"
        if self._reached(figure, self.value):
            return "yes" if self.stretch is None or not self._reached(figure, self.stretch) else "yes, stretch"
        return "no"

    def _reached(self, figure: float, value: float) -> bool:
        return figure >= value if self.sense == ">=" else figure <= value


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes
    ----------
    row, what : str
        Name of the row (that of ``--only``) and what is compared.
    ours, peer : Seconds, optional
        CPU-seconds of both sides.
    figure : float, optional
        What the bar is about, in `unit`.
    bar : Bar, optional
        What it must reach.
    """

    row: str
    what: str
    ours: Seconds | None = None
    peer: Seconds | None = None
    figure: float | None = None
    unit: str = "x"
    bar: Bar | None = None
    remarks: str = ""
    #: Bars are about the full size: at any other the verdict is left open.
    judged: bool = field(default=True, kw_only=True)

    def cells(self) -> dict[str, str]:
        """Text by column."""
        bar, stretch, met = "", "", ""
        if self.bar is not None:
            bar = f"{self.bar.sense} {_with_unit(self.bar.value, self.unit)}"
            stretch = "" if self.bar.stretch is None else f"{self.bar.sense} {_with_unit(self.bar.stretch, self.unit)}"
            met = self.bar.verdict(self.figure) if self.judged and self.figure is not None else "not judged"
        result = "" if self.figure is None else _with_unit(self.figure, self.unit)
        sides = ["" if side is None else str(side) for side in (self.ours, self.peer)]
        return dict(zip(COLUMNS, (self.row, self.what, *sides, result, bar, stretch, met, self.remarks), strict=True))

    def markdown(self) -> str:
        return "| " + " | ".join(self.cells().values()) + " |"

    def record(self) -> dict[str, Any]:
        """For JSON: the text of all columns, and the numbers behind it."""
        return self.cells() | {
            "figure": self.figure,
            "unit": self.unit,
            "ours_runs": self.ours and self.ours.runs,
            "peer_runs": self.peer and self.peer.runs,
        }


def table_head(columns: Sequence[str] = COLUMNS) -> str:
    """Return the two lines above the first."""
    return "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|"


def machine() -> dict[str, str]:
    """Processor, cores, system, and what decides the speed: versions and the linear algebra in use."""
    import torch
    from threadpoolctl import threadpool_info

    from . import peers

    mkl = re.search(r"Math Kernel Library Version ([\d.]+)", torch.__config__.show())
    blas = [f"torch: MKL {mkl[1]}" if mkl else "torch: no MKL"]
    for library in threadpool_info():
        if library["user_api"] == "blas":
            owner = Path(library["filepath"]).parent.name.removesuffix(".libs").partition("_cpu")[0]
            blas.append(f"{owner}: {library['internal_api']} {library['version']} ({library.get('architecture')})")
    known = {"consilience": version("consilience")} | peers.versions()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores of this process",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {found or 'missing'}" for name, found in known.items()),
        "BLAS": "; ".join(sorted(set(blas))),
        "warning": _misdetected(blas),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    widest = next((flag for flag in ("amx_tile", "avx512f", "avx2") if flag in known), "no AVX2")
    ids = ", ".join(re.findall(r"^((?:cpu family|model)\s*: \d+)$", text, re.MULTILINE)[:2]).replace("\t", "")
    return f"{name[1] if name else platform.processor()} ({ids}; {widest})"


def _misdetected(blas: Sequence[str]) -> str:
    old = [
        one for one in blas if re.search(r"\((\w+)\)", one) and re.search(r"\((\w+)\)", one)[1].lower() in OLD_KERNELS
    ]
    if not old:
        return ""
    return (
        f"{'; '.join(old)}: kernels of an old processor, its peers are slower than they need be. Set OPENBLAS_CORETYPE."
    )


def load() -> str:
    """Return the load average of the last 1 and 5 minutes."""
    one, five, _ = os.getloadavg()
    return f"{one:.1f} and {five:.1f}"


def fill(marker: str, text: str, path: Path = README) -> None:
    """Put `text` between ``<!-- marker -->`` and ``<!-- /marker -->``.

    Raises
    ------
    ValueError
        The file has no such place.
    """
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path}: expected {start} ... {end}, found none")
    path.write_text(f"{before}{start}\n{text.strip()}\n{end}{after}", encoding="utf-8")


def _with_unit(value: float, unit: str) -> str:
    """A figure as a reader wants it; differences ("") can be tiny."""
    if unit == "%":
        return f"{value:+.0f} %"
    if unit == "":
        return "0" if value == 0 else f"{value:.0e}"
    return f"{_short(value)}{'' if unit == 'x' else ' '}{unit}"


def _short(value: float) -> str:
    """Three digits, thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
