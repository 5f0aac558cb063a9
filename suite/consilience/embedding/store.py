"""The embedding store: every embedding under a key made of all that determines it.

Two places are read, in this order: the reference embeddings that come with a board, which count as cells already
done, and the cache folder. The package ships those of the board that it measures by default; those of earlier boards
stay in the suite's repository. Files are written whole or not at all, and a checksum is verified whenever
one is read; a damaged file is as good as none.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience._moved import moved_names
from consilience.cache import cache_dir
from consilience.cards import file_stem
from consilience.files import sealed, unsealed, write_atomically

from .half import DEVIATION, HALF, from_half, to_half
from .identity import Identity
from .inputs import Inputs, changes, stamps_of
from .tensors import checksum, tensors_to_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray


PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = PACKAGE / "data" / "embeddings"
#: Boards of the suite's own repository; there is no such folder beside an installed package.
BOARDS = PACKAGE.parents[1] / "leaderboard"
FORMAT = 2
#: What reading a header raises that is not one of ours.
_HEADER_ERRORS = (KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Embedding:
    """An embedding read from the store.

    Attributes
    ----------
    features
        (n, d) float32; a row of NaN where the item could not be embedded.
    energies
        (n,) float64, eV; NaN where the model gives none.
    ids
        Item ids, in order.
    reasons
        Why an item could not be embedded, by its index.
    provenance
        Identity and circumstances of the run (seconds, versions, hardware, weights).
    truncated
        (n,) share of an item that the model did not read; empty where every item was read whole.
    """

    features: NDArray[np.float32]
    energies: NDArray[np.float64]
    ids: list[str]
    reasons: dict[int, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    truncated: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    key: str = ""
    """Key of identity and inputs (:attr:`Entry.key`); empty unless it was read from a store."""

    @property
    def embedded(self) -> NDArray[np.bool_]:
        """(n,) whether the item was embedded."""
        return np.asarray(np.isfinite(self.features).all(axis=1))

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Embedding:
        """Return the embedding of the items under a mask (n,), or at these places in this order."""
        places = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        new = {int(old): i for i, old in enumerate(places)}
        reasons = {new[old]: reason for old, reason in self.reasons.items() if old in new}
        ids = [self.ids[i] for i in places]
        truncated = self.truncated[places] if len(self.truncated) else self.truncated
        features, energies = self.features[places], self.energies[places]
        return replace(self, features=features, energies=energies, ids=ids, reasons=reasons, truncated=truncated)


@dataclass(frozen=True)
class Entry:
    """A stored embedding, by its header; the rows are not read yet."""

    path: Path
    identity: Identity
    inputs: Inputs | None
    """What the target read beside what its identity names; None for the shipped ones."""

    @property
    def key(self) -> str:
        """SHA-256 of the identity's key and the inputs: equal keys are rows of the same making."""
        return content_key(self.identity, self.inputs)


def content_key(identity: Identity, inputs: Inputs | None) -> str:
    """Key of an embedding's content: the identity's own where there are no inputs beside."""
    if inputs is None:
        return identity.key
    return hashlib.sha256(f"{identity.key} {inputs.digest}".encode()).hexdigest()


