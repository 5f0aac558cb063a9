"""The engine of a device, by its name."""

from __future__ import annotations

from typing import Any

from .engine import PROCESSOR, Engine


def engine_for(device: Any) -> Engine:
    """Return what works on a torch device, given as its name or as a ``torch.device``.

    Raises
    ------
    ValueError
        There is no such device, it cannot be used here, or it has no float64.
    """
    import torch

    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device: expected 'cpu', 'cuda', 'cuda:1' or the like, found {device!r}") from None
    if chosen.type == "cpu":
        return PROCESSOR
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: found {str(chosen)!r}, but torch.cuda.is_available() is False")
    try:
        float(torch.zeros(1, dtype=torch.float64, device=chosen))
    except (RuntimeError, TypeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device: found {str(chosen)!r}, which cannot hold float64 here: {reason}") from None
    from .device import OnDevice  # imports torch

    return OnDevice(chosen)
