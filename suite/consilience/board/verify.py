"""Verifying a published board: records are scored again from their embeddings, all else is rebuilt and compared.

Nothing is embedded and no model is started. A cell whose embedding is not at hand (neither stored, nor shipped, nor
in the board's own folder) is checked against itself only, and named.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any

from consilience.cards import UNTRAINED, Card
from consilience.embedding.embed import EmbeddingSkippedError, covered_items
from consilience.embedding.identity import Identity, identify
from consilience.embedding.store import Embedding, Store, parse_embedding, shipped_path
from consilience.records.board import BOARD_VERSION
from consilience.records.migrations import read_record
from consilience.records.record import Record
from consilience.records.schema import refuse_newer, to_json
from consilience.records.spec import Spec, SpecDataset, read_spec
from consilience.records.values import mean_value
from consilience.registry import Target, UnknownNameError, get_target
from consilience.scoring.lineage import SEEN
from consilience.scoring.scorer import Cell, Scorer
from consilience.weights import Weights

from .board import read_records, record_path
from .checkpoint import Checkpoint
from .groups import pairs_path, read_pairs
from .markdown import render, tabulated
from .publish import read_board
from .remarks import FILE as REMARKS
from .remarks import read_remarks
from .tolerance import TOLERANCE, differences, record_differences

#: Lines shown of one file; the report as JSON has all.
_SHOWN = 5

#: Called with cells done, cells in all, and the name of the next.
Progress = Callable[[int, int, str], None]


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

    def compare(self, file: str, published: Any, recomputed: Any, tolerance: float = TOLERANCE, at: str = "") -> None:
        """Add a finding for every field in which two JSON values differ."""
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


def verify_board(
    folder: Path,
    *,
    store: Store | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Verify a board's folder.

    Parameters
    ----------
    folder
        Holds ``spec.toml``, ``results``, ``pairs`` and the pages built from them.
    store
        Where embeddings are looked up; by default the suite's cache folder and what is shipped.
    progress
        Called before each cell.
    tell
        Called with a line for people: how many cells are available to recompute, and how many were verified before
        the verification was stopped.

    Raises
    ------
    ValueError
        The spec can't be read.
    """
    spec = read_spec(folder / "spec.toml")
    scorer = Scorer(spec, store=store)
    report = Report()
    records = _read_records(folder, spec, report)
    total, done = sum(map(len, records.values())), 0
    here = {entry.name: is_here(scorer, entry, report) for entry in spec.datasets}
    available = sum(
        here[name] and _is_recomputable(folder, scorer, record) for name, own in records.items() for record in own
    )
    checkpoint = Checkpoint(folder, spec)
    before = f"; {len(checkpoint)} files were verified before it was stopped" if len(checkpoint) else ""
    tell(f"{available} of {total} cells are available to recompute{before}")
    for entry in spec.datasets:
        for record in records[entry.name]:
            if progress is not None:
                progress(done, total, f"{entry.name}::{record.target}")
            done += 1
            file = record_path(folder / "results", record)
            with _part(checkpoint, folder, [file], report) as part:
                if part is not None:
                    _verify_record(folder, scorer, entry, record, part, here[entry.name])
        if here[entry.name]:
            if progress is not None:
                progress(done, total, f"{entry.name}: pairs")
            files = [pairs_path(folder, entry.name), *(record_path(folder / "results", r) for r in records[entry.name])]
            with _part(checkpoint, folder, files, report) as part:
                if part is not None:
                    _verify_pairs(folder, scorer, entry, records[entry.name], part)
    for path in sorted((folder / "pairs").glob("*.json")):
        if path.stem not in records:
            report.find(f"pairs/{path.name}", "dataset", path.stem, f"not on board {spec.board}")
    _verify_pages(folder, report)
    checkpoint.finish()
    return report


@contextmanager
def _part(checkpoint: Checkpoint, folder: Path, files: Sequence[Path], report: Report) -> Iterator[Report | None]:
    """Hand out a report for one part of the work, and add it to the whole; None where the part was done before."""
    name = files[0].relative_to(folder).as_posix()
    content = b"".join(path.read_bytes() for path in files if path.is_file())
    part = Report()
    stored = checkpoint.of(name, content)
    if stored is None:
        yield part
        if not part.not_at_hand:  # what is not available now may be when the verification goes on
            checkpoint.add(name, content, asdict(part))
    else:
        part.recomputed, part.not_at_hand = stored["recomputed"], stored["not_at_hand"]
        part.findings, part.remarks = [Finding(**one) for one in stored["findings"]], stored["remarks"]
        yield None
    report.recomputed += part.recomputed
    report.findings += part.findings
    report.not_at_hand += part.not_at_hand
    report.remarks += part.remarks