class Store:
    """Embeddings by key, in a folder and among the files shipped with the package.

    Several embeddings of one identity can be stored, made from different inputs (two branches of a project): the one
    whose inputs are those of now is read.

    Parameters
    ----------
    folder
        Where embeddings are kept; the suite's cache folder by default.
    shipped
        Folder of reference embeddings, or None to ignore them (``--align-fresh-references``). They are read first.
    """

    def __init__(self, folder: Path | None = None, shipped: Path | None = SHIPPED) -> None:
        self.folder = folder or cache_dir() / "embeddings"
        self.shipped = shipped

    def cell(self, identity: Identity) -> Path:
        """Folder of one identity: the shards of an embedding while it is made, its files afterwards."""
        return self.folder / identity.key[:2] / identity.key

    def get(self, identity: Identity, key: str | None = None) -> Embedding | None:
        """Read an embedding; None if there is none, its inputs have changed, or it is damaged.

        With `key`, only the one of that key (`Entry.key`) is read: what a record states, say.
        """
        for entry in self._entries(identity):
            if key is not None and entry.key != key:
                continue
            embedding = _read(entry.path, identity)
            if embedding is not None:
                return replace(embedding, key=entry.key)
        return None

    def find(self, identity: Identity) -> Entry | None:
        """Entry that `get` reads, by the header of its file alone."""
        return next(self._entries(identity), None)

    def shipped_identity(self, dataset: str, target: str) -> Identity | None:
        """Identity of the embedding shipped for a cell, whatever the target's code is by now; None without one."""
        entry = None if self.shipped is None else _entry(shipped_path(self.shipped, dataset, target))
        return None if entry is None else entry.identity

    def contains(self, identity: Identity) -> bool:
        """Whether there is an embedding of this identity, by the header of its file; the rows are not read."""
        return self.find(identity) is not None

    def stale(self, identity: Identity) -> list[tuple[Entry, list[str]]]:
        """Own entries of an identity, newest first, each with what has changed since; an empty list: it is valid."""
        return [(entry, list(self._changes(entry, identity))) for entry in self._own(identity)]

    def put(self, identity: Identity, embedding: Embedding, inputs: Inputs | None = None) -> Path:
        """Write an embedding with what it was made from, and remove the shards it was made of."""
        folder = self.cell(identity)
        path = folder / (
            f"embedding-{inputs.digest[:16]}.safetensors" if inputs is not None else "embedding.safetensors"
        )
        write_embedding(path, identity, embedding, inputs)
        if inputs is not None and identity.origin is not None:
            _write_stamps(path, stamps_of(inputs, identity.origin))
        for shard in folder.glob("shard-*.safetensors"):
            shard.unlink()
        (folder / "read.json").unlink(missing_ok=True)
        return path

    def _entries(self, identity: Identity) -> Iterator[Entry]:
        """Entries whose inputs are unchanged: the shipped one, then one's own, newest first."""
        if self.shipped is not None:
            path = shipped_path(self.shipped, identity.dataset, identity.target)
            entry = _entry(path)
            if entry is not None and entry.identity == identity:
                yield entry
        for entry in self._own(identity):
            if next(self._changes(entry, identity), None) is None:
                yield entry

    def _own(self, identity: Identity) -> Iterator[Entry]:
        for path in sorted(self.cell(identity).glob("embedding*.safetensors"), key=_age):
            entry = _entry(path)
            if entry is not None and entry.identity == identity:
                yield entry

    def _changes(self, entry: Entry, identity: Identity) -> Iterator[str]:
        origin = identity.origin
        if origin is None:  # read from a file: there is nothing to compare with
            return
        if entry.inputs is None:
            if not origin.of_suite:
                yield "it was stored by a version of the suite that did not note what the target read"
            return
        stamps = _read_stamps(entry.path)
        before = dict(stamps)
        yield from changes(entry.inputs, origin, stamps)
        if stamps != before:
            _write_stamps(entry.path, stamps)


def shipped_with(board: str) -> Path:
    """Folder of the reference embeddings of a board.

    Parameters
    ----------
    board
        Version, such as ``v1``.

    Returns
    -------
    Path
        ``leaderboard/<board>/references`` of the suite's own repository, where it is there; else what the package
        ships. The folder of a board that was passed to a command does not count: whoever forges a board would bring the
        references along.
    """
    own = BOARDS / board / "references"
    return own if own.is_dir() else SHIPPED


def shipped_path(folder: Path, dataset: str, target: str) -> Path:
    """Where a shipped embedding lies."""
    return folder / dataset / f"{file_stem(target)}.safetensors.gz"


