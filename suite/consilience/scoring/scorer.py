"""Plan, embed, score: from a spec and a selection to records, one cell at a time.

A cell is a target on a data set. Whatever happens to one cell, the others go on; what happened is its record's
state. Nothing that is already done is done again: embeddings come from the store, scores from the record cache.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from consilience import __version__
from consilience.building.built import find_built
from consilience.cache import cache_dir
from consilience.embedding.embed import EmbeddingFailedError, EmbeddingSkippedError, covered_items, embed
from consilience.embedding.identity import identify
from consilience.embedding.store import SHIPPED, Embedding, Store
from consilience.files import write_atomically
from consilience.isolation.job import Progress
from consilience.metrics import list_metrics
from consilience.records.migrations import read_record
from consilience.records.pairs import AllPairs
from consilience.records.record import Provenance, Record, Truncation, to_json
from consilience.records.spec import DEFAULT_SPEC, Spec, read_spec
from consilience.registry import UNTRAINED, Target, get_target

from .lineage import distribution
from .provenance import package_versions, repository_state, scoring_digest

if TYPE_CHECKING:
    from consilience.datasets.items import Items

    from .reference_set import Panel


@dataclass(frozen=True)
class Cell:
    """A target on a data set."""

    dataset: str
    target: Target

    @property
    def id(self) -> str:
        """``<dataset>::<target>``, as pytest shows it."""
        return f"{self.dataset}::{self.target.name}"


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
            from consilience.datasets.items import open_dataset

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
        from .pairs import score_all_pairs

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
            from .reference_set import Panel

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
            packages=package_versions(),
            embedding=embedding.provenance,
            references=self.reference_keys(cell.dataset),
            sources=built.manifest["sources"] if built is not None else [],
        )


def _truncation(embedding: Embedding) -> Truncation | None:
    cut = embedding.truncated[embedding.truncated > 0]
    return Truncation(items=len(cut), share=float(cut.mean())) if len(cut) else None
