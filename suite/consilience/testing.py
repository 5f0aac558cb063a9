"""Checks for authors of targets: the contract of DESIGN 4, run in the target's own environment.

Examples
--------
In a model's own test suite::

    from consilience.testing import check_target

    def test_my_target():
        check_target("target_mymodel.py").raise_for_failures()
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.embedding.embed import EmbeddingFailedError, EmbeddingSkippedError, covered_items, run_worker
from consilience.isolation.environments import EnvironmentBuildError, Header, ensure
from consilience.isolation.job import Outcome
from consilience.records.spec import DEFAULT_SPEC, read_spec

from .embedding.contract import DISTINCT, TOLERANCE, deviation
from .embedding.shards import read_shards
from .registry import Target, get_dataset, get_target, load_target_file

if TYPE_CHECKING:
    from .datasets.items import Items

#: The twin's rows have to differ from the trained rows by at least this much (relative).
TWIN_DIFFERS = 1e-3


@dataclass(frozen=True)
class Check:
    """One rule of the contract and what was measured."""

    name: str
    """The rule."""
    passed: bool
    """Whether it holds."""
    value: float | None
    """Measured figure."""
    limit: float | None
    """Bar for the figure."""
    detail: str
    """What was compared."""


@dataclass(frozen=True)
class Report:
    """All checks of one target on one sample of items."""

    target: str
    """Name of the target."""
    dataset: str
    """Where the items came from."""
    checks: tuple[Check, ...]
    """In the order they ran."""
    facts: dict[str, str] = field(default_factory=dict)
    """What it ran in and how fast: environment, weights, speed, memory."""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def raise_for_failures(self) -> None:
        """Raise `AssertionError` naming every broken rule."""
        broken = [check for check in self.checks if not check.passed]
        if broken:
            lines = [f"{check.name}: {check.detail} (measured {check.value})" for check in broken]
            raise AssertionError(f"{self.target} on {self.dataset} breaks the contract:\n" + "\n".join(lines))

    def __str__(self) -> str:
        from tabulate import tabulate

        rows = [
            ["ok" if c.passed else "BROKEN", c.name, _figure(c.value), _figure(c.limit), c.detail] for c in self.checks
        ]
        table = tabulate(rows, ["", "rule", "measured", "bar", "detail"], disable_numparse=True)
        broken = sum(not check.passed for check in self.checks)
        verdict = f"{broken} of {len(self.checks)} rules BROKEN" if broken else f"all {len(self.checks)} rules hold"
        facts = tabulate(list(self.facts.items()), tablefmt="plain", disable_numparse=True)
        return "\n".join(filter(None, [f"{self.target} on {self.dataset}: {verdict}", facts, table]))


def check_target(
    target: Target | str | Path,
    items: Items | None = None,
    *,
    dataset: str | None = None,
    n: int = 24,
    device: str = "cpu",
    time_limit: float = 900.0,
) -> Report:
    """Examine whether one target keeps the contract.

    Parameters
    ----------
    target
        A registered target, its name, or the path of a ``target_*.py`` file (its first card).
    items
        Items to try it on; else the first `n` covered items of `dataset`.
    dataset
        Name of a registered data set; the first one that the target covers by default.
    n
        Sample size, at least 2.
    device
        Torch device string.
    time_limit
        Seconds for each of the (two or three) processes.

    Returns
    -------
    Report
        Every rule with its measured figure; `raise_for_failures` makes a test of it.

    Raises
    ------
    EmbeddingFailedError
        The environment, the loading or the embedding failed.
    EmbeddingSkippedError
        No data set has what the target reads.
    """
    if not isinstance(target, Target):
        is_file = str(target).endswith(".py")
        target = load_target_file(target)[0] if is_file else get_target(str(target))
    sample = _sample(target, items, dataset, n)
    began = time.perf_counter()
    environment = _environment(target)
    built = time.perf_counter() - began
    with tempfile.TemporaryDirectory(prefix="consilience-check-") as scratch:
        folders = [Path(scratch) / name for name in ("first", "second", "twin", "saved")]
        # Where the target reads a user's file it has to read the one that it writes.
        saved = Path(scratch) / f"{target.card.name}.checkpoint" if target.card.accepts else None
        for folder in folders:
            folder.mkdir()

        def rows(which: Target, folder: Path) -> Any:
            run_worker(which, sample, "embed", folder=folder, device=device, time_limit=time_limit)
            return read_shards(folder).features.astype(np.float64)

        outcome = run_worker(
            target, sample, "examine", folder=folders[0], device=device, time_limit=time_limit, save_to=saved
        )
        facts = {"environment": f"{environment} ({built:.1f} s)", **_facts(outcome)}
        checks = [Check(**check) for check in outcome.of("examined")["checks"]]
        first = read_shards(folders[0]).features.astype(np.float64)
        second = rows(target, folders[1])
        value = deviation(first, second)
        checks.append(Check("deterministic across processes", value <= TOLERANCE, value, TOLERANCE, "two processes"))
        if target.card.untrained and not target.weights.random:
            twin = rows(target.untrained(), folders[2])
            value = deviation(first, twin) if twin.shape == first.shape else float("inf")
            finite = bool(np.isfinite(twin).all())
            passed = finite and value > TWIN_DIFFERS
            checks.append(Check("the untrained twin differs", passed, value, TWIN_DIFFERS, "random weights"))
        if outcome.of("saved"):
            value = deviation(
                first, rows(target.from_checkpoint(outcome.of("saved")["path"], trusted=True), folders[3])
            )
            text = "written by the target, read as a user's file"
            checks.append(Check("saved and loaded again", value <= TOLERANCE, value, TOLERANCE, text))
    return Report(target.name, sample.name, tuple(checks), facts)


def _environment(target: Target) -> str:
    """Build the target's environment unless it stands; say which it is."""
    header = Header.of(target.path)
    try:
        python = ensure(header)
    except EnvironmentBuildError as error:
        raise EmbeddingFailedError(f"environment: {error}") from error
    return "this interpreter" if python == Path(sys.executable) else header.digest[:16]


