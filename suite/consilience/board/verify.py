"""Verifying a published board: records are scored again from their embeddings, all else is rebuilt and compared.

Nothing is embedded and no model is started. A cell whose embedding is not at hand (neither stored, nor shipped, nor
in the board's own folder) is checked against itself only, and named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from consilience._moved import moved_names
from consilience.callbacks import StepProgress, Tell
from consilience.embedding.embed import covered_items
from consilience.embedding.errors import EmbeddingSkippedError
from consilience.embedding.identity import identify
from consilience.embedding.store import Embedding, Store
from consilience.records.migrations import read_record
from consilience.records.record import Record
from consilience.records.schema import to_json
from consilience.records.spec import Spec, SpecDataset, read_spec
from consilience.records.values import mean_value
from consilience.registry import Target, get_target
from consilience.scoring.provenance import stated_identity
from consilience.scoring.scorer import Scorer

from .board import read_records, record_path, result_path
from .cells import (
    check_metadata,
    compare_records,
    embedding_path,
    find_target,
    identity_of_board,
    is_here,
    lacks_twin,
    pairs_of,
    read_beside,
    rescore,
)
from .checkpoint import Checkpoint
from .findings import Finding, Report, compare_json, compare_lines
from .groups import pairs_path, read_pairs
from .lock import FOLDER as PUBLICATION
from .lock import is_unfinished
from .markdown import render
from .publish import read_board
from .remarks import FILE as REMARKS
from .remarks import read_remarks


def verify_board(
    folder: Path,
    *,
    store: Store | None = None,
    progress: StepProgress | None = None,
    tell: Tell = lambda line: None,
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
    if is_unfinished(folder):
        report.find(
            PUBLICATION, "", "a publication is under way, or was stopped", "consilience leaderboard build ends it"
        )
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
        target, registered = _as_measured(record)
        covered_items(target, scorer.items(record.dataset))
    except EmbeddingSkippedError:
        return True
    except ValueError:
        return False
    identity = identify(target, scorer.items(record.dataset)) if registered else stated_identity(record)
    if identity is None or lacks_twin(scorer, record.dataset, target):
        return False
    return scorer.store.contains(identity) or embedding_path(folder, identity).is_file()


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
            path = result_path(results, entry.name, target)
            if path not in files:
                report.find(path.relative_to(folder).as_posix(), "", "missing", "a reference or control of the spec")
    return records


def _verify_record(
    folder: Path, scorer: Scorer, entry: SpecDataset, record: Record, report: Report, known: bool
) -> None:
    file = record_path(folder / "results", record).relative_to(folder).as_posix()
    check_metadata(report, file, record, scorer.spec)
    _check_sums(report, file, record, scorer.spec)
    try:
        target, registered = _as_measured(record)
    except ValueError as error:
        report.find(file, "target", record.target, error)
        return
    if registered and _was_mended(record, get_target(record.target)):
        newer = get_target(record.target).card.revision
        report.remarks.append(
            f"{entry.name}::{record.target}: measured at revision {record.card.revision}; this suite has {newer}"
        )
    elif registered:
        card = target.card.as_published(record.card)
        report.compare(file, record.card.model_dump(mode="json"), card.model_dump(mode="json"), 0, "card")
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
            stale = (
                "" if stated_identity(record) == now else " (made by other code, weights or packages than this suite's)"
            )
            report.not_at_hand.append(f"{entry.name}::{record.target}{stale}")
        else:
            report.find(file, "target", record.target, "a target of this suite, or one with its embedding here")
        return
    compare_records(report, file, record, rescore(scorer, record, target, embedding), scorer.spec.schema_version)
    report.recomputed += 1
    if record.submission is not None and not record.submission.ranked:
        report.remarks.append(f"{entry.name}::{record.target}: {record.submission.label}, without a rank")


def _look_up(
    folder: Path, scorer: Scorer, record: Record, target: Target, registered: bool
) -> tuple[Embedding | None, bool]:
    """Embedding of a cell, None where it is not at hand, and whether the target applies to the data set at all."""
    items = scorer.items(record.dataset)
    try:
        covered_items(target, items)
    except EmbeddingSkippedError:
        return None, False
    identity = identify(target, items) if registered else stated_identity(record)
    if identity is None or lacks_twin(scorer, record.dataset, target):
        return None, True
    embedding = scorer.store.get(identity) if registered else None
    return embedding or read_beside(folder, identity), True


def _as_measured(record: Record) -> tuple[Target, bool]:
    """Target of a record, and whether the suite has it.

    One that was mended since is taken as it was, with the card and the embedding that the record states. Its card names
    the former revision: any other is a finding.

    Raises
    ------
    ValueError
        There is no such target, and the record does not bring it.
    """
    target, registered = find_target(record)
    if registered and _was_mended(record, target):
        # The file of training ids lies beside the target's file: a record could name any file of this machine.
        card = record.card.model_copy(update={"training_ids": target.card.training_ids})
        target = replace(target, card=card, pinned=stated_identity(record))
    return target, registered


def _was_mended(record: Record, target: Target) -> bool:
    return record.card.revision in target.card.former_revisions


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
            "alignment.value": mean_value(p.alignment for p in pairs),
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
    ok = [record for record in records if record.state == "ok"]
    scored = [record.target for record in ok]
    again = {(pair.first, pair.second): pair for pair in pairs_of(folder, scorer)(entry.name, ok).pairs}
    if published is None:
        if again:
            report.find(file, "", "missing", f"{len(again)} pairs")
        return
    report.compare(
        file, {"board": published.board, "revision": published.revision}, identity_of_board(scorer.spec, entry)
    )
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
        page = path.read_text("utf-8", errors="replace") if path.is_file() else None
        if page is None:
            report.find(name, "", "missing", "built from the records")
        elif page != wanted:
            (compare_json if path.suffix == ".json" else compare_lines)(report, name, page, wanted)


def _json(model: Any) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(to_json(model))
    return content


__getattr__ = moved_names(
    __name__,
    {
        "target_of": "board.cells",
        **dict.fromkeys(("TOLERANCE", "differences", "record_differences"), "board.tolerance"),
    },
)
