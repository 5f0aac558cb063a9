# /// script
# requires-python = ">=3.11"
# dependencies = ["fcd==1.2.2", "torch==2.13.0"]
# ///
"""ChemNet: convolutions and LSTMs over SMILES (Preuer et al. 2018, doi:10.1021/acs.jcim.8b00234)."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

#: Length that every SMILES is padded to, in characters and one end mark: the network was trained this way.
LENGTH = 350


@target(
    Card(
        name="chemnet",
        family="chemnet",
        modality="string",
        title="ChemNet",
        revision="0.13",
        parameters=1_406_336,
        dimension=512,
        layer="second LSTM (the FCD activation)",
        pooling="last step of the LSTM, which reads the string and then its padding",
        trained_on=("ChEMBL", "ZINC", "PubChem"),
        elements=("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I"),
        licence_code="LGPL-3.0-only",
        licence_weights="LGPL-3.0-only",
        reference="10.1021/acs.jcim.8b00234",
        source="file fcd/ChemNet_v0.13_pretrained.pt in the wheel of fcd==1.2.2",
        weights_sha256="c22e977602b30eeabd7f81e6c790dd3234c7d7788c6c3e7979d8720ccc96951a",
        # Probably the LSTM, which reads the padding last, has forgotten the string by then.
        twin="none: with random weights the columns vary by 6e-6 of their size, near rounding noise",
        corrections=(("twin", None),),
        distinct=False,  # "/", "\", "9", "%" and a few letters share one "unknown" character
        resources=Resources(batch_size=128, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[str]], Embedded]:
    """Load the layers, which the weight file lists with their shapes."""
    import torch
    from fcd.utils import get_one_hot, load_imported_model

    path = weights.file_or_published(str(files("fcd") / "ChemNet_v0.13_pretrained.pt"))
    model = load_imported_model(torch.load(path, map_location="cpu", weights_only=True))
    model.eval().to(device)

    @torch.inference_mode()
    def embed(items: list[str]) -> Embedded:
        features = np.full((len(items), card.dimension or 0), np.nan, dtype=np.float32)
        # A longer string would need longer padding, which changes the embedding of the whole batch.
        fits = [i for i, smiles in enumerate(items) if 0 < len(smiles) < LENGTH]
        reasons = [None if 0 < len(s) < LENGTH else f"not 1 to {LENGTH - 1} characters long" for s in items]
        if fits:
            characters = np.stack([get_one_hot(items[i], pad_len=LENGTH) for i in fits])
            x = torch.from_numpy(characters / characters.shape[2]).float().transpose(1, 2)
            features[fits] = model(x.to(device)).cpu().numpy()
        return Embedded(features, None, reasons)

    return embed
