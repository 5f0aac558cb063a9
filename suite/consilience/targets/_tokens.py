"""What models of strings, sequences and text share: padded batches of tokens, pooled over the item's own tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from consilience.targets._batch import embed_by_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consilience.weights import Embedded

#: Tokens of one padded batch, padding included; a longer item makes a batch of its own.
TOKENS_PER_BATCH = 8192


class Tokens(NamedTuple):
    """An item as a model of tokens reads it."""

    ids: list[int]
    """Numbers of the tokens, special ones included."""
    own: list[bool]
    """Which tokens stand for the item itself and are pooled: no special token, no prompt."""
    truncated: float = 0.0
    """Share of the item's own tokens that was cut off."""


def cut_to(tokens: Tokens, longest: int) -> Tokens:
    """Cut the item's last own tokens off until the model can read it; special tokens stay.

    Raises
    ------
    ValueError
        Not one of the item's own tokens would be left.
    """
    excess = len(tokens.ids) - longest
    if excess <= 0:
        return tokens
    places = [i for i, own in enumerate(tokens.own) if own]
    if excess >= len(places):
        raise ValueError(f"{len(tokens.ids)} tokens, of which the model reads {longest}: none of the item is left")
    gone = set(places[-excess:])
    left = [i for i in range(len(tokens.ids)) if i not in gone]
    return Tokens([tokens.ids[i] for i in left], [tokens.own[i] for i in left], excess / len(places))


def embed_tokens(
    tokenize: Callable[[Any], Tokens],
    forward: Callable[[Any, Any], Any],
    dimension: int,
    *,
    pad: int,
    device: str = "cpu",
    longest: int | None = None,
    save: Callable[[Path], object] | None = None,
    max_tokens: int = TOKENS_PER_BATCH,
) -> Callable[[list[Any]], Embedded]:
    """Make `embed` of a tokenizer and a network: mean over the item's own tokens, in double precision.

    Items are sorted by length within a batch, so that little is padded; an item that fails costs its own row.

    Parameters
    ----------
    tokenize
        Turns an item into tokens; what it raises becomes the item's reason.
    forward
        Turns (b, l) token numbers and a (b, l) mask (True where a token is no padding) into (b, l, d) states.
    dimension
        Columns of the states.
    pad
        Number of the padding token. Padding goes to the right.
    device
        Torch device of the network.
    longest
        Tokens that the model reads, special ones included; longer items are cut, and say so.
    save
        Writes the model as the file or folder that the target reads as a user's checkpoint.
    max_tokens
        Tokens of one padded batch.
    """
    import torch

    def prepare(item: Any) -> Tokens:
        tokens = tokenize(item)
        if not any(tokens.own):
            raise ValueError("no token of the item's own")
        return tokens if longest is None else cut_to(tokens, longest)

    @torch.inference_mode()
    def pooled(batch: list[Tokens]) -> Any:
        lengths = torch.tensor([len(tokens.ids) for tokens in batch])
        ids = torch.full((len(batch), int(lengths.max())), pad)
        own = torch.zeros(ids.shape, dtype=torch.bool)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens.ids)] = torch.tensor(tokens.ids)
            own[row, : len(tokens.ids)] = torch.tensor(tokens.own)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        states = forward(ids.to(device), mask.to(device)).double().cpu()
        states = states.masked_fill(~own[:, :, None], 0)  # a padded place may hold anything, NaN too
        return states.sum(1) / own.sum(1, keepdim=True)

    def run(batch: list[Tokens]) -> tuple[Any, None]:
        rows = np.empty((len(batch), dimension))
        order = sorted(range(len(batch)), key=lambda i: len(batch[i].ids))
        while order:
            most = len(batch[order[-1]].ids)  # the longest first, so that memory runs out at once or never
            group = order[-max(1, max_tokens // most) :]
            del order[-len(group) :]
            rows[group] = pooled([batch[i] for i in group]).numpy()
        return rows, None

    return embed_by_batch(
        prepare, run, dimension, save=save, size=lambda _: 1, truncated=lambda tokens: float(tokens.truncated)
    )