def _is_recomputable(folder: Path, scorer: Scorer, record: Record) -> bool:
    """Whether all embeddings that a cell takes are on this machine, or it does not apply."""
    try:
        target, registered = find_target(record)
        covered_items(target, scorer.items(record.dataset))
    except EmbeddingSkippedError:
        return True
    except ValueError:
        return False
    identity = identify(target, scorer.items(record.dataset)) if registered else _stated(record)
    if identity is None or lacks_twin(scorer, record.dataset, target):
        return False
    return scorer.store.contains(identity) or embedding_path(folder, identity).is_file()


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
    report.compare(file, {"board": record.board, "revision": record.revision}, _said(spec, entry))
    if record.provenance is not None:
        versions = {metric.label: metric.version for metric in spec.measured.metrics}
        presets = {preset.name: preset.version for preset in spec.measured.presets}
        report.compare(file, record.provenance.settings, spec.settings.model_dump(), 0, "provenance.settings")
        report.compare(file, record.provenance.metric_versions, versions, 0, "provenance.metric_versions")
        if record.state == "ok":
            report.compare(file, record.provenance.presets, presets, 0, "provenance.presets")
    elif record.state == "ok":
        report.find(file, "provenance", None, "where the numbers come from")


def _said(spec: Spec, entry: SpecDataset) -> dict[str, str]:
    return {"board": spec.board, "revision": entry.revision}


def _read_records(folder: Path, spec: Spec, report: Report) -> dict[str, list[Record]]:
    """Records by data set, each where it belongs; what is not, and what is missing, is found."""
    results = folder / "results"
    records: dict[str, list[Record]] = {entry.name: [] for entry in spec.datasets}
    files = sorted(results.glob("*/*.json"))
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            record = read_record(path)
        except ValueError as error:
            report.find(name, "", str(error).removeprefix(f"{path} "), "a record")
            continue
        schema = json.loads(path.read_bytes())["schema_version"]
        if schema != spec.schema_version:
            report.find(name, "schema_version", schema, spec.schema_version)
        if record_path(results, record) != path:
            report.find(name, "dataset, target", f"{record.dataset}, {record.target}", "those of its path")
        elif record.dataset not in records:
            report.find(name, "dataset", record.dataset, f"not on board {spec.board}")
        else:
            records[record.dataset].append(record)
    for entry in spec.datasets:
        for target in dict.fromkeys((*entry.references, *spec.controls)):
            path = results / entry.name / f"{target}.json"
            if path not in files:
                report.find(path.relative_to(folder).as_posix(), "", "missing", "a reference or control of the spec")
    return records


def is_here(scorer: Scorer, entry: SpecDataset, report: Report) -> bool:
    """Whether a data set and all its references are here, so that its cells can be scored."""
    try:
        scorer.items(entry.name)
        absent = [name for name in entry.references if not scorer.is_available(entry.name, get_target(name))]
    except (UnknownNameError, ValueError) as error:  # no such data set or reference, or another revision
        report.find("spec.toml", f"datasets.{entry.name}", str(error), "a data set as this suite has it")
        return False
    except LookupError:  # registered, and not built here
        report.not_at_hand.append(f"{entry.name} (data set)")
        return False
    if absent:
        report.not_at_hand.append(f"{entry.name} (references {', '.join(absent)})")
    return not absent


def _verify_record(
    folder: Path, scorer: Scorer, entry: SpecDataset, record: Record, report: Report, known: bool
) -> None:
    file = record_path(folder / "results", record).relative_to(folder).as_posix()
    check_metadata(report, file, record, scorer.spec)
    _check_sums(report, file, record, scorer.spec)
    try:
        target, registered = find_target(record)
    except ValueError as error:
        report.find(file, "target", record.target, error)
        return
    if registered:
        report.compare(file, record.card.model_dump(mode="json"), target.card.model_dump(mode="json"), 0, "card")
    if not known:
        report.not_at_hand.append(f"{entry.name}::{record.target}")
        return
    if record.provenance is not None:
        keys = scorer.reference_keys(entry.name)
        report.compare(file, record.provenance.references, keys, 0, "provenance.references")
    embedding, applies = _look_up(folder, scorer, record, target, registered)
    if embedding is None and applies:
        if registered:
            now = identify(target, scorer.items(entry.name))
            stale = "" if _stated(record) == now else " (made by other code, weights or packages than this suite's)"
            report.not_at_hand.append(f"{entry.name}::{record.target}{stale}")
        else:
            report.find(file, "target", record.target, "a target of this suite, or one with its embedding here")
        return
    compare_records(report, file, record, rescore(scorer, record, target, embedding), scorer.spec.schema_version)
    report.recomputed += 1


def _look_up(
    folder: Path, scorer: Scorer, record: Record, target: Target, registered: bool
) -> tuple[Embedding | None, bool]:
    """Embedding of a cell, None where it is not at hand, and whether the target applies to the data set at all."""
    items = scorer.items(record.dataset)
    try:
        covered_items(target, items)
    except EmbeddingSkippedError:
        return None, False
    identity = identify(target, items) if registered else _stated(record)
    if identity is None or lacks_twin(scorer, record.dataset, target):
        return None, True
    found = scorer.store.get(identity) if registered else None
    return found or read_beside(folder, identity), True


