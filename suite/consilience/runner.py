"""Plan, embed, score: from a spec and a selection to records, one cell at a time.

A cell is a target on a data set. Whatever happens to one cell, the others go on; what happened is its record's
state. Nothing that is already done is done again: embeddings come from the store, scores from the record cache.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import __version__
from .building.process import find_built
from .cache import cache_dir
from .embedding.process import (
    EmbeddingFailedError,
    EmbeddingSkippedError,
    Progress,
    covered_items,
    embed,
)
from .embedding.shards import write_atomically
from .embedding.store import SHIPPED, Embedding, Store, identify
from .lineage import distribution
from .registry import UNTRAINED, Target, get_target, list_metrics, list_targets
from .results import AllPairs, Provenance, Record, Truncation, read_record, to_json
from .spec import DEFAULT_REFERENCES, DEFAULT_SPEC, Spec, SpecDataset, read_spec

if TYPE_CHECKING:
    from .datasets.items import Items
    from .scoring.panel import Panel

PACKAGE = Path(__file__).parent
#: Packages whose versions a record states.
_STATED = ("numpy", "scipy", "scikit-learn", "datasets", "safetensors", "rdkit", "ase", "torch")


@dataclass(frozen=True)
class Cell:
    """A target on a data set."""

    dataset: str
    target: Target

    @property
    def id(self) -> str:
        """``<dataset>::<target>``, as pytest shows it."""
        return f"{self.dataset}::{self.target.name}"


def plan(
    spec: Spec,
    *,
    targets: Sequence[Target | str] | None = None,
    datasets: Sequence[str] | None = None,
    published: Path | None = None,
    at_hand: Callable[[str, Target], bool] | None = None,
) -> list[Cell]:
    """Cells of a run, data set by data set, references first.

    Parameters
    ----------
    spec
        The board.
    targets
        Targets or names; by default the references, the controls and every target of the suite whose weights
        come with its packages. What has to be downloaded is scored where it is asked for.
    datasets
        Names of data sets of the board; all by default.
    published
        Folder of a published board: by default its own targets are run again, and no others. A target joins the
        board by being named once.
    at_hand
        Whether the embedding of a target on a data set is at hand. With it, and a published board, what is neither
        reference nor control nor at hand keeps the record it has: a board of slow models is rebuilt in minutes.

    Raises
    ------
    LookupError
        A name is unknown.
    """
    names = [entry.name for entry in spec.datasets] if datasets is None else [spec.dataset(d).name for d in datasets]
    chosen = None if targets is None else [get_target(t) if isinstance(t, str) else t for t in targets]
    cells = []
    for name in names:
        found = chosen if chosen is not None else _default_targets(spec, name, published, at_hand)
        cells += [Cell(name, target) for target in found]
    return cells


def _default_targets(
    spec: Spec, dataset: str, published: Path | None, at_hand: Callable[[str, Target], bool] | None
) -> list[Target]:
    own = [
        target.name
        for target in list_targets().values()
        if target.path.is_relative_to(PACKAGE) and target.card.access == "package"
    ]
    records = {path.stem for path in (published / "results" / dataset).glob("*.json")} if published else set()
    if records:
        own = [name for name in own if name in records and (at_hand is None or at_hand(dataset, get_target(name)))]
    names = dict.fromkeys([*spec.dataset(dataset).references, *own, *spec.controls])
    ordered = [name for name in names if name not in spec.controls] + list(spec.controls)
    return [get_target(name) for name in ordered]


def extend(spec: Spec, datasets: Iterable[str]) -> Spec:
    """Return the spec with those of the registered data sets that it lacks, each with the default references.

    Raises
    ------
    UnknownNameError
        A name is not registered.
    ValueError
        No default reference reads a data set.
    """
    from .datasets.items import open_dataset

    known = {entry.name for entry in spec.datasets}
    for name in dict.fromkeys(datasets):
        if name not in known:
            items = open_dataset(name)
            references = default_references(items, spec.settings.least_coverage)
            entry = SpecDataset(name=name, revision=items.revision, references=references, strata=items.card.matched)
            spec = spec.with_dataset(entry)
    return spec


def default_references(items: Items, least_coverage: float) -> tuple[str, ...]:
    """Names of the targets that items of no board are compared with: candidates that read (nearly) all of them."""
    wanted = least_coverage * len(items)
    for matter, view, names in DEFAULT_REFERENCES:
        if matter == items.card.matter and items.has_view(view):
            found = tuple(name for name in names if len(items.covered_by(get_target(name).card)) >= wanted)
            if found:
                return found
    views = ", ".join(items.card.views)
    raise ValueError(f"data set {items.name!r} ({items.card.matter}; views {views}): no default reference reads it")


class Runner:
    """Runs the cells of a board.

    Parameters
    ----------
    spec
        The board; the one shipped with the package by default.
    fresh
        Ignore the reference embeddings shipped with the package: every target embeds itself.
    device
        Torch device string.
    time_limit
        Seconds that one cell's embedding may take.
    store
        Where embeddings are kept; the suite's cache folder by default.
    limit
        Only a seeded sample of so many items of each data set (:meth:`Items.sample`); never published.
    """

    def __init__(
        self,
        spec: Spec | None = None,
        *,
        fresh: bool = False,
        device: str = "cpu",
        time_limit: float = 1800.0,
        store: Store | None = None,
        limit: int | None = None,
    ) -> None:
        self.spec = spec or read_spec(DEFAULT_SPEC)
        self.device = device
        self.time_limit = time_limit
        self.limit = limit
        self.store = store or Store(shipped=None if fresh else SHIPPED)
        self._whole: dict[str, Items] = {}
        self._items: dict[str, Items] = {}
        self._panels: dict[str, Panel] = {}
        self._broken_references: dict[str, list[str]] = {}
        self._failures: dict[str, str] = {}

    def items(self, dataset: str) -> Items:
        """Items of a data set, checked against the spec's revision.

        Raises
        ------
        ValueError
            The data at hand are of another revision than the board's.
        """
        if dataset not in self._items:
            from .datasets.items import open_dataset

            items = open_dataset(dataset)
            wanted = self.spec.dataset(dataset).revision
            if items.revision != wanted:
                raise ValueError(
                    f"{dataset}: board {self.spec.board} is about revision {wanted[:12]}, "
                    f"the data here are {items.revision[:12]}"
                )
            self._whole[dataset] = items
            self._items[dataset] = items.sample(self.limit, seed=self.spec.settings.seed) if self.limit else items
        return self._items[dataset]

    def run(self, cell: Cell, progress: Progress | None = None, *, embedding: Embedding | None = None) -> Record:
        """Score one cell. Failures of the target become the record's state; they are never raised.

        An `embedding` handed in is scored as it is, and anew: neither the target nor the record cache is asked.
        """
        target, items = cell.target, self.items(cell.dataset)
        place = distribution(target, items)
        record = Record(
            board=self.spec.board,
            dataset=cell.dataset,
            revision=items.revision,
            target=target.name,
            card=target.card,
            trained=target.trained,
            state="missing",
            distribution=place.label,
            overlap=place.overlap,
        )
        try:
            self._panel(cell.dataset, progress)
            if embedding is not None:
                covered_items(target, items)
                return self._score(cell, record, embedding)
            cached = self._cache_path(cell)
            if cached.is_file():
                try:
                    known = read_record(cached)
                except ValueError:
                    cached.unlink()  # written by another version, or damaged: score again
                else:
                    now = {"card": target.card, "distribution": place.label, "overlap": place.overlap}
                    return known.model_copy(update=now)
            embedding = self._embed(target, items, progress)
            record = self._score(cell, record, embedding)
        except EmbeddingSkippedError as skip:
            return record.model_copy(update={"state": "skipped", "reason": str(skip)})
        except EmbeddingFailedError as failure:
            return record.model_copy(update={"state": "failed", "reason": str(failure)})
        except Exception as error:  # an embedding no metric was prepared for: this cell fails, the others go on
            traceback.print_exc()
            reason = f"scoring failed: {type(error).__name__}: {error}"
            return record.model_copy(update={"state": "failed", "reason": reason})
        if record.state == "ok":
            write_atomically(cached, to_json(record))
        return record

    def at_hand(self, dataset: str, target: Target) -> bool:
        """Whether scoring a target takes no run of its model: it is stored, shipped, or does not apply."""
        items = self.items(dataset)
        try:
            covered_items(target, items)
        except EmbeddingSkippedError:
            return True
        return self.store.get(identify(target, items)) is not None

    def all_pairs(
        self, dataset: str, targets: Iterable[str], *, submitted: Mapping[str, Embedding] | None = None
    ) -> AllPairs:
        """Score all pairs of those of the targets whose embeddings are at hand; nothing is embedded for it.

        What was `submitted` comes with its embedding: no target here has to be able to make it.
        """
        from .scoring.all_pairs import score_all_pairs

        items = self.items(dataset)
        found = {}
        handed = submitted or {}
        for name in targets:
            try:
                embedding = handed[name] if name in handed else self.store.get(identify(get_target(name), items))
            except LookupError:  # a user's checkpoint: its file is elsewhere
                continue
            if embedding is not None and embedding.embedded.mean() >= self.spec.settings.least_coverage:
                found[name] = embedding
        pairs = score_all_pairs(items, found, self.spec.settings, self.spec.dataset(dataset).strata)
        return AllPairs(board=self.spec.board, dataset=dataset, revision=items.revision, pairs=pairs)

    def _embed(self, target: Target, items: Items, progress: Progress | None = None) -> Embedding:
        if self.limit:
            # The rows of a whole embedding (a shipped reference, above all) are as good as made.
            whole = self.store.get(identify(target, self._whole[items.name]))
            if whole is not None:
                place = {one: i for i, one in enumerate(whole.ids)}
                return whole.take(np.array([place[one] for one in items.ids]))
        key = identify(target, items).key
        if key in self._failures:  # a reference or a twin that failed is not tried again within a run
            raise EmbeddingFailedError(self._failures[key])
        try:
            return embed(target, items, self.store, device=self.device, time_limit=self.time_limit, progress=progress)
        except EmbeddingFailedError as error:
            self._failures[key] = str(error)
            raise

    def _score(self, cell: Cell, record: Record, embedding: Embedding) -> Record:
        target, items = cell.target, self.items(cell.dataset)
        twin = self._twin(target, items)
        embedded = embedding.embedded
        record = record.model_copy(
            update={
                "coverage": float(embedded.mean()),
                "uncovered": dict(Counter(embedding.reasons.values()).most_common(20)),
                "truncated": _truncation(embedding),
                "dimension": embedding.features.shape[1],
                "items_per_second": embedding.provenance.get("items_per_second"),
            }
        )
        panel = self._panel(cell.dataset)
        constant = panel.constant(embedding)
        if constant is not None:
            state = "failed" if target.card.distinct else "skipped"
            return record.model_copy(update={"state": state, "reason": constant})
        scored = panel.score(target, embedding, twin)
        broken = self._broken_references.get(cell.dataset)
        remark = f"scored without references that failed: {', '.join(broken)}" if broken else None
        provenance = self._provenance(cell, embedding)
        return record.model_copy(update={"state": "ok", "reason": remark, **scored, "provenance": provenance})

    def _twin(self, target: Target, items: Items) -> Embedding | None:
        """Embedding of the untrained twin where the board shows that twin anyway; None elsewhere."""
        name = target.card.name + UNTRAINED
        if not target.trained or target.weights.kind == "file" or name not in self.spec.controls:
            return None
        try:
            return self._embed(target.untrained(), items)
        except (EmbeddingFailedError, EmbeddingSkippedError):
            return None

    def _panel(self, dataset: str, progress: Progress | None = None) -> Panel:
        """References of a data set, embedded and prepared. A reference that fails is left out, with its reason."""
        if dataset not in self._panels:
            from .scoring.panel import Panel

            items = self.items(dataset)
            references: dict[str, tuple[Target, Embedding]] = {}
            broken = self._broken_references[dataset] = []
            for name in self.spec.dataset(dataset).references:
                target = get_target(name)
                try:
                    references[name] = (target, self._embed(target, items, progress))
                except (EmbeddingFailedError, EmbeddingSkippedError):
                    broken.append(name)  # its own cell says why
            # One panel at a time: cells come data set by data set, and a panel holds all pairwise distances.
            self._panels = {dataset: Panel(items, self.spec.settings, references, self.spec.dataset(dataset).strata)}
        return self._panels[dataset]

    def _cache_path(self, cell: Cell) -> Path:
        items = self.items(cell.dataset)
        covered_items(cell.target, items)  # a skipped cell has no score to look up
        twin = cell.target.card.name + UNTRAINED
        parts = {
            "target": identify(cell.target, items).key,
            "family": cell.target.card.family,  # decides which references are left out
            "references": self.reference_keys(cell.dataset),
            "twin": identify(get_target(twin), items).key if twin in self.spec.controls else None,
            "board": self.spec.board,
            "settings": self.spec.settings.model_dump(),
            "strata": self.spec.dataset(cell.dataset).strata,
            "code": scoring_digest(),
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return cache_dir() / "records" / digest[:2] / f"{digest}.json"

    def reference_keys(self, dataset: str) -> dict[str, str]:
        """Key of each reference's embedding."""
        items = self.items(dataset)
        return {name: identify(target, items).key for name, (target, _) in self._panel(dataset).references.items()}

    def _provenance(self, cell: Cell, embedding: Embedding) -> Provenance:
        commit, dirty = repository_state()
        # Of a data set that its card pins, the card names the sources.
        built = find_built(cell.dataset) if self.items(cell.dataset).card.revision is None else None
        return Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            suite_version=__version__,
            commit=commit,
            dirty=dirty,
            settings=self.spec.settings.model_dump(),
            metric_versions={name: entry.card.version for name, entry in list_metrics().items()},
            packages=_package_versions(),
            embedding=embedding.provenance,
            references=self.reference_keys(cell.dataset),
            sources=built.manifest["sources"] if built is not None else [],
        )


