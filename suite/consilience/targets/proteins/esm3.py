# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["esm==3.2.1.post1", "httpx==0.28.1", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = [
#     "ipython ; sys_platform == 'never'",
#     "scikit-learn ; sys_platform == 'never'",
#     "torch==2.13.0",
#     "torchtext ; sys_platform == 'never'",
#     "torchvision ; sys_platform == 'never'",
#     "transformers==5.23.0",
# ]
# ///
"""ESM3-open: one network for sequence, structure and function (Hayes et al. 2025, doi:10.1126/science.ads0018).

Two targets: one gives it a protein's sequence alone, the other the backbone alone (structure tokens and coordinates).
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Modality, Resources
from consilience.targets._batch import embed_by_batch, read_checkpoint
from consilience.targets._tokens import Tokens, embed_tokens

REPOSITORY = "EvolutionaryScale/esm3-sm-open-v1"
DIMENSION, LAYERS, TWIN_LAYERS = 1536, 48, 2
#: Prefix of the structure encoder's weights, where a model is saved with it.
STRUCTURE = "_structure_encoder."
#: Tokens of a batch: geometric attention keeps 3 KiB for each pair of tokens.
TOKENS = 1024
#: Rows of N, CA, C and O among the 37 atoms that the package keeps for a residue.
BACKBONE = [0, 1, 2, 4]


def _card(name: str, title: str, modality: Modality, pooling: str, remark: str, extra: str = "") -> Card:
    twin = f"{TWIN_LAYERS} layers instead of {LAYERS}"
    twin += ", the structure encoder 1 instead of 2" if modality == "protein_structure" else ""
    return Card(
        name=name,
        family="esm3",
        modality=modality,
        title=title,
        revision="esm3_sm_open_v1",
        parameters=1_401_735_748,
        dimension=DIMENSION,
        layer="last of 48 layers, before the final norm (the package's `embeddings`)",
        pooling=pooling,
        trained_on=("UniRef", "MGnify", "JGI", "OAS", "PDB", "AlphaFoldDB", "ESMAtlas"),
        licence_code="LicenseRef-Cambrian-Open",
        licence_weights="LicenseRef-Cambrian-Non-Commercial",
        reference="10.1126/science.ads0018",
        source=f"https://huggingface.co/{REPOSITORY}",
        access="gated",
        accepts=f"a state dict of ESM3-open (.pth){extra}",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin=twin,
        remark=remark,
        resources=Resources(batch_size=8, memory_gib=16),
    )


@target(
    _card(
        "esm3-open-sequence",
        "ESM3-open 1.4B, sequence",
        "protein_sequence",
        "mean over residues; ends and padding left out",
        "Reads the sequence; all other tracks are masked.",
    ),
    _card(
        "esm3-open-structure",
        "ESM3-open 1.4B, structure",
        "protein_structure",
        "mean over residues with N, CA and C; ends left out",
        "Reads structure tokens and coordinates; all other tracks, the sequence too, are masked.",
        f", with its structure encoder ({STRUCTURE}*) or, without one, together with the published one",
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load the network and, for structures, the encoder that writes structure tokens."""
    import torch
    from esm.models.esm3 import ESM3
    from esm.models.vqvae import StructureTokenEncoder
    from esm.tokenization import EsmSequenceTokenizer, StructureTokenizer
    from esm.utils.constants import esm3 as constants
    from esm.utils.encoding import get_default_sequence_tokens, tokenize_structure

    reads_structure = card.modality == "protein_structure"
    # The tokenizers of the other tracks would fetch tables from the hub.
    tokenizers: Any = SimpleNamespace(sequence=EsmSequenceTokenizer(), structure=StructureTokenizer())

    def refuse(_: Any) -> Any:
        raise NotImplementedError("not needed for an embedding")

    layers, encoder_layers = (TWIN_LAYERS, 1) if weights.random else (LAYERS, 2)
    if not weights.random:
        state = read_checkpoint(weights, lambda: _download("esm3_sm_open_v1.pth"))
        own = {key: state.pop(key) for key in list(state) if key.startswith(STRUCTURE)}
        if reads_structure and not own:
            path = weights.published(lambda: _download("esm3_structure_encoder_v0.pth"))
            own = torch.load(path, map_location="cpu", weights_only=True)
        own = {key.removeprefix(STRUCTURE): value for key, value in own.items()}
        if weights.kind == "file":  # of the published widths; the twin's has fewer layers
            layers, encoder_layers = map(_layers, (state, own))
    torch.manual_seed(weights.seed)
    model = ESM3(
        d_model=DIMENSION,
        n_heads=24,
        v_heads=256,
        n_layers=layers,
        structure_encoder_fn=refuse,
        structure_decoder_fn=refuse,
        function_decoder_fn=refuse,
        tokenizers=tokenizers,
    )
    encoder = None
    if reads_structure:
        encoder = StructureTokenEncoder(
            d_model=1024, n_heads=1, v_heads=128, n_layers=encoder_layers, d_out=128, n_codes=4096
        )
    if not weights.random:
        model.load_state_dict(state)
        if encoder is not None:
            encoder.load_state_dict(own)
    model.eval().to(device)

    def states(mask: Any, **tracks: Any) -> Any:
        # Without `sequence_id`, which tells padding from residues, padding is attended to.
        return model(sequence_id=mask.long() - 1, **tracks).embeddings

    def save(path: Path) -> None:
        extra = {} if encoder is None else encoder.state_dict(prefix=STRUCTURE)
        torch.save({**model.state_dict(), **extra}, path)

    if encoder is None:
        number = {letter: i for i, letter in enumerate(constants.SEQUENCE_VOCAB)}
        start, end = constants.SEQUENCE_BOS_TOKEN, constants.SEQUENCE_EOS_TOKEN

        def tokenize(sequence: str) -> Tokens:
            ids = [number.get(letter, number["<unk>"]) for letter in sequence]
            return Tokens([start, *ids, end], [False, *[True] * len(ids), False])

        return embed_tokens(
            tokenize,
            lambda ids, mask: states(mask, sequence_tokens=ids),
            DIMENSION,
            pad=constants.SEQUENCE_PAD_TOKEN,
            device=device,
            save=save,
            max_tokens=TOKENS,
        )

    encoder.eval().to(device)

    @torch.inference_mode()
    def prepare(chain: Any) -> tuple[Any, Any, Any]:
        known = np.isfinite(chain.coordinates[:, :3]).all(axis=(1, 2))
        if not known.any():
            raise ValueError("no residue with N, CA and C")
        atoms = torch.full((len(known), 37, 3), torch.nan)
        atoms[:, BACKBONE] = torch.from_numpy(chain.coordinates)
        coordinates, _, tokens = tokenize_structure(atoms, encoder, tokenizers.structure)  # with the two ends
        return tokens, coordinates[:, :3], torch.from_numpy(known)

    @torch.inference_mode()
    def forward(chains: list[tuple[Any, Any, Any]]) -> tuple[Any, None]:
        rows = []
        for tokens, coordinates, known in chains:
            found = states(
                torch.ones(1, len(tokens), device=device),
                sequence_tokens=get_default_sequence_tokens(len(known), tokenizers.sequence)[None].to(device),
                structure_tokens=tokens[None],
                structure_coords=coordinates[None],
                per_res_plddt=coordinates.isfinite().all(-1).any(-1).float()[None],  # as the package's `logits` does
            )
            rows.append(found[0, 1:-1][known.to(device)].double().mean(0))
        return torch.stack(rows), None

    return embed_by_batch(prepare, forward, DIMENSION, save=save)


def _layers(state: dict[str, Any]) -> int:
    """Layers of the network that these weights are of."""
    return len({key.split(".")[2] for key in state if key.startswith("transformer.blocks.")})


def _download(file: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(REPOSITORY, f"data/weights/{file}"))
