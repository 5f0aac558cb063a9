# /// script
# requires-python = ">=3.11"
# dependencies = ["huggingface-hub==2.4.0", "rdkit==2026.9.1", "torch==2.13.0"]
# ///
"""SMI-TED: an auto-encoder of SMILES (Soares et al. 2024, doi:10.48550/arXiv.2407.20267).

Its own code needs a package that is compiled for eight minutes. The Transformer is MoLFormer's, written out in
``_linear_attention.py``; the vector is that of the auto-encoder behind it, as its authors advise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ALLOW, embed_by_batch
from consilience.targets._shapes import check_shapes
from consilience.targets._tokens import Tokens, cut_to
from consilience.targets.strings._linear_attention import (
    VOCABULARY,
    Sizes,
    random_weights,
    run,
    shapes,
    tokenizer,
)

REPOSITORY = "ibm-research/materials.smi-ted"
CHECKPOINT, TOKENS = "smi-ted-Light_40.pt", "bert_vocab_curated.txt"
WIDTH = 768
#: Settings as the checkpoint names them; the untrained twin's.
TWIN = {"n_embd": WIDTH, "n_layer": 2, "n_head": 12, "num_feats": 32, "max_len": 48}
#: The Transformer's weights: MoLFormer's names on the hub, and what the checkpoint has instead, in this order.
NAMES = (
    ("embeddings.word_embeddings", "tok_emb"),
    ("encoder.layer.", "blocks.layers."),
    ("attention.self.feature_map.weight", "attention.inner_attention.feature_map.omega"),
    ("attention.self.query", "attention.query_projection"),
    ("attention.self.key", "attention.key_projection"),
    ("attention.self.value", "attention.value_projection"),
    ("attention.output.dense", "attention.out_projection"),
    ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "linear1"),
    ("output.dense", "linear2"),
    ("output.LayerNorm", "norm2"),
    ("LayerNorm", "blocks.norm"),
)
#: Prefix of the auto-encoder's half that is read here.
LATENT = "autoencoder.encoder."
#: What the checkpoint holds beyond it: heads, the other half, and positions' frequencies, which follow from sizes.
OTHER = ("lang_model.", "autoencoder.decoder.")


@target(
    Card(
        name="smi-ted-light",
        family="smi-ted",
        modality="string",
        title="SMI-TED Light 289M",
        revision=CHECKPOINT,
        parameters=289_842_433,
        dimension=WIDTH,
        layer="latent vector of the auto-encoder behind the last of 12 layers",
        pooling="learned: a linear map of all tokens' states in their places",
        trained_on=("PubChem",),
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        reference="10.48550/arXiv.2407.20267",
        source=f"https://huggingface.co/{REPOSITORY}",
        access="download",
        accepts=f"a folder with a checkpoint of SMI-TED ({CHECKPOINT}) and its vocabulary ({TOKENS})",
        reads=("folder", "Hugging Face folder"),
        untrained=True,
        twin=f"{TWIN['n_layer']} layers and {TWIN['max_len']} tokens instead of 12 and 202; few symbols",
        distinct=False,  # stereochemistry is taken off, as its authors do
        remark="Reads SMILES without stereochemistry. Strings of over 200 tokens are cut.",
        resources=Resources(batch_size=64, memory_gib=4),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Read the Transformer and the half of the auto-encoder that makes the vector."""
    import torch
    import torch.nn.functional as f
    from rdkit import Chem, RDLogger

    # Unreadable SMILES get a reason; they need no page of text.
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    if weights.random:
        settings, words = TWIN, [word for word in VOCABULARY if word != "<unk>"]
        sizes = _sizes(settings, len(words))
        state, latent = random_weights(sizes, weights.seed), _random_latent(sizes)
    else:
        folder = weights.file_or_published(_download)
        words = (folder / TOKENS).read_text("utf-8").split()
        checkpoint = _read(folder / CHECKPOINT, unpickle=weights.kind == "file" and weights.trusted)
        settings, (transformer, other) = checkpoint["hparams"], checkpoint["state_dict"]
        sizes = _sizes(settings, len(words))
        state = _renamed(transformer, sizes)
        latent = {name.removeprefix(LATENT): tensor for name, tensor in other.items() if not name.startswith(OTHER)}
    check_shapes(state, shapes(sizes))
    check_shapes(latent, _latent_shapes(sizes))
    state = {name: tensor.to(device).float() for name, tensor in state.items()}
    latent = {name: tensor.to(device).float() for name, tensor in latent.items()}
    number = {word: i for i, word in enumerate(words)}
    tokenize = tokenizer(number)

    def prepare(smiles: str) -> Tokens:
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            raise ValueError("RDKit reads no molecule from the SMILES")
        return cut_to(tokenize(Chem.MolToSmiles(molecule, isomericSmiles=False)), sizes.longest)

    @torch.inference_mode()
    def forward(batch: list[Tokens]) -> tuple[Any, None]:
        lengths = torch.tensor([len(tokens.ids) for tokens in batch])
        ids = torch.full((len(batch), int(lengths.max())), number["<pad>"])
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens.ids)] = torch.tensor(tokens.ids)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).to(device)
        states = run(state, sizes, ids.to(device), mask).masked_fill(~mask[:, :, None], 0).flatten(1)
        # Places behind the longest string hold zeros: their columns need not be multiplied.
        found = f.gelu(f.linear(states, latent["fc1.weight"][:, : states.shape[1]], latent["fc1.bias"]))
        found = f.layer_norm(found, (WIDTH,), latent["ln_f.weight"], latent["ln_f.bias"])
        return f.linear(found, latent["lat.weight"]), None

    def save(path: Path) -> None:
        path.mkdir()
        (path / TOKENS).write_text("\n".join(words) + "\n", "utf-8")
        halves = [{_original(name): tensor for name, tensor in state.items()}]
        halves.append({LATENT + name: tensor for name, tensor in latent.items()})
        torch.save({"hparams": dict(settings), "state_dict": halves}, path / CHECKPOINT)

    return embed_by_batch(prepare, forward, WIDTH, save=save, truncated=lambda tokens: float(tokens.truncated))


