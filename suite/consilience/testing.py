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
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .embedding.contract import DISTINCT, TOLERANCE, deviation
from .embedding.embed import covered_items
from .embedding.errors import EmbeddingFailedError, EmbeddingInterruptedError, EmbeddingSkippedError
from .embedding.fetch import run_target_jobs
from .embedding.run import interpreter, target_job
from .embedding.shards import read_shards
from .escaping import one_line
from .header import Header
from .isolation.job import Outcome
from .isolation.sandbox import WORDS, Places, Sandbox
from .records.spec import DEFAULT_SPEC, read_spec
from .registry import Target, get_dataset, get_target, load_target_file
from .scratch import scratch_folder

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
            ["ok" if c.passed else "BROKEN", c.name, _figure(c.value), _figure(c.limit), one_line(c.detail)]
            for c in self.checks
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
    sandbox: Sandbox = "none",
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
    sandbox
        What a target that you do not trust runs in (:func:`consilience.isolation.sandbox.require`). Its header may
        name wheels of the configured index only.

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
    (report,) = check_targets(
        [target], items, dataset=dataset, n=n, device=device, time_limit=time_limit, sandbox=sandbox
    )
    return report


def check_targets(
    targets: Sequence[Target | str | Path],
    items: Items | None = None,
    *,
    dataset: str | Sequence[str] | None = None,
    n: int | Sequence[int] = 24,
    device: str = "cpu",
    time_limit: float = 900.0,
    sandbox: Sandbox = "none",
) -> list[Report]:
    """Examine several targets of one file: two processes do the work of all of them.

    Parameters
    ----------
    targets
        As of :func:`check_target`; all of them stand in one file.
    items, device, sandbox
        See :func:`check_target`.
    dataset, n
        One for all, or one for each target.
    time_limit
        Seconds for each target in each of the processes.

    Returns
    -------
    list of Report
        One per target.

    Raises
    ------
    ValueError
        The targets stand in several files.
    EmbeddingFailedError, EmbeddingSkippedError
        See :func:`check_target`.
    """
    chosen = [_target(one) for one in targets]
    if len({one.path for one in chosen}) != 1:
        raise ValueError(f"targets: expected those of one file, found {', '.join(one.name for one in chosen)}")
    datasets = [dataset] * len(chosen) if dataset is None or isinstance(dataset, str) else list(dataset)
    sizes = [n] * len(chosen) if isinstance(n, int) else list(n)
    samples = [_sample(*one) for one in zip(chosen, [items] * len(chosen), datasets, sizes, strict=True)]
    began = time.perf_counter()
    python = interpreter(chosen[0], stranger=sandbox != "none", sandbox=sandbox)
    built = time.perf_counter() - began
    name = "this interpreter" if python == Path(sys.executable) else Header.of(chosen[0].path).digest[:16]
    with scratch_folder() as scratch:
        cells = [_Cell(scratch / str(i), *one) for i, one in enumerate(zip(chosen, samples, strict=True))]
        limit = time_limit * len(cells)
        examined = _run(python, [cell.job("first", device=device) for cell in cells], scratch, limit, sandbox)
        for cell, outcome in zip(cells, examined, strict=True):
            cell.outcome = outcome
        others = [(cell, folder) for cell in cells for folder in cell.others]
        # A second process, for all that has to be embedded again.
        _run(python, [cell.job(folder, device=device) for cell, folder in others], scratch, limit, sandbox)
        facts = {"environment": f"{name} ({built:.1f} s)"} | ({"sandbox": WORDS[sandbox]} if sandbox != "none" else {})
        return [cell.report(facts) for cell in cells]


