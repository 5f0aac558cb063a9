"""The embedding store: every embedding under a key made of all that determines it.

Two places are read, in this order: the cache folder, and the reference embeddings shipped with the package,
which count as cells already done. Files are written whole or not at all, and a checksum is verified whenever
one is read; a damaged file is as good as none.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience._moved import moved_names
from consilience.cache import cache_dir
from consilience.files import write_atomically

from .identity import Identity
from .tensors import tensors_to_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray


SHIPPED = Path(__file__).resolve().parents[1] / "data" / "embeddings"
FORMAT = 1
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


class Store:
    """Embeddings by key, in a folder and among the files shipped with the package.

    Parameters
    ----------
    folder
        Where embeddings are kept; the suite's cache folder by default.
    shipped
        Folder of reference embeddings, or None to ignore them (``--align-fresh``).
    """

    def __init__(self, folder: Path | None = None, shipped: Path | None = SHIPPED) -> None:
        self.folder = folder or cache_dir() / "embeddings"
        self.shipped = shipped

    def cell(self, identity: Identity) -> Path:
        """Folder of one embedding: its shards while it is being made, its file afterwards."""
        return self.folder / identity.key[:2] / identity.key

    def get(self, identity: Identity) -> Embedding | None:
        """Read an embedding; None if there is none or it is damaged."""
        own = self.cell(identity) / "embedding.safetensors"
        embedding = _read(own, identity)
        if embedding is None and self.shipped is not None:
            embedding = _read(shipped_path(self.shipped, identity.dataset, identity.target), identity)
        return embedding

    def contains(self, identity: Identity) -> bool:
        """Whether there is an embedding of this identity, by the header of its file; the rows are not read."""
        own = self.cell(identity) / "embedding.safetensors"
        paths = [
            own,
            *([] if self.shipped is None else [shipped_path(self.shipped, identity.dataset, identity.target)]),
        ]
        return any(_key_of(path) == identity.key for path in paths)

    def put(self, identity: Identity, embedding: Embedding) -> Path:
        """Write an embedding and remove the shards it was made from."""
        folder = self.cell(identity)
        path = folder / "embedding.safetensors"
        write_embedding(path, identity, embedding)
        for shard in folder.glob("shard-*.safetensors"):
            shard.unlink()
        return path


def shipped_path(folder: Path, dataset: str, target: str) -> Path:
    """Where a shipped embedding lies."""
    return folder / dataset / f"{target}.safetensors.gz"


def write_embedding(path: Path, identity: Identity, embedding: Embedding) -> None:
    """Write an embedding as one safetensors file with ids, provenance and checksum in its header.

    A name that ends in ``.gz`` makes it a compressed file (the shipped ones: columns that never vary cost nothing).
    """
    tensors: dict[str, NDArray[Any]] = {"features": np.ascontiguousarray(embedding.features)}
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
        "checksum": _checksum(tensors),
    }
    content = tensors_to_bytes(tensors, metadata)
    # No time stamp: the same embedding makes the same file.
    write_atomically(path, gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)


def _key_of(path: Path) -> str | None:
    """Key in the header of an embedding's file; None where there is none."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > 2**27:  # no header: a damaged file
                return None
            key = json.loads(file.read(length))["__metadata__"]["key"]
            return key if isinstance(key, str) else None
    except (OSError, EOFError, ValueError, zlib.error, *_HEADER_ERRORS):
        return None


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
        if metadata["checksum"] != _checksum(tensors):
            raise ValueError("the tensors are not those of the checksum in the header")
        return stored_identity, _embedding(tensors, metadata)
    except (SafetensorError, json.JSONDecodeError, UnicodeError, *_HEADER_ERRORS) as error:
        raise ValueError(f"not an embedding as this suite writes it ({type(error).__name__}: {error})") from error


def _embedding(tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> Embedding:
    features = tensors["features"]
    return Embedding(
        features=features,
        energies=tensors.get("energies", np.full(len(features), np.nan)),
        ids=json.loads(metadata["ids"]),
        reasons={int(i): reason for i, reason in json.loads(metadata["reasons"]).items()},
        provenance=json.loads(metadata["provenance"]),
        truncated=tensors.get("truncated", np.zeros(0, np.float32)),
    )


def _checksum(tensors: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype.str}{tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


__getattr__ = moved_names(
    __name__, dict.fromkeys(("TARGETS", "code_digest", "identify", "source_files"), "embedding.identity")
)