def run_all(
    runner: Runner, cells: Iterable[Cell], *, done: Callable[[Cell, Record], None] | None = None
) -> list[Record]:
    """Run cells one after another; `done` is called with each record as it comes."""
    records = []
    for cell in cells:
        record = runner.run(cell)
        records.append(record)
        if done is not None:
            done(cell, record)
    return records


def _truncation(embedding: Embedding) -> Truncation | None:
    cut = embedding.truncated[embedding.truncated > 0]
    return Truncation(items=len(cut), share=float(cut.mean())) if len(cut) else None


@lru_cache(maxsize=1)
def scoring_digest() -> str:
    """Hash of the code that turns embeddings into scores: cached scores of other code are never used."""
    digest = hashlib.sha256()
    files = [*(PACKAGE / "metrics").glob("*.py"), *(PACKAGE / "scoring").glob("*.py"), PACKAGE / "results.py"]
    for path in sorted(files):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def repository_state() -> tuple[str | None, bool | None]:
    """Commit of the repository the suite runs from and whether it has changes; (None, None) when installed."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        top = git("rev-parse", "--show-toplevel")
        if top is None or not (Path(top) / "suite" / "consilience").samefile(PACKAGE):
            return None, None
        changes = git("status", "--porcelain", "--", "suite")
    except OSError:
        return None, None
    return git("rev-parse", "HEAD"), bool(changes)


@lru_cache(maxsize=1)
def _package_versions() -> dict[str, str]:
    found = {}
    for name in _STATED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


__all__ = ["DEFAULT_SPEC", "Cell", "Runner", "default_references", "extend", "plan", "run_all"]
