"""Tensors as the bytes of a safetensors file: the same content gives the same bytes."""

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
    call.
    """
    from safetensors.numpy import save

    content = save(dict(tensors), metadata=dict(metadata))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header = {"__metadata__": dict(sorted(metadata.items()))} | {
        name: entry for name, entry in sorted(header.items()) if name != "__metadata__"
    }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", errors="replace")
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]))


def checksum(tensors: dict[str, NDArray[Any]], metadata: dict[str, str] | None) -> str:
    """SHA-256 of tensors and of the header's other fields (of the tensors alone in format 1): against damage."""
    digest = hashlib.sha256()
    for name, text in sorted((metadata or {}).items()):
        if name != "checksum":
            digest.update(f"{name}\0{text}\0".encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype.str}{tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
