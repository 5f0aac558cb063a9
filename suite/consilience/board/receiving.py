"""Receiving a submission: verifying it, and putting it on a board.

The receiver scores the submitted rows again and publishes those scores. That the rows come from the model that they
name, only running it shows (:mod:`.recompute`): a cell whose rows nobody but the submitter has computed has no rank.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.callbacks import Tell
from consilience.cards import Card, target_of
from consilience.datasets.items import Items
from consilience.embedding.contract import TOLERANCE
from consilience.embedding.embed import covered_items
from consilience.embedding.errors import EmbeddingSkippedError
from consilience.embedding.identity import Identity, identify
from consilience.embedding.store import Embedding, parse_embedding, write_embedding
from consilience.records.migrations import SUBMISSION, parse_record, read_record
from consilience.records.record import Record, Submission
from consilience.records.schema import to_json
from consilience.registry import Target, get_target, list_targets
from consilience.scoring.provenance import embedding_key, stated_identity
from consilience.scoring.scorer import Scorer
from consilience.scratch import scratch_folder
from consilience.weights import Weights

from .board import record_path
from .cells import (
    check_metadata,
    compare_records,
    embedding_path,
    find_target,
    is_here,
    lacks_twin,
    pairs_of,
    read_beside,
    rescore,
)
from .copies import Known, copies
from .findings import Report
from .lock import publication
from .publish import publish_within
from .recompute import Recomputation, recompute, row_deviation
from .submission import Check, Manifest, bad_name, card_checks, read_archive, read_manifest, sound, taken


@dataclass(frozen=True)
class Verified:
    """A cell of a submission, scored again by the receiver."""

    record: Record
    identity: Identity | None
    embedding: Embedding | None


class Rules(NamedTuple):
    """What a publisher does about rows, and takes on trust.

    Attributes
    ----------
    recompute
        How rows are computed again; None where they are not.
    trust_submitter
        Whether rows under a name of the suite or of the board are taken although there is no embedding to compare
        them with, or it is another.
    """

    recompute: Recomputation | None = None
    trust_submitter: bool = False


class _Received(NamedTuple):
    """What the checks of a cell look at."""

    files: Mapping[str, bytes]
    manifest: Manifest
    runner: Scorer
    board: Path | None
    rules: Rules


def verify_submission(
    path: Path, runner: Scorer, *, board: Path | None = None, rules: Rules | None = None
) -> tuple[Report, list[Verified]]:
    """Verify a submission: what it holds is whole and sound, and gives the scores that it states.

    Parameters
    ----------
    path
        The zip file.
    runner
        Scores; its spec is the receiver's.
    board
        Folder of the published board, where names may be taken and copies found.
    rules
        Whether and how rows are computed again, and what is taken on trust.

    Returns
    -------
    Report
        What was found; a submission with any finding is not to be accepted.
    list of Verified
        The cells with the receiver's own scores.
    """
    report, cells = Report(), []
    known = {entry.name: entry for entry in runner.spec.datasets}

    def count(dataset: str) -> int | None:
        try:
            return len(runner.items(dataset)) if dataset in known else None
        except (LookupError, ValueError):  # not built here, or of another revision: said where it is verified
            return None

    try:
        files = read_archive(path, count)
        manifest = read_manifest(files)
    except ValueError as error:
        report.find(path.name, "", error, "a submission")
        return report, []
    report.compare("manifest.json", manifest.board, runner.spec.board, at="board")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "manifest.json"}
    report.compare("manifest.json", manifest.files, digests, at="files")
    received = _Received(files, manifest, runner, board, rules or Rules())
    for name in manifest.datasets:
        if name not in known:
            report.find("manifest.json", "datasets", name, f"a data set of board {runner.spec.board}")
        elif is_here(runner, known[name], report):
            cell = _verify_cell(received, name, report)
            cells += [cell] if cell is not None else []
    if not (report.findings or report.not_at_hand or any(cell.record.state == "ok" for cell in cells)):
        report.find("manifest.json", "datasets", ", ".join(manifest.datasets), "one at least with a score")
    left_out = [name for name in known if name not in manifest.datasets]
    if left_out:
        report.remarks.append(f"not submitted: {', '.join(left_out)}")
    return report, cells


def add_submission(
    path: Path,
    folder: Path,
    runner: Scorer,
    *,
    rules: Rules | None = None,
    tell: Tell = lambda line: None,
) -> Report:
    """Verify a submission and, if nothing was found, add it to a board's folder with the scores computed here.

    The embeddings go to ``embeddings/`` in that folder, so that the board can be verified by anybody. `tell` is called
    with a line for people where another publication has to be waited for.
    """
    report, cells = verify_submission(path, runner, board=folder, rules=rules)
    if not cells or report.findings or report.not_at_hand:
        return report
    submitted = {cell.record.dataset: {cell.record.target: cell.embedding} for cell in cells if cell.embedding}

    with publication(folder, tell=tell) as own:
        for cell in cells:  # another publication may have taken the name meanwhile
            target, _ = find_target(cell.record)
            if reason := taken(folder, target, [cell.record.dataset], cell.record.card):
                report.find(f"records/{cell.record.dataset}.json", "", reason, "a name that is free")
        if report.findings:
            return report
        own.mark({cell.record.dataset: () for cell in cells})
        for cell in cells:
            if cell.identity is not None and cell.embedding is not None:
                write_embedding(embedding_path(folder, cell.identity), cell.identity, cell.embedding)
        publish_within(own, [cell.record for cell in cells], all_pairs=pairs_of(folder, runner, submitted))
    return report


def _verify_cell(received: _Received, name: str, report: Report) -> Verified | None:
    """Verify one data set of a submission; None where its record can't be used at all."""
    files, runner, file = received.files, received.runner, f"records/{name}.json"
    try:
        record = parse_record(files.get(file, b""), file)
        Card.model_validate_json(files.get("card.json", b""))
        report.compare("card.json", json.loads(files["card.json"]), record.card.model_dump(mode="json"), 0)
        target, registered = find_target(record)
    except ValueError as error:
        report.find(file, "", error, "a record and a card")
        return None
    if record.submission is not None:
        report.find(file, "submission", record.submission.label, "stated by the publisher of a board alone")
        return None
    stated = {"dataset": record.dataset, "target": record.target}
    report.compare(file, stated, {"dataset": name, "target": received.manifest.target})
    if record.dataset != name:
        return None
    check_metadata(report, file, record, runner.spec)
    refused = [*card_checks(record.card), Check("a name for a board", bad_name(target))]
    refused.append(Check("a name that is free", taken(received.board, target, [name], record.card)))
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
    submission: Submission | None = None
    try:
        covered_items(target, runner.items(name))
        identity, embedding = _read_embedding(received, record, target, registered, report)
        submission = _origin(received, record, target, registered, embedding, report)
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
    return Verified(again.model_copy(update={"submission": submission}), identity, embedding)