def lacks_twin(scorer: Scorer, dataset: str, target: Target) -> bool:
    """Whether a target is compared with an untrained twin whose embedding is not at hand."""
    twin = target.card.name + UNTRAINED
    compared = target.trained and target.weights.kind != "file" and twin in scorer.spec.controls
    return compared and not scorer.is_available(dataset, get_target(twin))


def _stated(record: Record) -> Identity | None:
    """Identity of the embedding as the record tells it; None where it tells none, or another cell's."""
    told = record.provenance.embedding.get("identity") if record.provenance else None
    if not isinstance(told, dict) or set(told) != {one.name for one in fields(Identity)}:
        return None
    identity = Identity(**told)
    return identity if (identity.target, identity.dataset) == (record.target, record.dataset) else None


def embedding_path(folder: Path, identity: Identity) -> Path:
    """Where a board's folder holds the embedding of a submission."""
    return shipped_path(folder / "embeddings", identity.dataset, identity.target)


def read_beside(folder: Path, identity: Identity) -> Embedding | None:
    """Embedding that a board's folder holds of a submission, or None."""
    try:
        return parse_embedding(gzip.decompress(embedding_path(folder, identity).read_bytes()), identity)[1]
    except (OSError, EOFError, ValueError, zlib.error):
        return None


def _check_sums(report: Report, file: str, record: Record, spec: Spec) -> None:
    """Check a record against itself: its means are those of its pairs, and pairs are calibrated as they say."""
    if record.state != "ok":
        return
    report.compare(file, sorted(record.scores), sorted(spec.presets), at="scores")
    for preset, score in record.scores.items():
        means = {"cknna": score.cknna, "alignment.value": score.alignment.value}
        pairs = score.pairs.values()
        wanted = {
            "cknna": mean_value(p.cknna for p in pairs),
            "alignment.value": mean_value(p.calibrated for p in pairs),
        }
        report.compare(file, means, wanted, at=f"scores.{preset}")
        for name, pair in score.pairs.items():
            if pair.cknna is not None and pair.null_quantile is not None and pair.null_quantile < 1:
                value = max(0.0, (pair.cknna - pair.null_quantile) / (1 - pair.null_quantile))
                report.compare(file, pair.calibrated, value, at=f"scores.{preset}.pairs.{name}.calibrated")


def _verify_pairs(folder: Path, scorer: Scorer, entry: SpecDataset, records: Sequence[Record], report: Report) -> None:
    file = pairs_path(folder, entry.name).relative_to(folder).as_posix()
    try:
        published = read_pairs(folder, entry.name)
    except ValueError as error:
        report.find(file, "", str(error), "pairs")
        return
    scored = [record.target for record in records if record.state == "ok"]
    again = {(pair.first, pair.second): pair for pair in scorer.all_pairs(entry.name, scored).pairs}
    if published is None:
        if again:
            report.find(file, "", "missing", f"{len(again)} pairs")
        return
    report.compare(file, {"board": published.board, "revision": published.revision}, _said(scorer.spec, entry))
    stated = {(pair.first, pair.second): pair for pair in published.pairs}
    for key, pair in stated.items():
        if not set(key) <= set(scored):
            report.find(file, " / ".join(key), "a pair", "no scored cells of both")
        elif key in again:
            report.compare(file, _json(pair), _json(again[key]), at=" / ".join(key))
    for key in again:
        if key not in stated:
            report.find(file, " / ".join(key), "missing", "a pair")


def _verify_pages(folder: Path, report: Report) -> None:
    """Build ``leaderboard.json`` and ``leaderboard.md`` again from what the folder holds."""
    try:
        records = read_records(folder / "results")
        board = read_board(folder, records=records)
    except (ValueError, LookupError) as error:
        report.find("leaderboard.json", "", "can't be rebuilt", str(error))
        return
    wanted_pages = {"leaderboard.json": to_json(board)}
    try:
        wanted_pages["leaderboard.md"] = render(board, read_remarks(folder, board.spec), records)
    except ValueError as error:
        report.find(REMARKS, "", str(error).removeprefix(f"{folder / REMARKS}: "), "remarks on this board")
    for name, wanted in wanted_pages.items():
        path = folder / name
        found = path.read_text("utf-8", errors="replace") if path.is_file() else None
        if found is None:
            report.find(name, "", "missing", "built from the records")
        elif found != wanted:
            (_compare_json if path.suffix == ".json" else _compare_lines)(report, name, found, wanted)


def _compare_json(report: Report, name: str, found: str, wanted: str) -> None:
    before = len(report.findings)
    try:
        content = json.loads(found)
        refuse_newer(content.get("schema_version"), BOARD_VERSION)
        report.compare(name, content, json.loads(wanted), 0)
    except (ValueError, AttributeError, RecursionError) as error:
        report.find(name, "", str(error), "a board")
    if len(report.findings) == before:
        report.find(name, "", "another text", "the same figures")


def _compare_lines(report: Report, name: str, found: str, wanted: str) -> None:
    for number, (old, new) in enumerate(zip_longest(found.splitlines(), wanted.splitlines(), fillvalue="(absent)"), 1):
        if old != new:
            report.find(name, f"line {number}", old, new)


def _json(model: Any) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(to_json(model))
    return content


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
