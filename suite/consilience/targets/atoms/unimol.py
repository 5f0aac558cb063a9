# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0", "huggingface-hub==2.4.0", "torch==2.13.0"]
# ///
"""Uni-Mol: a Transformer over atoms with pairwise distances (Zhou et al. 2023, doi:10.26434/chemrxiv-2022-jjm0j).

The network is written out here, in the names of the published weights: the package unimol-tools brings 1.5 GB of
others, loads any file without a complaint, and (0.1.6) numbers the marks [CLS], [PAD] and [SEP] otherwise than the
weights were trained with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, read_checkpoint, require_molecule
from consilience.targets._shapes import check_shapes

REPOSITORY = "dptech/Uni-Mol-Models"
WIDTH, FEED_FORWARD, HEADS, LAYERS, KERNELS = 512, 2048, 64, 15, 128
TWIN_LAYERS = 5
ELEMENTS = tuple("C N O S H Cl F Br I Si P B Na K Al Ca Sn As Hg Fe Zn Cr Se Gd Au Li".split())  # noqa: SIM905
#: Tokens in the order of the dictionary that the weights were trained with.
SYMBOLS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", *ELEMENTS, "[MASK]")
#: What pretraining predicted with; no part of the embedding.
OTHER = (
    "lm_head.",
    "pair2coord_proj.",
    "dist_head.",
    "encoder.final_head_layer_norm.",
    "classification_head",
)
#: Most atoms that the model was trained with; the published code drops others at random.
MOST_ATOMS = 256


def _card(name: str, title: str, hydrogens: str, file: str) -> Card:
    return Card(
        name=name,
        family="unimol",
        modality="atoms",
        title=title,
        revision=file,
        parameters=47_330_626,
        dimension=WIDTH,
        layer="last of 15 layers, after the final norm",
        pooling=f"mean over {hydrogens}; [CLS] and [SEP] left out",
        trained_on=("Uni-Mol-19M",),
        elements=ELEMENTS,
        periodic=False,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.26434/chemrxiv-2022-jjm0j",
        source=f"https://huggingface.co/{REPOSITORY}, file {file}",
        access="download",
        accepts="a checkpoint of Uni-Mol (.pt: a dict with `model`, a state dict)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin=f"{TWIN_LAYERS} layers instead of {LAYERS}",
        remark="Given the item's own positions; trained on conformers made with RDKit.",
        resources=Resources(batch_size=32, memory_gib=2),
    )


@target(
    _card("unimol-v1-all-h", "Uni-Mol, all atoms", "atoms", "mol_pre_all_h_220816.pt"),
    _card("unimol-v1-no-h", "Uni-Mol, without hydrogen", "atoms but hydrogen", "mol_pre_no_h_220816.pt"),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Read the weights; their names are checked one by one."""
    import torch
    import torch.nn.functional as f

    skip_hydrogen = card.name.endswith("no-h")
    if weights.random:
        state = _random(weights.seed, TWIN_LAYERS)
    else:
        state = read_checkpoint(weights, lambda: _download(card))
        state = state.get("model", state)
        state = {name: tensor for name, tensor in state.items() if not name.startswith(OTHER)}
        check_shapes(state, _shapes(_layers(state) if weights.kind == "file" else LAYERS))
    layers = _layers(state)
    state = {name: tensor.to(device).float() for name, tensor in state.items()}
    number = {symbol: i for i, symbol in enumerate(SYMBOLS)}

    def prepare(atoms: Any) -> tuple[Any, Any]:
        require_molecule(atoms)
        kept = atoms[[symbol != "H" for symbol in atoms.symbols]] if skip_hydrogen else atoms
        if not 0 < len(kept) <= MOST_ATOMS:
            raise ValueError(f"{len(kept)} atoms; the model reads 1 to {MOST_ATOMS}")
        ids = [number["[CLS]"], *(number[symbol] for symbol in kept.symbols), number["[SEP]"]]
        places = torch.zeros(len(ids), 3, dtype=torch.float64)
        places[1:-1] = torch.from_numpy(kept.positions - kept.positions.mean(axis=0))  # both marks lie at the centre
        return torch.tensor(ids), torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist").float()

    def dense(name: str, x: Any) -> Any:
        return f.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Any) -> Any:
        return f.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"])

    @torch.inference_mode()
    def states(ids: Any, distances: Any) -> Any:
        """(n, WIDTH) states of (n,) tokens with (n, n) distances."""
        kinds = ids[:, None] * len(SYMBOLS) + ids[None, :]
        scaled = state["gbf.mul.weight"][kinds] * distances[:, :, None] + state["gbf.bias.weight"][kinds]
        width = state["gbf.stds.weight"].abs() + 1e-5
        pair = torch.exp(-0.5 * ((scaled - state["gbf.means.weight"]) / width) ** 2) / ((2 * 3.14159) ** 0.5 * width)
        pair = dense("gbf_proj.linear2", f.gelu(dense("gbf_proj.linear1", pair))).permute(2, 0, 1)
        x = norm("encoder.emb_layer_norm", state["embed_tokens.weight"][ids])
        for layer in range(layers):
            name = f"encoder.layers.{layer}"
            read = dense(f"{name}.self_attn.in_proj", norm(f"{name}.self_attn_layer_norm", x))
            query, key, value = (part.unflatten(1, (HEADS, -1)).transpose(0, 1) for part in read.chunk(3, 1))
            pair = pair + (query * (WIDTH // HEADS) ** -0.5) @ key.transpose(1, 2)  # grows from layer to layer
            found = (pair.softmax(-1) @ value).transpose(0, 1).flatten(1)
            x = x + dense(f"{name}.self_attn.out_proj", found)
            inner = f.gelu(dense(f"{name}.fc1", norm(f"{name}.final_layer_norm", x)))
            x = x + dense(f"{name}.fc2", inner)
        return norm("encoder.final_layer_norm", x)

    def forward(molecules: list[tuple[Any, Any]]) -> tuple[Any, None]:
        rows = [states(ids.to(device), distances.to(device))[1:-1].double().mean(0) for ids, distances in molecules]
        return torch.stack(rows), None

    def save(path: Path) -> None:
        torch.save({"model": state}, path)

    return embed_by_batch(prepare, forward, WIDTH, card.elements, save=save)


def _shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Shape of every weight, by name."""
    kinds = len(SYMBOLS) ** 2
    dense = [("gbf_proj.linear1", KERNELS, KERNELS), ("gbf_proj.linear2", HEADS, KERNELS)]
    norms = ["encoder.emb_layer_norm", "encoder.final_layer_norm"]
    for name in (f"encoder.layers.{layer}" for layer in range(layers)):
        dense += [(f"{name}.self_attn.in_proj", 3 * WIDTH, WIDTH), (f"{name}.self_attn.out_proj", WIDTH, WIDTH)]
        dense += [(f"{name}.fc1", FEED_FORWARD, WIDTH), (f"{name}.fc2", WIDTH, FEED_FORWARD)]
        norms += [f"{name}.self_attn_layer_norm", f"{name}.final_layer_norm"]
    return {
        "embed_tokens.weight": (len(SYMBOLS), WIDTH),
        **{f"gbf.{name}.weight": (1, KERNELS) for name in ("means", "stds")},
        **{f"gbf.{name}.weight": (kinds, 1) for name in ("mul", "bias")},
        **{f"{name}.weight": (out, into) for name, out, into in dense},
        **{f"{name}.bias": (out,) for name, out, _ in dense},
        **{f"{norm}.{part}": (WIDTH,) for norm in norms for part in ("weight", "bias")},
    }


def _random(seed: int, layers: int) -> dict[str, Any]:
    """Draw weights as training starts with."""
    import torch

    torch.manual_seed(seed)
    state = {}
    for name, shape in _shapes(layers).items():
        if name.endswith("norm.weight") or name == "gbf.mul.weight":
            state[name] = torch.ones(shape)
        elif name.endswith("bias") or name == "gbf.bias.weight":
            state[name] = torch.zeros(shape)
        elif name.startswith("gbf."):
            state[name] = 3 * torch.rand(shape)
        else:
            state[name] = 0.02 * torch.randn(shape)
    return state


def _layers(state: dict[str, Any]) -> int:
    return len({name.split(".")[2] for name in state if name.startswith("encoder.layers.")})


def _download(card: Card) -> Path:
    from huggingface_hub import hf_hub_download

    assert card.revision is not None
    return Path(hf_hub_download(REPOSITORY, card.revision))
