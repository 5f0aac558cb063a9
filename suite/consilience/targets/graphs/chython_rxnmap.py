# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "chython-rxnmap==2.0",
#     "onnx==1.20.0",
#     "onnxruntime==1.32.0",
#     "rdkit==2026.9.1",
# ]
# ///
"""chython's mapping model: a transformer over molecular graphs (Nugmanov et al. 2022, doi:10.1021/acs.jcim.2c00344).

The package maps the atoms of reactions. Here the states of atoms are embedded that its layers within a molecule give,
before it adds which side of the arrow an atom stands on. The numbers that encode a molecule are chython 3.7's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch
from consilience.targets._wheel import in_wheel

FILE = "rxnmap.onnx"
#: States of all tokens after the last layer within a molecule.
STATES = "/mol_layer/norm2_7/LayerNormalization_output_0"
#: Farther atoms count as this far; more neighbours, hydrogen among them, as this many.
FARTHEST, MOST_NEIGHBOURS = 10, 14
#: Atoms within a molecule begin after the tokens of the reaction and of the molecule.
FIRST_ATOM = 2


@target(
    Card(
        name="chython-rxnmap-2.0",
        family="chython-rxnmap",
        modality="graph",
        title="chython's atom mapping 2.0",
        revision="2.0",
        parameters=10_639_568,
        dimension=1024,
        layer="atoms after the last of 8 layers within a molecule (one set of weights, applied 8 times)",
        pooling="mean over heavy atoms",
        trained_on=("USPTO", "Pistachio"),
        licence_code="LGPL-3.0-or-later",
        licence_weights="LGPL-3.0-or-later",
        reference="10.1021/acs.jcim.2c00344",
        source=f"chython_rxnmap/{FILE} in the wheel of chython-rxnmap==2.0",
        weights_sha256="a4c60aba5c3524dda96ea3af9e1487d3fb09a4e376604e506b1f0064cfcef2e0",
        twin="none: the package holds a traced graph (ONNX) and not the rule by which its weights are drawn",
        distinct=False,  # the graph holds no bond orders, charges or chirality
        remark="Trained on whole reactions: a single molecule is outside of what it has seen.",
        resources=Resources(batch_size=64, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Open the package's graph with one output more."""
    import onnx
    import onnxruntime

    model = onnx.load(str(weights.published(in_wheel("chython_rxnmap", FILE))))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(STATES, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def forward(molecules: list[dict[str, Any]]) -> tuple[Any, None]:
        # The graph takes one reaction at a time.
        states = [session.run([STATES], molecule)[0][0, FIRST_ATOM:] for molecule in molecules]
        rows = [one.mean(axis=0, dtype=np.float64) for one in states]
        return np.array(rows), None

    return embed_by_batch(encode, forward, card.dimension or 0)


def encode(smiles: str) -> dict[str, Any]:
    """A reaction of one reactant and no product, as the graph reads it."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise ValueError("RDKit reads no molecule from the SMILES")
    elements = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    neighbours = np.array([atom.GetDegree() + atom.GetTotalNumHs() for atom in molecule.GetAtoms()])
    bonds = Chem.GetDistanceMatrix(molecule)
    tokens = len(elements) + FIRST_ATOM
    atoms, near, roles = np.zeros((3, 1, tokens), np.int64)
    atoms[0, 1], atoms[0, FIRST_ATOM:] = 1, elements + 2
    near[0, FIRST_ATOM:] = np.minimum(neighbours, MOST_NEIGHBOURS) + 2
    roles[0, 0], roles[0, FIRST_ATOM:] = 1, 2
    distances = np.zeros((1, tokens, tokens), np.int64)
    distances[0, 0, 0], distances[0, 1:, 1:] = 1, 1
    # RDKit says 1e8 where no path leads from one atom to the other, as in salts.
    reached = np.where(bonds < len(elements), np.minimum(bonds, FARTHEST) + 2, 1)
    distances[0, FIRST_ATOM:, FIRST_ATOM:] = reached
    return {"atoms": atoms, "neighbors": near, "distances": distances, "roles": roles}
