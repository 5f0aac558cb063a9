"""Submissions: what the author of a model hands to the publisher of a board, and how it is received.

A submission is one zip file about one target: per data set the embedding and the record, the card, the text of the
author's target file, and a manifest with the SHA-256 of each. The receiver scores the embeddings again and publishes
those scores; nothing in the archive is run, unpickled or unpacked to disk. What an archive can't show is that the
rows come from the model that they are said to come from.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import numpy as np

from consilience import __version__
from consilience.cards import UNTRAINED, Card, FrozenModel, Name, Sha256
from consilience.embedding.embed import EmbeddingSkippedError, covered_items
from consilience.embedding.identity import Identity, identify, source_files
from consilience.embedding.store import Embedding, parse_embedding, write_embedding
from consilience.files import write_atomically
from consilience.records.migrations import parse_record, read_record
from consilience.records.pairs import AllPairs
from consilience.records.record import Record
from consilience.records.schema import refuse_newer, to_json
from consilience.registry import PACKAGE, Target
from consilience.scoring.scorer import Cell, Scorer
from consilience.weights import sha256_of

from .publish import publish
from .verify import Report, check_metadata, compare_records, embedding_path, find_target, is_here, lacks_twin, rescore

SUBMISSION_VERSION: Literal[1] = 1
#: All that an archive may hold, unpacked: it is read into memory.
MOST_BYTES = 2**31
MOST_TEXT = 2**24
MOST_FILES = 200
#: Names that an archive may hold: no path of any other form is ever looked at.
_NAMES = re.compile(
    r"(manifest|card)\.json|records/[a-z0-9][a-z0-9.+_-]*\.json|embeddings/[a-z0-9][a-z0-9.+_-]*\.safetensors"
    r"|source/[A-Za-z0-9_.-]+\.py\.txt"
)
_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,79}(@[a-z0-9.+_-]{1,79})?")
#: What a card may say instead of a licence.
_NO_LICENCE = {"", "unknown", "none", "other", "tbd", "noassertion", "?"}
#: What the author of a checkpoint says of it: all that `Target.from_checkpoint` leaves open, but for what is measured.
_SAID_OF_CHECKPOINTS = ("title", "revision", "parameters", "trained_on", "level_of_theory", "licence_weights", "remark")
#: Two embeddings that differ by less than this of their largest entry, or see the same neighbours, are one.
_SAME, _SAME_NEIGHBOURS = 1e-4, 0.999

Progress = Callable[[int, int, str], None]


class Check(NamedTuple):
    """One line of the checklist of a submission."""

    what: str
    """What is asked for."""
    missing: str
    """Why it is not there; empty where it is."""


class Manifest(FrozenModel):
    """What a submission holds."""

    schema_version: Literal[1] = SUBMISSION_VERSION
    """Version of this schema."""
    suite_version: str
    """Version of consilience that packed it."""
    board: Name
    """Board that it is meant for."""
    target: str
    """Target."""
    created: str
    """UTC time."""
    weights: Literal["published", "file"]
    """Whether the weights are published ones or the author's file."""
    trusted: bool
    """Whether the author's file was read although it could run code."""
    datasets: tuple[Name, ...]
    """Data sets with a record."""
    packages: tuple[str, ...]
    """Packages of the target's environment."""
    files: dict[str, Sha256]
    """SHA-256 of every other file of the archive."""


@dataclass(frozen=True)
class Verified:
    """A cell of a submission, scored again by the receiver."""

    record: Record
    identity: Identity | None
    embedding: Embedding | None


def complete_card(target: Target, path: Path | None) -> Target:
    """Complete the card of a user's checkpoint from a TOML file, and by the checksum of its weights.

    Parameters
    ----------
    target
        A target that reads a checkpoint. Of any other the card stands in its own file, and `path` has to be None.
    path
        Fields of the card that say what the checkpoint is.

    Raises
    ------
    ValueError
        A field is not one that describes a checkpoint, or the target reads none.
    """
    if target.weights.kind != "file" or target.weights.path is None:
        if path is not None:
            raise ValueError(f"--card describes a checkpoint; the card of {target.name} stands in {target.path.name}")
        return target
    told = tomllib.loads(path.read_text("utf-8")) if path else {}
    strange = sorted(set(told) - set(_SAID_OF_CHECKPOINTS))
    if strange:
        # Family, layer and pooling are the adapter's: another family would make siblings of the model its references.
        raise ValueError(f"{path}: {', '.join(strange)}: a checkpoint is told by {', '.join(_SAID_OF_CHECKPOINTS)}")
    fields = target.card.model_dump() | told | {"weights_sha256": sha256_of(target.weights.path)}
    return replace(target, card=Card.model_validate(fields))


