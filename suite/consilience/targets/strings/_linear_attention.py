"""The network of MoLFormer and SMI-TED: linear attention with random features and rotary positions.

After Ross et al. 2022 (doi:10.1038/s42256-022-00580-7); attention after Katharopoulos et al. 2020
(doi:10.48550/arXiv.2006.16236), its features after Choromanski et al. 2021 (doi:10.48550/arXiv.2009.14794), positions
after Su et al. 2021 (doi:10.48550/arXiv.2104.09864). Weights go by the names of the hub's MoLFormer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from consilience.targets._tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Tokens of a SMILES (Schwaller et al. 2019, doi:10.1021/acscentsci.9b00576).
TOKEN = re.compile(r"\[[^\]]+\]|Br?|Cl?|[NOSPFIbcnosp().=#\-+\\/:~@?>*$]|%[0-9]{2}|[0-9]")
#: A vocabulary for untrained twins: marks, then the symbols of common molecules.
VOCABULARY = (
    *("<bos>", "<eos>", "<pad>", "<mask>", "<unk>"),
    *TOKEN.findall(r"BCNOSPFIbcnospClBr().=#-+\/:0123456789[H][nH][N+][O-][C@H][C@@H][C@][C@@]"),
    *TOKEN.findall("[NH+][NH2+][NH3+][n+][N-][S+][Si][Se][se][Na+][Cl-]"),
)


class Sizes(NamedTuple):
    """What the shapes of the weights follow from."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    features: int
    longest: int
    norm_eps: float
    attention_eps: float


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Shape of every weight, by name."""
    width, inner = sizes.width, sizes.feed_forward
    found: dict[str, tuple[int, ...]] = {"embeddings.word_embeddings.weight": (sizes.vocabulary, width)}
    norms = ["LayerNorm"]
    for layer in map(_layer, range(sizes.layers)):
        for name, out, into in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            found |= {f"{layer}{name}.weight": (out, into), f"{layer}{name}.bias": (out,)}
        found[f"{layer}attention.self.feature_map.weight"] = (width // sizes.heads, sizes.features)
        norms += [f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"]
    return found | {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}


def random_weights(sizes: Sizes, seed: int) -> dict[str, Any]:
    """Draw weights as training starts with; random features are orthogonal directions with Gaussian lengths."""
    import torch

    torch.manual_seed(seed)
    state = {}
    for name, shape in shapes(sizes).items():
        if name.endswith("LayerNorm.weight"):
            state[name] = torch.ones(shape)
        elif name.endswith("bias"):
            state[name] = torch.zeros(shape)
        elif "feature_map" in name:
            state[name] = torch.nn.init.orthogonal_(torch.empty(shape)) * torch.randn(shape).norm(dim=0)
        elif name.startswith("embeddings"):
            state[name] = torch.randn(shape)
        else:
            state[name] = torch.nn.init.xavier_uniform_(torch.empty(shape))
    return state


def run(state: Mapping[str, Any], sizes: Sizes, ids: Any, mask: Any) -> Any:
    """Hidden states after the last norm.

    Parameters
    ----------
    state
        Weights.
    sizes
        Sizes of the network.
    ids
        (b, l) numbers of tokens.
    mask
        (b, l), True where a token is no padding.
    """
    import torch.nn.functional as f

    def dense(name: str, x: Any) -> Any:
        return f.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Any) -> Any:
        return f.layer_norm(x, (sizes.width,), state[f"{name}.weight"], state[f"{name}.bias"], sizes.norm_eps)

    def by_head(x: Any) -> Any:
        return x.unflatten(-1, (sizes.heads, -1)).transpose(1, 2)

    x = state["embeddings.word_embeddings.weight"][ids]
    turn = _rotation(ids.shape[1], sizes.width // sizes.heads, x.device)
    for layer in map(_layer, range(sizes.layers)):
        query, key, value = (by_head(dense(f"{layer}attention.self.{part}", x)) for part in ("query", "key", "value"))
        features = state[f"{layer}attention.self.feature_map.weight"]
        query, key = (f.relu(turn(part) @ features) for part in (query, key))
        key = key * mask[:, None, :, None]
        weight = (query @ key.sum(-2)[..., None]).clamp(min=sizes.attention_eps)
        found = query @ (key.transpose(-1, -2) @ value) / weight
        found = dense(f"{layer}attention.output.dense", found.transpose(1, 2).flatten(-2))
        x = norm(f"{layer}attention.output.LayerNorm", x + found)
        found = dense(f"{layer}output.dense", f.gelu(dense(f"{layer}intermediate.dense", x)))
        x = norm(f"{layer}output.LayerNorm", x + found)
    return norm("LayerNorm", x)


def tokenizer(vocabulary: Mapping[str, int]) -> Callable[[str], Tokens]:
    """Tokenizer of SMILES; <bos> goes before the string and <eos> behind it.

    Bracket atoms outside the vocabulary become the unknown token (padding, where a vocabulary has none);
    characters that are no token are refused (the published tokenizers pass over them).
    """

    def tokenize(smiles: str) -> Tokens:
        rest = TOKEN.sub("", smiles)
        if rest:
            raise ValueError(f"characters that no token has: {rest[:20]}")
        unknown = vocabulary.get("<unk>", vocabulary["<pad>"])
        ids = [vocabulary.get(token, unknown) for token in TOKEN.findall(smiles)]
        return Tokens([vocabulary["<bos>"], *ids, vocabulary["<eos>"]], [False, *[True] * len(ids), False])

    return tokenize


def _layer(number: int) -> str:
    return f"encoder.layer.{number}."


def _rotation(length: int, width: int, device: Any) -> Callable[[Any], Any]:
    """Turn (b, h, l, width) by an angle that grows with the place; component i goes with i + width / 2."""
    import torch

    frequencies = 10000 ** -(torch.arange(0, width, 2, device=device) / width)
    angles = torch.outer(torch.arange(length, device=device), frequencies).repeat(1, 2)
    cosine, sine = angles.cos(), angles.sin()

    def turn(x: Any) -> Any:
        first, second = x.chunk(2, -1)
        return x * cosine + torch.cat([-second, first], -1) * sine

    return turn
