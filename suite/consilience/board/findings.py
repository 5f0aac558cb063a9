"""What a verification found: findings, and the report that lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from consilience.records.board import BOARD_VERSION
from consilience.records.schema import refuse_newer

from .markdown import tabulated
from .tolerance import differences

#: Lines shown of one file; the report as JSON has all.
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    file: str
    """File, relative to the board or the archive."""
    field: str
    """Field in it; empty where the file as a whole is meant."""
    published: str
    """What it says."""
    recomputed: str
    """What it should say."""


@dataclass
class Report:
    """What a verification found.

    Attributes
    ----------
    recomputed
        Number of cells scored again, or found not to apply, as published.
    findings
        What differs.
    not_at_hand
        Cells, and what else could not be recomputed here.
    remarks
        What a publisher should know and a verification can't decide.
    """

    recomputed: int = 0
    findings: list[Finding] = field(default_factory=list)
    not_at_hand: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def find(self, file: str, field: str, published: object, recomputed: object) -> None:
        """Add a finding."""
        self.findings.append(Finding(file, field, _short(published), _short(recomputed)))

    def compare(self, file: str, published: Any, recomputed: Any, tolerance: float | None = None, at: str = "") -> None:
        """Add a finding for every field in which two JSON values differ; numbers may, by the tolerance of the field."""
        for name, old, new in differences(published, recomputed, tolerance, at):
            self.find(file, name, old, new)

    def lines(self) -> Iterator[str]:
        """Say it in lines for a terminal."""
        if self.findings:
            seen: dict[str, int] = {}
            rows = []
            for one in self.findings:
                seen[one.file] = seen.get(one.file, 0) + 1
                if seen[one.file] <= _SHOWN:
                    rows.append([one.file, one.field, one.published, one.recomputed])
            yield from tabulated([["file", "field", "published", "recomputed"], *rows], "simple").splitlines()
            yield from (f"{file}: {n - _SHOWN} more (--json has all)" for file, n in seen.items() if n > _SHOWN)
        if self.not_at_hand:
            yield f"not available on this machine, checked against themselves only ({len(self.not_at_hand)}):"
            groups: dict[str, list[str]] = {}
            for cell in self.not_at_hand:
                dataset, _, target = cell.partition("::")
                groups.setdefault(dataset, []).append(target or dataset)
            for dataset, targets in groups.items():
                more = f" and {len(targets) - _SHOWN} more" if len(targets) > _SHOWN else ""
                yield f"  {dataset} ({len(targets)}): {', '.join(targets[:_SHOWN])}{more}"
            yield "  --json names all; consilience run --targets NAMES --datasets NAMES embeds them here"
        yield from (f"remark: {remark}" for remark in self.remarks)
        cells = f"{self.recomputed} cell{'s' * (self.recomputed != 1)} recomputed"
        yield f"{cells}, {len(self.findings)} finding{'s' * (len(self.findings) != 1)}"


def compare_json(report: Report, name: str, page: str, wanted: str) -> None:
    """Add what differs between a page as JSON and the same page built again."""
    before = len(report.findings)
    try:
        content = json.loads(page)
        refuse_newer(content.get("schema_version"), BOARD_VERSION)
        report.compare(name, content, json.loads(wanted), 0)
    except (ValueError, AttributeError, RecursionError) as error:
        report.find(name, "", str(error), "a board")
    if len(report.findings) == before:
        report.find(name, "", "another text", "the same figures")


def compare_lines(report: Report, name: str, page: str, wanted: str) -> None:
    """Add the lines that differ between a page and the same page built again."""
    for number, (old, new) in enumerate(zip_longest(page.splitlines(), wanted.splitlines(), fillvalue="(absent)"), 1):
        if old != new:
            report.find(name, f"line {number}", old, new)


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