def pack(
    target: Target,
    runner: Scorer,
    output: Path,
    *,
    datasets: Sequence[str] | None = None,
    board: Path | None = None,
    progress: Progress | None = None,
) -> list[Check]:
    """Score a target on a board's data sets and pack a submission, if there is nothing to say against it.

    Parameters
    ----------
    target
        What is submitted.
    runner
        Runs the cells; its spec is the board's.
    output
        The zip file; written only where every check passes.
    datasets
        Data sets of the board; all by default.
    board
        Folder of the published board, where names may be taken.
    progress
        Called before each cell.

    Returns
    -------
    list of Check
        The checklist. Cells are run only where the card is in order.
    """
    names = [runner.spec.dataset(name).name for name in datasets or [entry.name for entry in runner.spec.datasets]]
    checks = [Check("whole data sets", f"a sample of {runner.limit} items" if runner.limit else "")]
    suites_own = target.weights.kind != "file" and target.path.is_relative_to(PACKAGE)
    checks += card_checks(target.card, measured=not suites_own)
    checks += [
        Check("a name for a board", _bad_name(target)),
        Check("a name that is free", _taken(board, target, names)),
    ]
    if any(check.missing for check in checks):
        return [*checks, *(Check(f"scored on {name}", "not run: the above comes first") for name in names)]
    records: dict[str, Record] = {}
    embeddings: dict[str, tuple[Identity, Embedding]] = {}
    for number, name in enumerate(names):
        if progress is not None:
            progress(number, len(names), name)
        record, found = _score(runner, name, target)
        records[name] = record
        if found is not None:
            embeddings[name] = found
        unfit = record.state not in ("ok", "skipped") or (record.state == "ok" and record.reason is not None)
        checks.append(Check(f"scored on {name}", f"{record.state}: {record.reason}" if unfit else ""))
    scored = [record for record in records.values() if record.state == "ok"]
    checks.append(Check("a score on any data set", "" if scored else "none of them applies"))
    dimensions = sorted({record.dimension for record in scored if record.dimension is not None})
    declared = target.card.dimension
    odd = len(dimensions) > 1 or (declared is not None and dimensions not in ([], [declared]))
    checks.append(Check("the dimension of the card", f"the card says {declared}, found {dimensions}" if odd else ""))
    if not any(check.missing for check in checks):
        card = target.card.model_copy(update={"dimension": dimensions[0]})
        records = {name: record.model_copy(update={"card": card}) for name, record in records.items()}
        _write(output, replace(target, card=card), runner, records, embeddings)
    return checks


def verify_submission(path: Path, runner: Scorer, *, board: Path | None = None) -> tuple[Report, list[Verified]]:
    """Verify a submission: what it holds is whole and sound, and gives the scores that it states.

    Parameters
    ----------
    path
        The zip file.
    runner
        Scores; its spec is the receiver's.
    board
        Folder of the published board, where names may be taken and copies found.

    Returns
    -------
    Report
        What was found; a submission with any finding is not to be accepted.
    list of Verified
        The cells with the receiver's own scores.
    """
    report, cells = Report(), []
    try:
        files = read_archive(path)
        manifest = _read_manifest(files)
    except ValueError as error:
        report.find(path.name, "", error, "a submission")
        return report, []
    report.compare("manifest.json", manifest.board, runner.spec.board, at="board")
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "manifest.json"}
    report.compare("manifest.json", manifest.files, found, at="files")
    known = {entry.name: entry for entry in runner.spec.datasets}
    for name in manifest.datasets:
        if name not in known:
            report.find("manifest.json", "datasets", name, f"a data set of board {runner.spec.board}")
        elif is_here(runner, known[name], report):
            cell = _verify_cell(files, manifest, name, runner, board, report)
            cells += [cell] if cell is not None else []
    if not (report.findings or report.not_at_hand or any(cell.record.state == "ok" for cell in cells)):
        report.find("manifest.json", "datasets", ", ".join(manifest.datasets), "one at least with a score")
    left_out = [name for name in known if name not in manifest.datasets]
    if left_out:
        report.remarks.append(f"not submitted: {', '.join(left_out)}")
    report.remarks.append("that the rows come from this model, only running it can show")
    return report, cells