def write_embedding(
    path: Path, identity: Identity, embedding: Embedding, inputs: Inputs | None = None, *, half: bool = False
) -> None:
    """Write an embedding as one safetensors file with ids, provenance and checksum in its header.

    The same embedding makes the same file, byte for byte.

    A name that ends in ``.gz`` makes it a compressed file (the shipped ones: columns that never vary cost nothing);
    `half` keeps standardized columns at half precision (:mod:`.half`).
    """
    tensors: dict[str, NDArray[Any]] = {"features": np.ascontiguousarray(embedding.features)}
    if half:
        tensors = to_half(embedding.features)
    if np.isfinite(embedding.energies).any():
        tensors["energies"] = embedding.energies
    if embedding.truncated.any():
        tensors["truncated"] = embedding.truncated
    metadata = {
        "format": str(FORMAT),
        "key": identity.key,
        "identity": json.dumps(identity.__dict__),
        "ids": json.dumps(embedding.ids),
        "reasons": json.dumps(embedding.reasons),
        "provenance": json.dumps(embedding.provenance),
        **({} if inputs is None else {"inputs": inputs.to_json()}),
    }
    content = tensors_to_bytes(tensors, metadata)
    # No time stamp: the same embedding makes the same file.
    write_atomically(path, gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)


def _entry(path: Path) -> Entry | None:
    """Entry of an embedding's file; None where there is none."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > 2**27:  # no header: a damaged file
                return None
            metadata = json.loads(file.read(length))["__metadata__"]
        identity = Identity(**json.loads(metadata["identity"]))
        inputs = Inputs.from_json(metadata["inputs"]) if "inputs" in metadata else None
        return Entry(path, identity, inputs) if metadata["key"] == identity.key else None
    except (OSError, EOFError, ValueError, zlib.error, *_HEADER_ERRORS):
        return None


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0


def _read_stamps(path: Path) -> dict[str, list[int]]:
    """Stamps of the inputs of an embedding's file, which lie beside it; none where they can't be read."""
    try:
        content = unsealed(path.with_suffix(".stamps.json").read_text("utf-8"))
        return dict(content["stamps"]) if content["of"] == path.name else {}
    except (OSError, ValueError, *_HEADER_ERRORS):
        return {}


def _write_stamps(path: Path, stamps: dict[str, list[int]]) -> None:
    with contextlib.suppress(OSError):  # a cache that can't be written to: contents are compared again next time
        write_atomically(path.with_suffix(".stamps.json"), sealed({"of": path.name, "stamps": stamps}))


def _read(path: Path, identity: Identity) -> Embedding | None:
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return parse_embedding(content, identity)[1]
    except (OSError, EOFError, ValueError, zlib.error):
        return None  # cut off, damaged, or another embedding


def parse_embedding(content: bytes, identity: Identity | None = None) -> tuple[Identity, Embedding]:
    """Read what `write_embedding` wrote; no code in it is run.

    Parameters
    ----------
    content
        The safetensors file.
    identity
        Which embedding it has to be; the tensors of another are not read.

    Raises
    ------
    ValueError
        It is damaged, no such file, or of another identity.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        stored_identity = Identity(**json.loads(metadata["identity"]))
        if metadata["key"] != stored_identity.key or (identity is not None and stored_identity != identity):
            raise ValueError("the file is of another identity than asked for, or than its key")
        tensors = load(content)
        covered = {} if metadata["format"] == "1" else metadata  # format 1: the tensors alone
        if metadata["checksum"] != checksum(tensors, covered):
            raise ValueError("tensors or header are not those of the checksum")
        return stored_identity, _embedding(tensors, metadata)
    except (SafetensorError, json.JSONDecodeError, UnicodeError, *_HEADER_ERRORS) as error:
        raise ValueError(f"not an embedding as this suite writes it ({type(error).__name__}: {error})") from error


def _embedding(tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> Embedding:
    provenance, features = json.loads(metadata["provenance"]), tensors["features"]
    if DEVIATION in tensors:
        provenance, features = provenance | {"precision": HALF}, from_half(tensors)
    return Embedding(
        features=features,
        energies=tensors.get("energies", np.full(len(features), np.nan)),
        ids=json.loads(metadata["ids"]),
        reasons={int(i): reason for i, reason in json.loads(metadata["reasons"]).items()},
        provenance=provenance,
        truncated=tensors.get("truncated", np.zeros(0, np.float32)),
    )


__getattr__ = moved_names(
    __name__,
    {"identify": "embedding.identity"} | dict.fromkeys(("TARGETS", "code_digest", "source_files"), "embedding.code"),
)