def _read_embedding(
    received: _Received, record: Record, target: Target, registered: bool, report: Report
) -> tuple[Identity, Embedding]:
    """Embedding of a cell, sound and of the data set's items; raises `ValueError` where it can't be scored."""
    name = f"embeddings/{record.dataset}.safetensors"
    if name not in received.files:
        raise ValueError("missing")
    identity, embedding = parse_embedding(received.files[name])
    items = received.runner.items(record.dataset)
    sound(embedding, len(items))
    if embedding.ids != items.ids:
        raise ValueError("its ids are not those of the data set, in order")
    embedding.provenance.pop(SUBMISSION, None)  # what a publisher states there
    wanted = identify(target, items) if registered else _expected_identity(received, record, target, items, report)
    report.compare(name, identity.__dict__, (wanted or identity).__dict__, at="identity")
    report.compare(name, embedding.provenance.get("identity"), identity.__dict__, at="provenance.identity")
    report.compare(name, embedding.features.shape[1], record.card.dimension, 0, "dimension")
    return identity, embedding


def _expected_identity(
    received: _Received, record: Record, target: Target, items: Items, report: Report
) -> Identity | None:
    """Identity by what the card, the data set and the target file say: the embedding is no evidence of its own."""
    card = record.card
    of_download = card.access != "package" and target.weights.kind == "published"
    weights = f"published:{card.source}:{card.revision}" if of_download else f"sha256:{card.weights_sha256}"
    sources = _sources(received, record)
    with scratch_folder() as folder:
        path = folder / next(iter(sources), "")
        for file, content in sources.items():
            (folder / file).write_bytes(content)
        if not sources:
            adapter = _adapter(record)
            if adapter is None:
                report.find("source", "", "missing", f"the target file of {record.target}")
                return None
            path = adapter.path
        try:
            identity = identify(replace(target, path=path, weights=Weights()), items)
        except (ValueError, SyntaxError, RecursionError) as error:
            report.find(f"source/{path.name}.txt", "", error, "a target file")
            return None
    return replace(identity, target=record.target, weights=weights)


def _sources(received: _Received, record: Record) -> dict[str, bytes]:
    """Target file of a submission and its helpers by name, the former first; empty where the suite has it."""
    if _adapter(record) is not None:
        return {}  # another file under the name of one of the suite's is none of it
    texts = {
        name.removeprefix("source/").removesuffix(".txt"): content
        for name, content in received.files.items()
        if name.startswith("source/")
    }
    own = [name for name in texts if not name.startswith("_")]
    return {name: texts[name] for name in sorted(texts, key=lambda name: (name not in own[:1], name))} if own else {}


