"""Garnet: the published weights on features made here.

OpenFF's toolkit, whose molecules the package reads, cannot be installed with pip. Features follow the paper: element,
formal charge spread over equivalent atoms, aromaticity (MDL model), number of neighbours; layers are GraphSAGE's,
with a mean over neighbours and the atom itself.
"""

from importlib.util import find_spec
from pathlib import Path

import networkx
import torch
from calls import run
from networkx.algorithms.isomorphism import GraphMatcher
from rdkit import Chem

NUMBERS = (1, 3, 5, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 19, 20, 35, 53)
path = Path(find_spec("garnetff").origin).parent / "trained_models" / "v_0_1_0.pt"
state = torch.load(path, weights_only=True)["atom_embed"]


def spread(molecule):
    """Charges, each shared by the atoms that a symmetry of the elements' graph brings to its place."""
    graph = networkx.Graph()
    graph.add_nodes_from((atom.GetIdx(), {"z": atom.GetAtomicNum()}) for atom in molecule.GetAtoms())
    graph.add_edges_from((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds())
    charged = [atom.GetIdx() for atom in molecule.GetAtoms() if atom.GetFormalCharge()]
    places = {i: {i} for i in charged}
    if charged:
        maps = GraphMatcher(graph, graph, node_match=lambda a, b: a["z"] == b["z"]).isomorphisms_iter()
        for _, one in zip(range(20_000), maps, strict=False):
            for i in charged:
                places[i].add(one[i])
    charges = [0.0] * len(graph)
    for i in charged:
        near = [j for j in places[i] if networkx.shortest_path_length(graph, i, j) < 5]
        for j in near:
            charges[j] += molecule.GetAtomWithIdx(i).GetFormalCharge() / len(near)
    return charges


def call(smiles):
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    Chem.SetAromaticity(molecule, Chem.AromaticityModel.AROMATICITY_MDL)
    charges = spread(molecule)
    if not {atom.GetFormalCharge() for atom in molecule.GetAtoms()} <= {-1, 0, 1, 2}:
        raise ValueError("a formal charge that the model has not seen")
    features = torch.zeros(molecule.GetNumAtoms(), 27)
    for i, atom in enumerate(molecule.GetAtoms()):
        features[i, NUMBERS.index(atom.GetAtomicNum())] = 1
        features[i, 17], features[i, 18] = max(charges[i], 0) / 2, max(-charges[i], 0) / 2
        features[i, 19] = float(atom.GetIsAromatic())
        features[i, 20 + min(atom.GetDegree(), 6)] = 1
    adjacency = torch.tensor(Chem.GetAdjacencyMatrix(molecule), dtype=torch.float32) + torch.eye(len(features))
    mean = adjacency / adjacency.sum(dim=1, keepdim=True)

    def layer(h, name):
        part = {key: state[f"{name}.{key}"] for key in ("lin_l.weight", "lin_l.bias", "lin_r.weight")}
        return mean @ h @ part["lin_l.weight"].T + part["lin_l.bias"] + h @ part["lin_r.weight"].T

    return layer(torch.relu(layer(features, "conv_1")), "conv_2").double().mean(dim=0).numpy()


run(call)