class _Cell:
    """One target on one sample, while it is examined."""

    def __init__(self, scratch: Path, target: Target, sample: Items) -> None:
        self.scratch, self.target, self.sample = scratch, target, sample
        self.outcome = Outcome()
        scratch.mkdir()
        self.items_file = scratch / "items.npz"
        sample.save(self.items_file, view=target.card.input_view)
        self.ends = sorted({0, len(sample) - 1})
        self.ends_file = scratch / "ends.npz"
        sample.select(self.ends).save(self.ends_file, view=target.card.input_view)

    @property
    def others(self) -> list[str]:
        """What the second process embeds: the target again, twins of two seeds, and the file that it has written."""
        twin = self.target.card.untrained
        names = {
            "second": True,
            "twin": twin and not self.target.weights.random,
            "twin of another seed": twin,
            "saved": bool(self.outcome.of("saved")),
        }
        return [name for name, needed in names.items() if needed]

    def job(self, name: str, *, device: str) -> dict[str, Any]:
        """Job that writes rows to the folder of this name."""
        folder = self.scratch / name
        folder.mkdir()
        target = self.target
        if name == "twin":
            target = target.untrained(1)
        if name == "twin of another seed":
            # Seeds are drawn from the card's name: where they matter, no two cards share a network.
            target = target.untrained(target.weights.twin + 1 if target.weights.random else 2)
        if name == "saved":
            target = target.from_checkpoint(self.outcome.of("saved")["path"], trusted=True)
        # Where the target reads a user's file it has to read the one that it writes.
        saves = name == "first" and target.card.accepts
        save_to = self.scratch / f"{target.card.name}.checkpoint" if saves else None
        task = "examine" if name == "first" else "embed"
        file = self.ends_file if name == "twin of another seed" else self.items_file
        return target_job(target, file, task, folder=folder, device=device, save_to=save_to)

    def rows(self, name: str) -> Any:
        """Rows in the folder of this name, float64."""
        return read_shards(self.scratch / name).features.astype(np.float64)

    def report(self, facts: dict[str, str]) -> Report:
        """Put the checks together."""
        checks = [Check(**check) for check in self.outcome.of("examined")["checks"]]
        first = self.rows("first")
        value = deviation(first, self.rows("second"))
        checks.append(Check("deterministic across processes", value <= TOLERANCE, value, TOLERANCE, "two processes"))
        if "twin" in self.others:
            twin = self.rows("twin")
            value = deviation(first, twin) if twin.shape == first.shape else float("inf")
            passed = bool(np.isfinite(twin).all()) and value > TWIN_DIFFERS
            checks.append(Check("the untrained twin differs", passed, value, TWIN_DIFFERS, "random weights"))
        if "twin of another seed" in self.others:
            twin, other = self.rows("twin" if "twin" in self.others else "first"), self.rows("twin of another seed")
            value = deviation(twin[self.ends], other)
            text = "two seeds, two networks"
            checks.append(Check("no twin is shared", value > DISTINCT, value, DISTINCT, text))
        if "saved" in self.others:
            value = deviation(first, self.rows("saved"))
            text = "written by the target, read as a user's file"
            checks.append(Check("saved and loaded again", value <= TOLERANCE, value, TOLERANCE, text))
        return Report(self.target.name, self.sample.name, tuple(checks), facts | _facts(self.outcome))


def _run(
    python: Path, jobs: Sequence[dict[str, Any]], scratch: Path, time_limit: float, sandbox: Sandbox
) -> list[Outcome]:
    """Carry jobs out in one process; raises `EmbeddingFailedError` for the first that failed."""
    if not jobs:
        return []
    readable = {Path(job["target_file"]).parent for job in jobs}
    readable |= {Path(path) for job in jobs if (path := job["weights"]["path"]) is not None}
    places = Places(tuple(sorted(readable)), (scratch,))
    log = scratch / "worker.log"
    outcomes = run_target_jobs(python, jobs, log, time_limit=time_limit, sandbox=sandbox, places=places)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.failure is not None:
            where = f"{job['target']}: " if len(jobs) > 3 else ""
            kind = EmbeddingInterruptedError if outcome.circumstance else EmbeddingFailedError
            raise kind(f"{where}{outcome.failure}")
    return outcomes


def _target(target: Target | str | Path) -> Target:
    if isinstance(target, Target):
        return target
    return load_target_file(target)[0] if str(target).endswith(".py") else get_target(str(target))


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


__all__ = ["DISTINCT", "TOLERANCE", "Check", "EmbeddingFailedError", "Report", "check_target", "check_targets"]
