"""Batches of tokens: pooled over an item's own, whatever else is in the batch; what is cut is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from consilience.targets._tokens import Tokens, cut_to, embed_tokens

TABLE = torch.randn(128, 5, generator=torch.Generator().manual_seed(0))
PAD, START, END = 0, 1, 2


def tokenize(text: str) -> Tokens:
    if "!" in text:
        raise ValueError("no such token")
    return Tokens([START, *map(ord, text), END], [False, *[True] * len(text), False])


def forward(ids: Any, mask: Any) -> Any:
    states = TABLE[ids].clone()
    states[~mask] = torch.nan  # what a network leaves at padded places is nobody's business
    return states


def test_rows_are_means_over_own_tokens_in_any_batch() -> None:
    texts = ["abc", "a", "hello world", "zz"]
    embed = embed_tokens(tokenize, forward, 5, pad=PAD, max_tokens=16)
    found = embed(texts)
    expected = [TABLE[[ord(c) for c in text]].double().mean(0).numpy() for text in texts]
    np.testing.assert_allclose(found.features, np.array(expected), rtol=1e-6)
    assert found.reasons == [None] * 4
    assert np.asarray(found.truncated).tolist() == [0, 0, 0, 0]


def test_an_item_that_fails_costs_its_own_row() -> None:
    found = embed_tokens(tokenize, forward, 5, pad=PAD)(["ab", "a!", "", "c"])
    assert found.reasons is not None
    assert found.reasons[0] is None
    assert found.reasons[1] == "ValueError: no such token"
    assert found.reasons[2] == "ValueError: no token of the item's own"
    assert np.isnan(np.asarray(found.features)[[1, 2]]).all()
    assert np.isfinite(np.asarray(found.features)[[0, 3]]).all()


def test_what_is_too_long_is_cut_at_its_end_and_said() -> None:
    found = embed_tokens(tokenize, forward, 5, pad=PAD, longest=6)(["abcdefgh", "abcd"])
    np.testing.assert_allclose(np.asarray(found.features)[0], np.asarray(found.features)[1], rtol=1e-6)
    assert np.asarray(found.truncated).tolist() == [0.5, 0]


def test_special_tokens_stay_when_an_item_is_cut() -> None:
    cut = cut_to(tokenize("abcd"), 4)
    assert cut.ids == [START, ord("a"), ord("b"), END]
    assert cut.own == [False, True, True, False]
    assert cut.truncated == 0.5
    assert cut_to(cut, 4) is cut
    with pytest.raises(ValueError, match="6 tokens, of which the model reads 2: none of the item is left"):
        cut_to(tokenize("abcd"), 2)
