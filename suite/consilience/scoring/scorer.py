"""Scoring: from embeddings in the store to records, one cell at a time.

A cell is a target on a data set. The scorer reads the store only and starts no model. The caller passes the
reasons of failed embeddings, which become the record's state.
"""

from __future__ import annotations

import json
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from consilience import __version__
from consilience.building.built import find_built
from consilience.cache import cache_dir
from consilience.callbacks import Progress
from consilience.cards import UNTRAINED
from consilience.circumstances import in_words, is_circumstance, named
from consilience.embedding.embed import covered_items
from consilience.embedding.errors import EmbeddingFailedError, EmbeddingInterruptedError, EmbeddingSkippedError
from consilience.embedding.identity import Identity, identify
from consilience.embedding.store import Embedding, Store, shipped_with
from consilience.escaping import masked
from consilience.files import sealed, unsealed, write_atomically
from consilience.metrics import get_metric
from consilience.records.migrations import parse_record
from consilience.records.pairs import AllPairs
from consilience.records.record import Provenance, Record, Truncation
from consilience.records.schema import to_json
from consilience.records.spec import DEFAULT_SPEC, MetricChoice, Spec, read_spec
from consilience.registry import PACKAGE, Target, get_target

from .cell import Cell, DominatedError
from .lineage import distribution, lineage_of
from .protocol import Protocol
from .provenance import embedding_key, package_versions, repository_state, stated_identity

if TYPE_CHECKING:
    from consilience.datasets.items import Items

    from .reference_set import ReferenceSet


class ScoringInterruptedError(RuntimeError):
    """Memory, a disk or the like ended the scoring: the run fails, not the target. The message is one line."""


