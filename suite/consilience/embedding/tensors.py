"""Tensors as the bytes of a safetensors file with a checksum: the same content gives the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tensors_to_bytes(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Write tensors and metadata as safetensors, with the keys of the metadata in order.

    The library keeps them in a hash table: their order, and with it the SHA-256 of the file, differs from call to
    call. The metadata get a ``checksum`` over all else: it shows damage, and proves nothing about who wrote the file.
    """
    from safetensors.numpy import save

    metadata = {**metadata, "checksum": checksum(tensors, metadata)}
    content = save(dict(tensors), metadata=metadata)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header = {"__metadata__": dict(sorted(metadata.items()))} | {
        name: entry for name, entry in sorted(header.items()) if name != "__metadata__"
    }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", errors="replace")
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]))


def bytes_to_tensors(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read tensors and metadata of what :func:`tensors_to_bytes` wrote.

    Raises
    ------
    ValueError
        It is damaged, or no such file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        tensors = load(content)
    except (SafetensorError, json.JSONDecodeError, UnicodeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a file of tensors ({type(error).__name__}: {error})") from error
    if not isinstance(metadata, dict) or metadata.get("checksum") != checksum(tensors, metadata):
        raise ValueError("tensors or header are not those of the checksum")
    return tensors, metadata


def checksum(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """SHA-256 over metadata, but for a checksum among them, and tensors."""
    digest = hashlib.sha256()
    for name, text in sorted(metadata.items()):
        if name != "checksum":
            digest.update(f"{name}\0{text}\0".encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype.str}{tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
