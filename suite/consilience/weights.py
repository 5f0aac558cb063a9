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


#: Kinds of numpy's types by what people call them.
_KINDS = {
    "b": "truth values",
    "c": "complex numbers",
    "m": "time differences",
    "M": "dates",
    "O": "Python objects",
    "S": "bytes",
    "T": "text",
    "U": "text",
    "V": "records (a structured type)",
}


class Embedded(NamedTuple):
    """What `embed` returns for a batch of items."""

    features: ArrayLike
    """(n, d) real numbers, copied before the next batch; a row of NaN marks an item that could not be embedded."""
    energies: ArrayLike | None = None
    """(n,) total energies in eV, NaN where there is none; or None."""
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
    twin
        Number of the untrained twin, from which its seed is drawn; 0 for the first.
    trusted
        The user's explicit word that unpickling `path` is wanted.
    """

    kind: Literal["published", "random", "file"] = "published"
    path: Path | None = None
    seed: int = 0
    trusted: bool = False
    expected_sha256: str | None = None
    used: list[Path] = field(default_factory=list)
    twin: int = 0

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
    """Float32 matrix of what `embed` returned, from torch tensors too; raises `ValueError` for what is not real."""
    return np.ascontiguousarray(real_numbers(values, "features", truth_values=True), dtype=np.float32)


def as_energies(values: Any) -> NDArray[np.float64]:
    """Float64 vector of energies, from torch tensors too; raises `ValueError` for what is not real."""
    return np.asarray(real_numbers(values, "energies"), dtype=np.float64)


def real_numbers(values: Any, name: str, *, truth_values: bool = False) -> NDArray[Any]:
    """Array of real numbers, of torch tensors too; it may share memory with what is handed in.

    Parameters
    ----------
    values
        Floats of any width, or integers.
    name
        What messages call them.
    truth_values
        Whether Booleans count as numbers.

    Raises
    ------
    ValueError
        They are complex, masked, dates, text or objects, or no array at all.
    """
    array = _array(values, name)
    kind = array.dtype.kind
    if kind in "fiu" or (kind == "b" and truth_values):
        return array
    if kind == "V" and array.dtype.names is None and "float" in array.dtype.name:  # bfloat16 and float8 of ml_dtypes
        return array.astype(np.float32)
    if kind == "c":
        raise ValueError(
            f"{name}: complex numbers ({array.dtype}), expected real ones: real and imaginary parts are two columns"
        )
    what = _KINDS.get(kind, str(array.dtype))
    if kind == "O" and array.size:
        others = (one for one in array.flat if not isinstance(one, int | float))
        what += f" (such as {type(next(others, array.flat[0])).__name__})"
    raise ValueError(f"{name}: {what} ({array.dtype}), expected real numbers")


def _array(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name}: a masked array; set what is masked to NaN, with a reason")
    if hasattr(values, "detach"):
        return _of_torch(values, name)
    if isinstance(values, list | tuple):
        values = [_array(one, name) if _is_array(one) or isinstance(one, list | tuple) else one for one in values]
        for one in values:
            if isinstance(one, np.ndarray) and one.dtype.kind == "V" and "float" in one.dtype.name:
                values = [np.asarray(part, np.float32) for part in values]
                break
    try:
        return np.asarray(values)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{name}: {kind_of(values)}, which is no array: {str(error)[:200]}") from error


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ma.MaskedArray) or hasattr(value, "detach")


def _of_torch(tensor: Any, name: str) -> NDArray[Any]:
    """Array of a tensor, from any device; bfloat16 and the like become float32, which numpy has."""
    if getattr(tensor, "is_quantized", False) or str(getattr(tensor, "layout", "torch.strided")) != "torch.strided":
        raise ValueError(f"{name}: a sparse or quantized tensor; make it dense")
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) in ("torch.bfloat16",) or "float8" in str(tensor.dtype):
        tensor = tensor.float()
    return np.asarray(
        tensor.resolve_conj().resolve_neg().numpy() if hasattr(tensor, "resolve_conj") else tensor.numpy()
    )


def kind_of(values: Any) -> str:
    """Type of the numbers that were returned, for people."""
    dtype = getattr(values, "dtype", None)
    return (
        f"{type(values).__name__} of {str(dtype).removeprefix('torch.')}"
        if dtype is not None
        else type(values).__name__
    )