def _facts(outcome: Outcome) -> dict[str, str]:
    loaded, done = outcome.of("loaded"), outcome.of("progress")
    digest = loaded.get("weights_sha256")
    seconds = max(float(done["seconds"]), 1e-6)
    memory = outcome.of("done").get("peak_memory_mib")
    return {
        "weights": f"sha256 {digest[:16]}..." if digest else "no file",
        "loaded in": f"{loaded['seconds']:.1f} s",
        "speed": f"{done['total'] / seconds:.3g} items/s ({done['total']} items, first calls included)",
        **({"peak memory": f"{memory:.0f} MiB"} if memory else {}),
    }


def sample_datasets() -> list[str]:
    """Names of the data sets that a target is tried on, best first: those of the suite's board, crystals before all.

    A crystal asks more of a model than a molecule: images, supercells.
    """
    cards = [get_dataset(entry.name).card for entry in read_spec(DEFAULT_SPEC).datasets]
    return [card.name for card in sorted(cards, key=lambda card: card.matter)]


def _sample(target: Target, items: Items | None, dataset: str | None, n: int) -> Items:
    from .datasets.items import open_dataset

    if items is not None:
        return items.select(covered_items(target, items)[:n])
    names = [dataset] if dataset else sample_datasets()
    problems = []
    for name in names:
        opened = open_dataset(name)
        try:
            covered = covered_items(target, opened)
        except EmbeddingSkippedError as error:
            problems.append(f"{name}: {error}")
        else:
            # Spread over the set: its items are ordered by size, and the first ones are the easiest.
            chosen = np.linspace(0, len(covered) - 1, n).round().astype(int)
            return opened.select([covered[i] for i in sorted(set(chosen.tolist()))])
    raise EmbeddingSkippedError(f"{target.name}: " + "; ".join(problems))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


__all__ = ["DISTINCT", "TOLERANCE", "Check", "EmbeddingFailedError", "Report", "check_target"]
