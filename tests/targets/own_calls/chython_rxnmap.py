"""chython's mapping model: `chython.reactions.attention`'s own encoder where it is installed, else one written here.

chython has no wheel: it is compiled where it is installed, and is no part of the target's environment.
"""

from collections import deque
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from calls import run
from rdkit import Chem

STATES = "/mol_layer/norm2_7/LayerNormalization_output_0"
model = onnx.load(str(Path(find_spec("chython_rxnmap").origin).parent / "rxnmap.onnx"))
model.graph.output.append(onnx.helper.make_tensor_value_info(STATES, onnx.TensorProto.FLOAT, None))
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def of_chython(smiles):
    from chython import smiles as read
    from chython.reactions.attention._encode import encode_reaction

    one = encode_reaction([read(smiles)], [])
    return one.atoms, one.neighbors, one.distances, one.roles


def written_here(smiles):
    """Tokens [reaction] [molecule] atoms; distances by breadth-first search."""
    molecule = Chem.MolFromSmiles(smiles)
    atoms = list(molecule.GetAtoms())
    n = len(atoms)
    distances = np.zeros((n + 2, n + 2), int)
    distances[0, 0] = 1
    distances[1:, 1:] = 1
    for atom in atoms:
        seen, waiting = {atom.GetIdx(): 0}, deque([atom])
        while waiting:
            here = waiting.popleft()
            for other in here.GetNeighbors():
                if other.GetIdx() not in seen:
                    seen[other.GetIdx()] = seen[here.GetIdx()] + 1
                    waiting.append(other)
        for other, steps in seen.items():
            distances[atom.GetIdx() + 2, other + 2] = min(steps, 10) + 2
    numbers = [0, 1, *(atom.GetAtomicNum() + 2 for atom in atoms)]
    near = [0, 0, *(min(atom.GetDegree() + atom.GetTotalNumHs(), 14) + 2 for atom in atoms)]
    return np.array(numbers), np.array(near), distances, np.array([1, 0, *[2] * n])


encode = of_chython if find_spec("chython") else written_here


def call(smiles):
    names = ("atoms", "neighbors", "distances", "roles")
    tensors = {name: np.asarray(one)[None].astype(np.int64) for name, one in zip(names, encode(smiles), strict=True)}
    return session.run([STATES], tensors)[0][0, 2:].astype(float).mean(axis=0)


run(call)
