"""Packing a submission: what the author of a model hands to the publisher of a board."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from consilience import __version__
from consilience.bounds import parse_toml, read_text
from consilience.callbacks import StepProgress
from consilience.cards import Card
from consilience.embedding.identity import Identity, identify, source_files
from consilience.embedding.store import Embedding, write_embedding
from consilience.files import write_atomically
from consilience.records.record import Record
from consilience.records.schema import to_json, validated
from consilience.registry import PACKAGE, Target
from consilience.scoring.cell import Cell
from consilience.scoring.scorer import Scorer
from consilience.weights import sha256_of

from .submission import Check, Manifest, bad_name, card_checks, taken

#: What the author of a checkpoint says of it: all that `Target.from_checkpoint` leaves open, but for what is measured.
_SAID_OF_CHECKPOINTS = (
    "title",
    "revision",
    "parameters",
    "trained_on",
    "level_of_theory",
    "licence_weights",
    "remark",
    "ancestor",
)


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
    digest = {"weights_sha256": sha256_of(target.weights.path)}
    if path is None:
        return replace(target, card=target.card.model_copy(update=digest))
    try:
        description = parse_toml(read_text(path))
        strange = sorted(set(description) - set(_SAID_OF_CHECKPOINTS))
        if strange:
            # Family, layer and pooling are the adapter's: another family would make siblings of the model its
            # references.
            odd = ", ".join(repr(name[:80]) for name in strange[:10])
            raise ValueError(f"{odd}: a checkpoint is told by {', '.join(_SAID_OF_CHECKPOINTS)}")
        card = validated(Card, target.card.model_dump(mode="json") | description | digest)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return replace(target, card=card)


def pack(
    target: Target,
    runner: Scorer,
    output: Path,
    *,
    datasets: Sequence[str] | None = None,
    board: Path | None = None,
    progress: StepProgress | None = None,
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
        Check("a name for a board", bad_name(target)),
        Check("a name that is free", taken(board, target, names)),
    ]
    if any(check.missing for check in checks):
        return [*checks, *(Check(f"scored on {name}", "not run: the above comes first") for name in names)]
    records: dict[str, Record] = {}
    embeddings: dict[str, tuple[Identity, Embedding]] = {}
    for number, name in enumerate(names):
        if progress is not None:
            progress(number, len(names), name)
        record, embedding = _score(runner, name, target)
        records[name] = record
        if embedding is not None:
            embeddings[name] = embedding
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
        dimension=target.card.dimension,
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