def _adapter(record: Record) -> Target | None:
    """Target of the suite that reads a submitted checkpoint; None where it is the submitter's own."""
    try:
        return get_target(record.card.name)
    except LookupError:
        return None


def _origin(
    received: _Received, record: Record, target: Target, registered: bool, embedding: Embedding, report: Report
) -> Submission:
    """Find out where submitted rows come from, as far as that can be known here."""
    name, rules = f"embeddings/{record.dataset}.safetensors", received.rules
    published = _published(received, record)
    known = _known_rows(received, record, target, registered, published)
    submission, named = Submission(), registered or published is not None
    if known is not None:
        measured = row_deviation(known.features[known.embedded], embedding.features[known.embedded])
        if measured <= TOLERANCE and bool((known.embedded == embedding.embedded).all()):
            if registered or (published is not None and published.submission is None):  # all rows were computed here
                return Submission(recomputed=int(known.embedded.sum()), deviation=measured)
            submission, named = (published and published.submission) or submission, False
        elif not rules.trust_submitter:
            report.find(name, "features", f"rows that differ by {measured:.2g}", f"those of {record.target} here")
            return submission
    if rules.recompute is not None:
        try:
            sources = _sources(received, record)
            submission = recompute(record, embedding, received.runner.items(record.dataset), sources, rules.recompute)
        except (LookupError, ValueError, OSError) as error:
            report.find(name, "features", error, "rows that can be computed again")
    elif named:
        if not rules.trust_submitter:
            report.find(
                name, "features", f"no embedding of {record.target} is here to compare them with",
                "consilience run embeds it, --recompute computes some rows, --trust-submitter takes them",
            )  # fmt: skip
        submission = Submission(trusted=True)
    if not submission.recomputed:
        report.remarks.append(f"{record.dataset}: rows from the submitter, without a rank (--recompute shows whose)")
    return _judge_copies(received, record, embedding, submission, report)


def _judge_copies(
    received: _Received, record: Record, embedding: Embedding, submission: Submission, report: Report
) -> Submission:
    """Refuse rows that repeat another target's, unless the card names that target as its ancestor."""
    originals = copies(embedding.features, _others(received, record))
    if not originals:
        return submission
    ancestor = record.card.ancestor
    if ancestor in [one.target for one in originals]:
        report.remarks.append(
            f"{record.dataset}: shown as {ancestor}, whose rows it repeats, without a rank of its own"
        )
        return submission.model_copy(update={"copy_of": ancestor})
    for one in originals:
        figures = f"CKNNA {one.cknna:.3f}; components predicted: {one.predicted:.3f}"
        report.find(
            f"embeddings/{record.dataset}.safetensors", f"features ({figures})", f"those of {one.target}",
            "a target's own; a card that names it as its ancestor is shown as it",
        )  # fmt: skip
    return submission


def _known_rows(
    received: _Received, record: Record, target: Target, registered: bool, published: Record | None
) -> Embedding | None:
    """Embedding that the receiver has under the name of a submission; None where there is none."""
    if registered:
        return received.runner.store.get(identify(target, received.runner.items(record.dataset)))
    identity = None if published is None else stated_identity(published)
    if published is None or identity is None or received.board is None:
        return None
    return read_beside(received.board, identity) or received.runner.store.get(identity, embedding_key(published))


def _published(received: _Received, record: Record) -> Record | None:
    """Scored record of this name on the board; None where there is none."""
    path = record_path((received.board or Path()) / "results", record)
    if received.board is None or not path.is_file():
        return None
    published = read_record(path)
    return published if published.state == "ok" else None


def _others(received: _Received, record: Record) -> Iterator[Known]:
    """Every other target whose embedding is available: shipped, on the board, or in the store."""
    items, store, seen = received.runner.items(record.dataset), received.runner.store, {record.target}
    beside = received.board and received.board / "embeddings"
    for folder in filter(None, (store.shipped, beside)):
        for path in sorted((folder / record.dataset).glob("*.safetensors.gz")):
            name = target_of(path.name.removesuffix(".safetensors.gz"))
            features = None if name in seen else _features(path)
            if features is not None and len(features) == len(items):
                seen.add(name)
                yield Known(name, features, _is_trained(name))
    for target in list_targets().values():
        for one in (target, target.untrained()) if target.card.untrained else (target,):
            if one.name not in seen and items.has_view(one.card.input_view):
                embedding = store.get(identify(one, items))
                if embedding is not None:
                    yield Known(one.name, embedding.features, one.trained)


def _is_trained(name: str) -> bool:
    """Whether a target is trained; one that is not registered here was submitted as such."""
    try:
        return get_target(name).trained
    except LookupError:
        return True


def _features(path: Path) -> NDArray[np.float32] | None:
    try:
        return parse_embedding(gzip.decompress(path.read_bytes()))[1].features
    except (OSError, EOFError, ValueError, zlib.error):
        return None
