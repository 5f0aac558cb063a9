# /// script
# requires-python = ">=3.11"
# dependencies = ["admet-ai==2.0.1", "chemprop==2.3.1", "torch==2.13.0"]
# ///
"""ADMET-AI: Chemprop message passing along bonds (Swanson et al. 2024, doi:10.1093/bioinformatics/btae416).

The published predictor averages five networks per task group; their hidden columns have nothing in common, so
one network, the first, is embedded.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

#: The network embedded, inside the wheel.
FILE = "resources/models/admet_classification/model_0.pt"


@target(
    Card(
        name="admet-ai-classification",
        family="admet-ai",
        modality="graph",
        title="ADMET-AI, classification, ensemble member 0",
        revision="2.0.1",
        parameters=327_331,
        dimension=300,
        layer="atoms after the last message-passing step",
        pooling="mean over heavy atoms (the model's own aggregation is their sum / 100)",
        trained_on=("TDC-ADMET",),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1093/bioinformatics/btae416",
        source=f"file admet_ai/{FILE} in the wheel of admet-ai==2.0.1",
        weights_sha256="9a5fb298a6564e8ef739890c90b02e831521073f49eefd2310fb56cdb61a2378",
        untrained=True,
        resources=Resources(batch_size=256, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[str]], Embedded]:
    """Load the message passing of one network, or build it anew: Chemprop's defaults are its settings."""
    import torch
    from chemprop.data import BatchMolGraph
    from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer
    from chemprop.models import MPNN
    from chemprop.nn import BondMessagePassing, MeanAggregation
    from rdkit import Chem

    if weights.kind == "file" and not weights.trusted:
        raise ValueError(f"{weights.path} is a pickle, which may run code; --trust-checkpoint loads it")
    if weights.random:
        torch.manual_seed(weights.seed)
        encode = BondMessagePassing()
    else:
        spec = find_spec("admet_ai")  # found, not imported: its import needs plotting and tables
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("the package admet_ai is not installed")
        path = weights.file_or_published(Path(spec.origin).parent / FILE)
        # The file names the classes of its layers, hence a pickle; the published one is pinned by SHA-256.
        encode = MPNN.load_from_file(path, map_location="cpu").message_passing
    encode.eval().to(device)
    mean = MeanAggregation()
    graph_of = SimpleMoleculeMolGraphFeaturizer()

    @torch.inference_mode()
    def embed(items: list[str]) -> Embedded:
        features = np.full((len(items), card.dimension or 0), np.nan, dtype=np.float32)
        reasons: list[str | None] = [None] * len(items)
        graphs = {}
        for i, smiles in enumerate(items):
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is None or molecule.GetNumAtoms() == 0:
                reasons[i] = "RDKit reads no molecule from the SMILES"
            else:
                graphs[i] = graph_of(molecule)
        if graphs:
            batch = BatchMolGraph(list(graphs.values()))
            batch.to(device)
            features[list(graphs)] = mean(encode(batch), batch.batch).cpu().numpy()
        return Embedded(features, None, reasons)

    return embed