def _sizes(settings: dict[str, Any], words: int) -> Sizes:
    """Sizes that a checkpoint's settings stand for; PyTorch's and fast-transformers' epsilons."""
    width = settings["n_embd"]
    if width != WIDTH:
        raise ValueError(f"a network of {width} columns, expected {WIDTH}")
    return Sizes(
        words,
        width,
        settings["n_layer"],
        settings["n_head"],
        feed_forward=width,
        features=settings["num_feats"],
        longest=settings["max_len"],
        norm_eps=1e-5,
        attention_eps=1e-6,
    )


def _original(name: str) -> str:
    """Name of a weight in the checkpoint."""
    for ours, theirs in NAMES:
        name = name.replace(ours, theirs)
    return name


def _renamed(transformer: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    """Weights of the Transformer by MoLFormer's names; nobody's keep their own and are refused later."""
    ours = {_original(name): name for name in shapes(sizes)}
    kept = {name: tensor for name, tensor in transformer.items() if not name.startswith(OTHER)}
    return {ours.get(name, name): tensor for name, tensor in kept.items() if not name.endswith("inv_freq")}


def _latent_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    return {
        "fc1.weight": (WIDTH, WIDTH * sizes.longest),
        "lat.weight": (WIDTH, WIDTH),
        **dict.fromkeys(("fc1.bias", "ln_f.weight", "ln_f.bias"), (WIDTH,)),
    }


def _random_latent(sizes: Sizes) -> dict[str, Any]:
    """Draw the auto-encoder's weights, right after the Transformer's."""
    import torch

    state = {name: torch.zeros(shape) for name, shape in _latent_shapes(sizes).items()}
    for name in ("fc1.weight", "lat.weight"):
        torch.nn.init.xavier_uniform_(state[name])
    return state | {"ln_f.weight": torch.ones(WIDTH)}


def _read(path: Path, *, unpickle: bool) -> Any:
    """Read a checkpoint; beside tensors it holds the states of random numbers, NumPy's among them."""
    import pickle

    import numpy as np
    import torch
    from numpy._core.multiarray import _reconstruct

    arrays: list[Any] = [np.ndarray, np.dtype, type(np.dtype("uint32"))]
    arrays += [_reconstruct, (_reconstruct, "numpy.core.multiarray._reconstruct")]  # as NumPy 1 named it
    try:
        with torch.serialization.safe_globals(arrays):
            return torch.load(path, map_location="cpu", weights_only=not unpickle)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path.name} holds pickled objects, which can run code when read; {ALLOW}") from error


def _download() -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(REPOSITORY, allow_patterns=[CHECKPOINT, TOKENS]))