def add_submission(path: Path, folder: Path, runner: Scorer) -> Report:
    """Verify a submission and, if nothing was found, add it to a board's folder with the scores computed here.

    The embeddings go to ``embeddings/`` in that folder, so that the board can be verified by anybody.
    """
    report, cells = verify_submission(path, runner, board=folder)
    if not cells or report.findings or report.not_at_hand:
        return report
    for cell in cells:
        if cell.identity is not None and cell.embedding is not None:
            write_embedding(embedding_path(folder, cell.identity), cell.identity, cell.embedding)
    submitted = {cell.record.dataset: {cell.record.target: cell.embedding} for cell in cells if cell.embedding}

    def all_pairs(dataset: str, targets: Iterable[str]) -> AllPairs:
        return runner.all_pairs(dataset, targets, submitted=submitted.get(dataset, {}))

    publish(folder, [cell.record for cell in cells], all_pairs=all_pairs)
    return report


def card_checks(card: Card, *, measured: bool = False) -> list[Check]:
    """Check a card for publication; `measured` where the embedding is yet to tell the dimension."""
    missing = [name for name in card.missing_for_publication() if not (measured and name == "dimension")]
    licences = {"licence_code": card.licence_code, "licence_weights": card.licence_weights}
    unknown = [name for name, text in licences.items() if text is not None and text.strip().casefold() in _NO_LICENCE]
    # These are printed on the board's page.
    odd = [text for text in (card.title or "", *(card.trained_on or ())) if re.search(r"[\x00-\x1f<>|`]", text)]
    return [
        Check("a card with all that a board states", ", ".join(missing)),
        Check("known licences", ", ".join(unknown)),
        Check("plain text on the board", "; ".join(map(repr, odd))),
    ]


def read_archive(path: Path) -> dict[str, bytes]:
    """Read a submission's files into memory.

    Raises
    ------
    ValueError
        It is no zip file, damaged, too large, or holds what a submission does not hold.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES:,} bytes")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _refuse_odd(entries)
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"not a whole zip file: {error}") from error


def _refuse_odd(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse by the directory alone; `zipfile` never unpacks more of an entry than the directory says."""
    if len(entries) > MOST_FILES:
        raise ValueError(f"{len(entries)} files, at most {MOST_FILES} are taken")
    names = [entry.filename for entry in entries]
    for entry in entries:
        if not _NAMES.fullmatch(entry.filename):
            raise ValueError(f"holds {entry.filename!r}, which no submission does")
        if names.count(entry.filename) > 1:
            raise ValueError(f"holds {entry.filename!r} more than once")
        if not entry.filename.endswith(".safetensors") and entry.file_size > MOST_TEXT:
            raise ValueError(f"{entry.filename} has {entry.file_size:,} bytes, at most {MOST_TEXT:,} are taken")
    total = sum(entry.file_size for entry in entries)
    if total > MOST_BYTES:
        raise ValueError(f"{total:,} bytes unpacked, at most {MOST_BYTES:,} are taken")


def _read_manifest(files: dict[str, bytes]) -> Manifest:
    try:
        content = json.loads(files["manifest.json"])
        refuse_newer(content.get("schema_version"), SUBMISSION_VERSION)
        return Manifest.model_validate(content)
    except KeyError:
        raise ValueError("holds no manifest.json") from None
    except (AttributeError, RecursionError) as error:
        raise ValueError(f"manifest.json is not a manifest: {error}") from error


