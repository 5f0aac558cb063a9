# /// script
# requires-python = ">=3.11"
# dependencies = ["admet-ai==2.0.1", "chemprop==2.3.1", "rdkit==2026.3.6", "torch==2.13.0"]
# ///
"""ADMET-AI: Chemprop message passing along bonds (Swanson et al. 2024, doi:10.1093/bioinformatics/btae416).

The published predictor averages five networks per task group; their hidden columns have nothing in common, so
one network, the first, is embedded.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, require_trust
from consilience.targets._wheel import in_wheel

#: The networks embedded, inside the wheel.
FILES = {
    "admet-ai-classification": "resources/models/admet_classification/model_0.pt",
    "admet-ai-regression": "resources/models/admet_regression/model_0.pt",
}


def _card(name: str, title: str, parameters: int, sha256: str) -> Card:
    return Card(
        name=name,
        family="admet-ai",
        modality="graph",
        title=title,
        revision="2.0.1",
        parameters=parameters,
        dimension=300,
        layer="atoms after the last message-passing step",
        pooling="mean over heavy atoms (the model's own aggregation is their sum / 100)",
        trained_on=("TDC-ADMET",),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1093/bioinformatics/btae416",
        source=f"file admet_ai/{FILES[name]} in the wheel of admet-ai==2.0.1",
        weights_sha256=sha256,
        accepts="a Chemprop 2 model (.pt) that passes messages along bonds, without extra descriptors; a pickle",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        resources=Resources(batch_size=256, memory_gib=2),
    )


@target(
    _card(
        "admet-ai-classification",
        "ADMET-AI, classification, ensemble member 0",
        327_331,
        "9a5fb298a6564e8ef739890c90b02e831521073f49eefd2310fb56cdb61a2378",
    ).with_corrections(parameters=227_700, total_parameters=327_331),
    _card(
        "admet-ai-regression",
        "ADMET-AI, regression, ensemble member 0",
        321_010,
        "c709dc4526dc7f6cf39cea64190f63adbb2b95e280d34582c492fc53da64a1a4",
    ).with_corrections(parameters=227_700, total_parameters=321_010),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load the message passing of one network, or build it anew: Chemprop's defaults are its settings."""
    import torch
    from chemprop.data import BatchMolGraph
    from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer
    from chemprop.models import MPNN
    from chemprop.models.utils import save_model
    from chemprop.nn import BondMessagePassing, MeanAggregation, NormAggregation, RegressionFFN
    from rdkit import Chem

    require_trust(weights)
    if weights.random:
        torch.manual_seed(weights.seed)
        model = MPNN(BondMessagePassing(), NormAggregation(), RegressionFFN())
    else:
        path = weights.file_or_published(in_wheel("admet_ai", FILES[card.name]))
        # The file names the classes of its layers, hence a pickle; the published one is pinned by SHA-256.
        model = MPNN.load_from_file(path, map_location="cpu")
    model.eval().to(device)
    encode = model.message_passing
    mean = MeanAggregation()
    graph_of = SimpleMoleculeMolGraphFeaturizer()
    if not isinstance(encode, BondMessagePassing) or encode.W_d is not None:
        raise ValueError(
            f"{type(encode).__name__} is not read, nor are descriptors of atoms: messages along bonds only"
        )
    if encode.W_i.in_features != sum(graph_of.shape):
        raise ValueError(f"the model reads {encode.W_i.in_features} features of a bond, not {sum(graph_of.shape)}")

    def prepare(smiles: str) -> Any:
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise ValueError("RDKit reads no molecule from the SMILES")
        return graph_of(molecule)

    @torch.inference_mode()
    def forward(graphs: list[Any]) -> tuple[Any, None]:
        batch = BatchMolGraph(graphs)
        batch.to(device)
        return mean(encode(batch), batch.batch), None

    return embed_by_batch(prepare, forward, encode.output_dim, save=lambda path: save_model(path, model))
