"""Interface between the suite and a target's `load`: weights and embeddings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray


class Embedded(NamedTuple):
    """What `embed` returns for a batch of items."""

    features: ArrayLike
    """(n, d) floats; a row of NaN marks an item that could not be embedded."""
    energies: ArrayLike | None = None
    """(n,) total energies in eV, or None."""
    reasons: Sequence[str | None] | None = None
    """Why an item could not be embedded, None where it could."""
    truncated: ArrayLike | None = None
    """(n,) share (0 to 1) of each item that the model did not read because it is too long; None where it read all."""


class WeightsError(RuntimeError):
    """The weights differ from the declared ones."""


@dataclass
class Weights:
    """Which weights a target has to load.

    Attributes
    ----------
    kind
        ``"published"`` the checkpoint of the card, ``"random"`` the untrained twin, ``"file"`` a user's file.
    path
        The user's file (a folder, for formats that are one), for ``kind="file"``.
    seed
        Seed of the random initialisation, for ``kind="random"``.
    trusted
        The user's explicit word that unpickling `path` is wanted.
    """

    kind: Literal["published", "random", "file"] = "published"
    path: Path | None = None
    seed: int = 0
    trusted: bool = False
    expected_sha256: str | None = None
    used: list[Path] = field(default_factory=list)

    @property
    def random(self) -> bool:
        """Whether the architecture is wanted with random weights."""
        return self.kind == "random"

    def published(self, path: str | Path | Callable[[], str | Path]) -> Path:
        """Check a published weight file against the card and note that it was used.

        Parameters
        ----------
        path
            The file (or folder) inside the model's package, or a function that downloads it and returns its path.

        Returns
        -------
        Path
            `path`, once its SHA-256 agrees with the card's `weights_sha256`.

        Raises
        ------
        WeightsError
            The download failed, the file is missing or its SHA-256 is another.
        """
        if callable(path):
            try:
                path = path()
            except Exception as error:  # whatever the package's downloader raises without a network or a permission
                text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                raise WeightsError(f"the published weights could not be fetched: {text}") from error
        path = Path(path)
        if not path.exists():
            raise WeightsError(f"the published weights are not at {path}")
        digest = sha256_of(path)
        if self.expected_sha256 is not None and digest != self.expected_sha256:
            raise WeightsError(f"{path.name}: sha256 is {digest}, the card says {self.expected_sha256}")
        self.used.append(path)
        return path

    def file_or_published(self, path: str | Path | Callable[[], str | Path]) -> Path:
        """Return the user's file where there is one, else the published file at `path`, checked."""
        if self.kind == "file" and self.path is not None:
            self.used.append(self.path)
            return self.path
        return self.published(path)

    def sha256(self) -> str | None:
        """SHA-256 of the weight file used (of the digests of all, where there are several)."""
        digests = [sha256_of(path) for path in self.used]
        if len(digests) <= 1:
            return digests[0] if digests else None
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes; of a folder, over the names and digests of the files in it."""
    path = Path(path)
    if not path.is_dir():
        return sha256_of_file(path)
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


def as_features(values: ArrayLike) -> NDArray[np.float32]:
    """Float32 matrix of what `embed` returned, from torch tensors too."""
    detach = getattr(values, "detach", None)
    if detach is not None:
        values = detach().cpu().numpy()
    return np.ascontiguousarray(values, dtype=np.float32)


def as_energies(values: Any) -> NDArray[np.float64]:
    """Float64 vector of energies, from torch tensors too."""
    detach = getattr(values, "detach", None)
    return np.asarray(values if detach is None else detach().cpu().numpy(), dtype=np.float64)