class Scorer:
    """Scores the cells of a board from the embeddings in a store.

    Parameters
    ----------
    spec
        The board; the one shipped with the package by default.
    store
        Where embeddings are looked up; by default the suite's cache folder and those that come with the board.
    limit
        Only a seeded sample of so many items of each data set (:meth:`Items.sample`); never published.
    metrics
        Names of metrics beyond those of the board; never published either.

    Raises
    ------
    LookupError, ValueError
        The board measures something that this suite does not have, or has in another version.
    """

    def __init__(
        self,
        spec: Spec | None = None,
        *,
        store: Store | None = None,
        limit: int | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        self.spec = (spec or read_spec(DEFAULT_SPEC)).with_metrics(map(_choice, metrics))
        self.protocol = Protocol.of(self.spec)
        self.limit = limit
        self.store = store or Store(shipped=shipped_with(self.spec.board))
        self.failures: dict[str, str] = {}
        """Why an embedding could not be made in this run, by its key."""
        self.interrupted: set[str] = set()
        """Keys of those that memory, time or the like ended: the target is not to blame."""
        self.interrupted_cells: set[str] = set()
        """Cells that failed for want of such an embedding: the next run tries again, and nothing is published."""
        self.unpaired: dict[str, list[str]] = {}
        """Targets whose embedding was not found when all pairs were last scored, by data set."""
        self._whole: dict[str, Items] = {}
        self._items: dict[str, Items] = {}
        self._reference_sets: dict[str, ReferenceSet] = {}
        self._broken_references: dict[str, list[str]] = {}
        self._recent: dict[str, Embedding] = {}

    def items(self, dataset: str) -> Items:
        """Items of a data set, checked against the spec's revision.

        Raises
        ------
        ValueError
            The data on this machine are of another revision than the board's.
        """
        if dataset not in self._items:
            from consilience.datasets.items import open_for_board

            items = open_for_board(dataset, self.spec)
            self._whole[dataset] = items
            self._items[dataset] = items.sample(self.limit, seed=self.spec.settings.seed) if self.limit else items
        return self._items[dataset]

    def embedding(self, dataset: str, target: Target) -> Embedding | None:
        """Embedding of a data set by a target, from the store; None where there is none."""
        items = self.items(dataset)
        if self.limit:
            # The rows of a whole embedding (a shipped reference, above all) are those of its sample.
            whole = self.store.get(identify(target, self._whole[dataset]))
            if whole is not None:
                place = {one: i for i, one in enumerate(whole.ids)}
                return whole.take(np.array([place[one] for one in items.ids]))
        identity = identify(target, items)
        if identity.key not in self._recent:
            embedding = self.store.get(identity)
            if embedding is None:
                return None
            self._recent = {**dict(list(self._recent.items())[-1:]), identity.key: embedding}  # a target and its twin
        return self._recent[identity.key]

    def own_embedding(self, dataset: str, target: Target) -> Embedding | None:
        """Embedding of a target in its own cell; a `Runner` may have been asked to make it anew."""
        return self.embedding(dataset, target)

    def embedding_key(self, dataset: str, target: Target) -> str | None:
        """Key of what `embedding` returns, by the header of its file; None where there is none."""
        items = self.items(dataset)
        whole = self.store.find(identify(target, self._whole[dataset])) if self.limit else None
        entry = whole or self.store.find(identify(target, items))
        return None if entry is None else entry.key

    def is_available(self, dataset: str, target: Target) -> bool:
        """Whether a target can be scored without running its model: stored, shipped, or not applicable."""
        items = self.items(dataset)
        try:
            covered_items(target, items)
        except EmbeddingSkippedError:
            return True
        return self.store.contains(identify(target, items))

    at_hand = is_available  # its name until board v1's third publication

    def member(self, dataset: str, name: str) -> Target:
        """Return a reference or a control of the board, as the board measured it.

        A target may be mended after a board was frozen. What others are compared with on this board stays what is
        shipped for it; the target's own cell is scored with its code of now.
        """
        return replace(get_target(name), pinned=self.store.shipped_identity(dataset, name))

    def needed(self, cell: Cell, own: Sequence[Target]) -> list[Target]:
        """List whose embeddings scoring a cell asks for: the references, the target (`own`), and its twin."""
        references = [self.member(cell.dataset, name) for name in self.spec.dataset(cell.dataset).references]
        twin = self._twin_of(cell.dataset, cell.target)
        return [*references, *own, *([] if twin is None else [twin])]

    def score(self, cell: Cell, *, embedding: Embedding | None = None) -> Record:
        """Score one cell. Whatever is wrong with the target becomes the record's state; it is never raised.

        An `embedding` that is passed is scored without reading the store or the cached record.

        Raises
        ------
        ScoringInterruptedError
            Memory ended, or the like.
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
            ranked=self.protocol.ranked,
        )
        try:
            covered_items(target, items)
            self._check_interrupted(cell, [] if embedding is not None else [target])
            if embedding is not None:
                return self._score(cell, record, embedding)
            cached = self._cache_path(cell)
            if cached is not None and cached.is_file():
                try:
                    stored = _stored(cached)
                except ValueError:
                    cached.unlink()  # written by another version, or damaged: score again
                else:
                    now = {"card": target.card, "distribution": place.label, "overlap": place.overlap}
                    return stored.model_copy(update=now)
            embedding = self.own_embedding(cell.dataset, target)
            if embedding is None:
                reason = self.failures.get(identify(target, items).key)
                if reason is not None:
                    raise EmbeddingFailedError(reason)
                return record.model_copy(update={"reason": "its embedding is not on this machine"})
            record = self._score(cell, record, embedding)
        except EmbeddingSkippedError as skip:
            return record.model_copy(update={"state": "skipped", "reason": str(skip)})
        except DominatedError as failure:
            return record.model_copy(update={"state": "failed", "reason": str(failure)})
        except EmbeddingFailedError as failure:
            if isinstance(failure, EmbeddingInterruptedError):
                self.interrupted_cells.add(cell.id)
            return record.model_copy(update={"state": "failed", "reason": str(failure)})
        except Exception as error:  # an embedding no metric was prepared for: this cell fails, the others go on
            if is_circumstance(error):
                raise ScoringInterruptedError(f"scoring {cell.id}: {in_words(error)}") from error
            traceback.print_exc()
            reason = masked(f"scoring failed: {named(error)}")
            return record.model_copy(update={"state": "failed", "reason": reason})
        if record.state == "ok" and cached is not None:
            write_atomically(cached, sealed({"record": json.loads(to_json(record))}))
        return record

    def run(self, cell: Cell, progress: Progress | None = None, *, embedding: Embedding | None = None) -> Record:
        """Score one cell from the store; a `Runner` embeds what is missing first, calling `progress`."""
        return self.score(cell, embedding=embedding)

    def all_pairs(
        self, dataset: str, targets: Iterable[str | Record], *, submitted: Mapping[str, Embedding] | None = None
    ) -> AllPairs:
        """Score all pairs of those of the targets whose embeddings are available; nothing is embedded for it.

        Parameters
        ----------
        dataset
            Name of the data set.
        targets
            Records, whose embeddings are those that they state: also of a user's file or checkpoint that this process
            has not read. A name is looked up among the registered targets. :attr:`unpaired` lists those whose embedding
            was not found.
        submitted
            Embeddings by target that come from outside the store: no target here has to be able to make them.
        """
        from .pairs import score_all_pairs

        items = self.items(dataset)
        handed = submitted or {}
        embeddings, keys, unpaired = {}, {}, []
        for one in targets:
            name = one if isinstance(one, str) else one.target
            embedding = handed[name] if name in handed else self._embedding_of(one, items)
            if embedding is None:
                unpaired.append(name)
            elif embedding.embedded.mean() >= self.spec.settings.least_coverage:
                embeddings[name] = embedding
                keys[name] = None if isinstance(one, str) else embedding_key(one)
        self.unpaired[dataset] = unpaired
        protocol = self.protocol.of_dataset(dataset)
        pairs = score_all_pairs(items, embeddings, protocol, self.spec.dataset(dataset).strata)
        return AllPairs(
            schema_version=self.spec.schema_version,
            board=self.spec.board,
            dataset=dataset,
            revision=items.revision,
            pairs=[pair.with_keys(keys) for pair in pairs] if self.spec.schema_version > 1 else pairs,
        )

    def _embedding_of(self, target: str | Record, items: Items) -> Embedding | None:
        """Embedding of a target from the store: the one that its record states, if it is given by its record."""
        if isinstance(target, str):
            return self.store.get(identify(get_target(target), items))
        stated = stated_identity(target)
        embedding = None if stated is None else self.store.get(stated, embedding_key(target))
        if embedding is not None:
            return embedding
        try:
            known = get_target(target.target)
        except LookupError:  # of a user's file or checkpoint, and not in the store: the caller names it
            return None
        # Of the suite's own targets the record may state the code digest of an earlier release.
        return self.store.get(identify(known, items)) if known.path.is_relative_to(PACKAGE) else None

    def _score(self, cell: Cell, record: Record, embedding: Embedding) -> Record:
        target = cell.target
        twin_target = self._twin_of(cell.dataset, target)
        twin = None if twin_target is None else self._covered_embedding(cell.dataset, twin_target)
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
        references = self._reference_set(cell.dataset)
        constant = references.constant(embedding)
        if constant is not None:
            state = "failed" if target.card.distinct else "skipped"
            return record.model_copy(update={"state": state, "reason": constant})
        scored = references.score(target, embedding, twin)
        broken = self._broken_references.get(cell.dataset)
        remark = f"scored without references that failed: {', '.join(broken)}" if broken else None
        provenance = self._provenance(cell, embedding)
        return record.model_copy(update={"state": "ok", "reason": remark, **scored, "provenance": provenance})

    def _check_interrupted(self, cell: Cell, own: Sequence[Target]) -> None:
        """Refuse a cell that lacks an embedding only because memory or time ended: its score would be another one.

        Raises
        ------
        EmbeddingInterruptedError
            With the reason.
        """
        if not self.interrupted:
            return
        for target in self.needed(cell, own):
            key = self.identity(cell.dataset, target).key
            if key in self.interrupted:
                whose = "" if target == cell.target else f"{target.name}: "
                raise EmbeddingInterruptedError(whose + self.failures[key])

    def _twin_of(self, dataset: str, target: Target) -> Target | None:
        """Return the untrained twin where the board shows that twin anyway; None elsewhere."""
        name = target.card.name + UNTRAINED
        if not target.trained or target.weights.kind == "file" or name not in self.spec.controls:
            return None
        return replace(target.untrained(), pinned=self.store.shipped_identity(dataset, name))

    def _covered_embedding(self, dataset: str, target: Target) -> Embedding | None:
        try:
            covered_items(target, self.items(dataset))
        except EmbeddingSkippedError:
            return None
        return self.embedding(dataset, target)

    def _reference_set(self, dataset: str) -> ReferenceSet:
        """References of a data set, prepared. One that has no embedding is left out; its own cell says why."""
        if dataset not in self._reference_sets:
            from .reference_set import ReferenceSet

            items = self.items(dataset)
            references: dict[str, tuple[Target, Embedding]] = {}
            broken = self._broken_references[dataset] = []
            for name in self.spec.dataset(dataset).references:
                target = self.member(dataset, name)
                embedding = self._covered_embedding(dataset, target)
                if embedding is None:
                    broken.append(name)
                else:
                    references[name] = (target, embedding)
            # One set at a time: cells come data set by data set, and a set holds all pairwise distances.
            strata = self.spec.dataset(dataset).strata
            protocol = self.protocol.of_dataset(dataset)
            self._reference_sets = {dataset: ReferenceSet(items, protocol, references, strata)}
        return self._reference_sets[dataset]

    def _cache_path(self, cell: Cell) -> Path | None:
        """Place of the cell's record in the cache; None where it is to be scored anew."""
        items, twin = self.items(cell.dataset), cell.target.card.name + UNTRAINED
        own = self.embedding_key(cell.dataset, cell.target)
        if own is None:
            return None
        inputs = {
            "target": own,
            **self._left_out(cell.target),
            "references": self.reference_keys(cell.dataset),
            "twin": None if twin not in self.spec.controls else self._twin_key(cell.dataset, twin),
        }
        protocol = self.protocol.of_dataset(cell.dataset)
        key = protocol.key(items, self.spec.dataset(cell.dataset).strata, inputs)
        return cache_dir() / "records" / key[:2] / f"{key}.json"

    def _left_out(self, target: Target) -> dict[str, str]:
        """What decides which references a target is not compared with."""
        if self.spec.measured.left_out == "family":
            return {"family": target.card.family}
        return {"lineage": lineage_of(target.card)}

    def _twin_key(self, dataset: str, twin: str) -> str | None:
        return self.embedding_key(dataset, self.member(dataset, twin))

    def reference_keys(self, dataset: str) -> dict[str, str]:
        """Key of each reference's embedding."""
        references = self._reference_set(dataset).references
        return {name: embedding.key for name, (_, embedding) in references.items()}

    def identity(self, dataset: str, target: Target) -> Identity:
        """Identity of the embedding that a cell asks for."""
        return identify(target, self.items(dataset))

    def _provenance(self, cell: Cell, embedding: Embedding) -> Provenance:
        commit, dirty = repository_state()
        items = self.items(cell.dataset)
        # Of a data set that its card pins, the card names the sources.
        built = find_built(cell.dataset) if items.card.revision is None else None
        return Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            suite_version=__version__,
            commit=commit,
            dirty=dirty,
            settings=self.spec.settings_of(cell.dataset).model_dump(),
            metric_versions=self.protocol.metric_versions,
            presets=self.protocol.preset_versions,
            controls_sha256=self.protocol.controls_of(items),
            packages=package_versions(),
            embedding=embedding.provenance,
            references=self.reference_keys(cell.dataset),
            sources=built.manifest["sources"] if built is not None else [],
        )


def _choice(metric: str) -> MetricChoice:
    """Return a metric, asked for by name, in the version that the suite has; raises `LookupError` if unknown."""
    name, _, variant = metric.partition(":")
    return MetricChoice(name=name, variant=variant or None, version=get_metric(name).card.version)


def _stored(path: Path) -> Record:
    """Record in the cache; raises `ValueError` where it is damaged, or another version wrote it."""
    content = unsealed(path.read_text("utf-8"))
    return parse_record(json.dumps(content.get("record")).encode(), str(path))


def _truncation(embedding: Embedding) -> Truncation | None:
    cut = embedding.truncated[embedding.truncated > 0]
    return Truncation(items=len(cut), share=float(cut.mean())) if len(cut) else None
