"""Cells that are verified, of a board as of a submission: their targets, embeddings, and scores computed again."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from consilience.cards import UNTRAINED, Card, Twin
from consilience.embedding.identity import Identity
from consilience.embedding.store import Embedding, parse_embedding, shipped_path
from consilience.records.pairs import AllPairs
from consilience.records.record import Record
from consilience.records.spec import Spec, SpecDataset
from consilience.registry import Target, UnknownNameError, get_target
from consilience.scoring.cell import Cell
from consilience.scoring.lineage import SEEN
from consilience.scoring.provenance import stated_identity
from consilience.scoring.scorer import Scorer
from consilience.weights import Weights

from .findings import Report
from .tolerance import record_differences


def target_of(record: Record) -> Target:
    """Return a target that is scored by its card and can't be run: all there is of one that is not registered here.

    Raises
    ------
    ValueError
        The record's target and card do not belong together.
    """

    def load(card: Card, weights: Weights, device: str) -> Any:
        raise NotImplementedError(f"{card.name} is known by its card only")

    base, _, checkpoint = record.target.partition("@")
    weights = Weights(kind="file", path=Path(f"{checkpoint}.file")) if checkpoint else Weights()
    if (twin := Twin.of(record.target)) is not None:
        weights = Weights(kind="random", seed=twin.seed, twin=twin.number)
    # The file of training ids lies beside a target's own file: elsewhere it could name any file of this machine.
    target = Target(record.card.model_copy(update={"training_ids": None}), load, Path(), weights)
    if base != record.card.name or target.name != record.target:
        raise ValueError(f"target {record.target!r} is not one of the card {record.card.name!r}")
    return target


def find_target(record: Record) -> tuple[Target, bool]:
    """Target of a record, and whether it is registered here; else it is one that can't be run (`target_of`)."""
    try:
        return get_target(record.target), True
    except LookupError:
        return target_of(record), False


def rescore(scorer: Scorer, record: Record, target: Target, embedding: Embedding | None) -> Record:
    """Score a record's cell again from its embedding; None for a cell that does not apply."""
    again = scorer.score(Cell(record.dataset, target), embedding=embedding)
    again = again.model_copy(update={"card": record.card}) if target.load.__module__ == __name__ else again
    again = again.model_copy(update={"submission": record.submission})  # what no score can tell
    if record.card.training_ids and target.card.training_ids is None and (record.overlap or 0) > (again.overlap or 0):
        # The training items can't be counted here. Who says to have seen items is believed: it is no advantage.
        label = "in" if (record.overlap or 0) >= SEEN else again.distribution
        again = again.model_copy(update={"overlap": record.overlap, "distribution": label})
    return again


def compare_records(report: Report, file: str, published: Record, recomputed: Record, version: int) -> None:
    """Add what differs between a record and the same cell scored again; circumstances of the runs may differ.

    Both are compared as the board's schema version states them.
    """
    for name, old, new in record_differences(published, recomputed, version):
        report.find(file, name, old, new)


def check_metadata(report: Report, file: str, record: Record, spec: Spec) -> None:
    """Add what a record says otherwise than the board and the code at hand."""
    entry = spec.dataset(record.dataset)
    report.compare(file, {"board": record.board, "revision": record.revision}, identity_of_board(spec, entry))
    if record.provenance is not None:
        versions = {metric.label: metric.version for metric in spec.measured.metrics}
        presets = {preset.name: preset.version for preset in spec.measured.presets}
        report.compare(
            file, record.provenance.settings, spec.settings_of(entry.name).model_dump(), 0, "provenance.settings"
        )
        report.compare(file, record.provenance.metric_versions, versions, 0, "provenance.metric_versions")
        if record.state == "ok":
            report.compare(file, record.provenance.presets, presets, 0, "provenance.presets")
    elif record.state == "ok":
        report.find(file, "provenance", None, "where the numbers come from")


def identity_of_board(spec: Spec, entry: SpecDataset) -> dict[str, str]:
    """Return what every file of a data set says of its board and data."""
    return {"board": spec.board, "revision": entry.revision}


def is_here(scorer: Scorer, entry: SpecDataset, report: Report) -> bool:
    """Whether a data set and all its references are here, so that its cells can be scored."""
    try:
        scorer.items(entry.name)
        members = [scorer.member(entry.name, name) for name in entry.references]
        absent = [one.name for one in members if not scorer.is_available(entry.name, one)]
    except (UnknownNameError, ValueError) as error:  # no such data set or reference, or another revision
        report.find("spec.toml", f"datasets.{entry.name}", str(error), "a data set as this suite has it")
        return False
    except LookupError:  # registered, and not built here
        report.not_at_hand.append(f"{entry.name} (data set)")
        return False
    if absent:
        report.not_at_hand.append(f"{entry.name} (references {', '.join(absent)})")
    return not absent


def lacks_twin(scorer: Scorer, dataset: str, target: Target) -> bool:
    """Whether a target is compared with an untrained twin whose embedding is not at hand."""
    twin = target.card.name + UNTRAINED
    compared = target.trained and target.weights.kind != "file" and twin in scorer.spec.controls
    return compared and not scorer.is_available(dataset, scorer.member(dataset, twin))


def embedding_path(folder: Path, identity: Identity) -> Path:
    """Where a board's folder holds the embedding of a submission."""
    return shipped_path(folder / "embeddings", identity.dataset, identity.target)


def read_beside(folder: Path, identity: Identity) -> Embedding | None:
    """Embedding that a board's folder holds of a submission, or None."""
    try:
        return parse_embedding(gzip.decompress(embedding_path(folder, identity).read_bytes()), identity)[1]
    except (OSError, EOFError, ValueError, zlib.error):
        return None


def pairs_of(
    folder: Path, scorer: Scorer, submitted: Mapping[str, Mapping[str, Embedding]] | None = None
) -> Callable[[str, Iterable[Record]], AllPairs]:
    """Return what scores all pairs of a board's records: from the store, and from the embeddings in its folder.

    Parameters
    ----------
    folder
        The board's folder, which holds the embeddings of submissions.
    scorer
        Scores; it reads the store.
    submitted
        Embeddings that are not in the folder yet, by data set and target.
    """
    handed = submitted or {}

    def all_pairs(dataset: str, records: Iterable[Record]) -> AllPairs:
        records = list(records)
        beside = {}
        for record in records:
            identity = stated_identity(record)
            embedding = None if identity is None else read_beside(folder, identity)
            if embedding is not None:
                beside[record.target] = embedding
        return scorer.all_pairs(dataset, records, submitted={**beside, **handed.get(dataset, {})})

    return all_pairs