def _verify_cell(
    files: dict[str, bytes], manifest: Manifest, name: str, runner: Scorer, board: Path | None, report: Report
) -> Verified | None:
    """Verify one data set of a submission; None where its record can't be used at all."""
    file = f"records/{name}.json"
    try:
        record = parse_record(files.get(file, b""), file)
        Card.model_validate_json(files.get("card.json", b""))
        report.compare("card.json", json.loads(files["card.json"]), record.card.model_dump(mode="json"), 0)
        target, registered = find_target(record)
    except ValueError as error:
        report.find(file, "", error, "a record and a card")
        return None
    stated = {"dataset": record.dataset, "target": record.target}
    report.compare(file, stated, {"dataset": name, "target": manifest.target})
    if record.dataset != name:
        return None
    check_metadata(report, file, record, runner.spec)
    refused = [*card_checks(record.card), Check("a name for a board", _bad_name(target))]
    refused.append(Check("a name that is free", _taken(board, target, [name], record.card)))
    unfit = "" if record.state in ("ok", "skipped") else f"{record.state}: {record.reason}"
    refused.append(Check("a cell that is ok or does not apply", unfit))
    for check in refused:
        if check.missing:
            report.find(file, "", check.missing, check.what)
    if registered:
        report.compare(file, record.card.model_dump(mode="json"), target.card.model_dump(mode="json"), 0, "card")
    if unfit:
        return None
    if lacks_twin(runner, name, target):
        report.not_at_hand.append(f"{name}::{target.name}@untrained")
        return None
    identity: Identity | None = None
    embedding: Embedding | None = None
    try:
        covered_items(target, runner.items(name))
        identity, embedding = _read_embedding(files, record, target, registered, runner, report)
        _find_copies(embedding, record, runner, board, report)
    except EmbeddingSkippedError:
        pass  # there is nothing to score, and the record has to say so
    except ValueError as error:
        report.find(f"embeddings/{name}.safetensors", "", error, "a sound embedding")
        return None
    again = rescore(runner, record, target, embedding)
    try:
        again = parse_record(to_json(again).encode(), file)
    except ValueError as error:  # what the embedding says of itself does not fit a record
        report.find(file, "", error, "a record")
        return None
    compare_records(report, file, record, again, runner.spec.schema_version)
    report.recomputed += 1
    if again.distribution == "in":
        seen = f"; it has seen {again.overlap:.1%} of the items" if again.overlap else ""
        report.remarks.append(f"{name}: in distribution for {record.target}{seen}")
    return Verified(again, identity, embedding)


def _read_embedding(
    files: dict[str, bytes], record: Record, target: Target, registered: bool, runner: Scorer, report: Report
) -> tuple[Identity, Embedding]:
    """Embedding of a cell, sound and of the data set's items; raises `ValueError` where it can't be scored."""
    name = f"embeddings/{record.dataset}.safetensors"
    if name not in files:
        raise ValueError("missing")
    identity, embedding = parse_embedding(files[name])
    items = runner.items(record.dataset)
    sound(embedding, len(items))
    if embedding.ids != items.ids:
        raise ValueError("its ids are not those of the data set, in order")
    if registered:
        wanted = identify(target, items).__dict__
    else:
        card = record.card
        of_download = card.access != "package" and target.weights.kind == "published"
        weights = f"published:{card.source}:{card.revision}" if of_download else f"sha256:{card.weights_sha256}"
        wanted = identity.__dict__ | {"target": record.target, "weights": weights, "dtype": "float32"}
        wanted |= {"dataset": record.dataset, "revision": items.revision}
        wanted |= {"layer": card.layer or "", "pooling": card.pooling or ""}
    report.compare(name, identity.__dict__, wanted, at="identity")
    report.compare(name, embedding.provenance.get("identity"), identity.__dict__, at="provenance.identity")
    report.compare(name, embedding.features.shape[1], record.card.dimension, 0, "dimension")
    return identity, embedding


def sound(embedding: Embedding, n: int) -> None:
    """Refuse arrays that no target of this suite can have made.

    Raises
    ------
    ValueError
        A type or shape is another; a row is infinite, or undefined in part.
    """
    features = embedding.features
    if features.dtype != np.float32 or features.ndim != 2 or features.shape[0] != n or features.shape[1] < 1:
        raise ValueError(f"features are {features.dtype} {features.shape}, not float32 ({n}, d)")
    if np.isinf(features).any() or (np.isnan(features).any(axis=1) != np.isnan(features).all(axis=1)).any():
        raise ValueError("a row of the features is infinite, or undefined in part")
    if embedding.energies.dtype != np.float64 or embedding.energies.shape != (n,):
        raise ValueError(f"energies are {embedding.energies.dtype} {embedding.energies.shape}, not float64 ({n},)")
    cut = embedding.truncated
    if cut.shape not in ((n,), (0,)) or not ((cut >= 0) & (cut <= 1)).all():
        raise ValueError("truncated does not hold a share of each item")
    if not all(0 <= place < n for place in embedding.reasons):
        raise ValueError("reasons are given of items that there are not")


def _find_copies(embedding: Embedding, record: Record, runner: Scorer, board: Path | None, report: Report) -> None:
    """Find embeddings of other targets that this one repeats, as they are or turned and scaled."""
    name = f"embeddings/{record.dataset}.safetensors"
    places = [folder for folder in (runner.store.shipped, board and board / "embeddings") if folder is not None]
    for path in sorted(path for folder in places for path in (folder / record.dataset).glob("*.safetensors.gz")):
        other = path.name.removesuffix(".safetensors.gz")
        if other == record.target:
            continue
        features = _features(path)
        if features is not None and features.shape == embedding.features.shape:
            with np.errstate(invalid="ignore"):
                if np.nanmax(np.abs(features - embedding.features)) <= _SAME * np.nanmax(np.abs(features)):
                    report.find(name, "features", f"those of {other}", "a target's own")
    for preset, score in record.scores.items():
        for other, pair in score.pairs.items():
            if pair.cknna is not None and pair.cknna > _SAME_NEIGHBOURS:
                report.find(name, f"neighbours, {preset}", f"those of {other}", "a target's own")


def _features(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
    try:
        return parse_embedding(gzip.decompress(path.read_bytes()))[1].features
    except (OSError, EOFError, ValueError, zlib.error):
        return None


def _bad_name(target: Target) -> str:
    if target.name.endswith(UNTRAINED):
        return f"{target.name}: untrained twins are controls, which the board's spec names"
    return "" if _TARGET_NAME.fullmatch(target.name) else f"{target.name!r} has characters that are not allowed"


def _taken(board: Path | None, target: Target, datasets: Sequence[str], card: Card | None = None) -> str:
    """Say by what else a name is taken on the board; empty where it is free, or is this very target."""
    card = card or target.card
    for dataset in datasets if board else ():
        path = (board or Path()) / "results" / dataset / f"{target.name}.json"
        if path.is_file():
            old = read_record(path).card
            told = [(one.family, one.weights_sha256, one.source, one.revision) for one in (old, card)]
            if told[0] != told[1]:
                return f"{target.name} is on the board with another card or other weights"
    return ""


def _score(runner: Scorer, dataset: str, target: Target) -> tuple[Record, tuple[Identity, Embedding] | None]:
    record = runner.run(Cell(dataset, target))
    if record.state not in ("ok", "skipped"):
        return record, None
    items = runner.items(dataset)
    identity = identify(target, items)
    embedding = runner.store.get(identity)
    return record, None if embedding is None else (identity, embedding)


def _write(
    output: Path,
    target: Target,
    runner: Scorer,
    records: dict[str, Record],
    embeddings: dict[str, tuple[Identity, Embedding]],
) -> None:
    files = {"card.json": to_json(target.card).encode()}
    files |= {f"records/{name}.json": to_json(record).encode() for name, record in records.items()}
    with TemporaryDirectory() as folder:
        for name, (identity, embedding) in embeddings.items():
            path = Path(folder) / "embedding.safetensors"
            write_embedding(path, identity, embedding)
            files[f"embeddings/{name}.safetensors"] = path.read_bytes()
    if not target.path.is_relative_to(PACKAGE):
        # For people to read: the receiver never runs it, and the suffix keeps others from doing so by mistake.
        files |= {f"source/{path.name}.txt": path.read_bytes() for path in source_files(target.path)}
    packages = {line for _, one in embeddings.values() for line in one.provenance.get("packages", ())}
    manifest = Manifest(
        suite_version=__version__,
        board=runner.spec.board,
        target=target.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        weights="file" if target.weights.kind == "file" else "published",
        trusted=target.weights.trusted,
        datasets=tuple(records),
        packages=tuple(sorted(map(str, packages))),
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"manifest.json": to_json(manifest).encode(), **files}.items():
            archive.writestr(name, content)
    write_atomically(output, buffer.getvalue())
