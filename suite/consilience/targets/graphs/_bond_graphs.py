"""What MolCLR and the networks of Hu et al. 2020 share: graphs of atoms and bonds, the frame of the network, pooling.

Hydrogen is not part of the graphs. Every bond counts in both directions, and every atom is bonded to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from consilience.targets._batch import embed_by_batch, mean_over_atoms, read_checkpoint
from consilience.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from consilience import Weights

WIDTH, LAYERS = 300, 5
#: Kinds of chirality and of bond direction (cis, trans) that the networks tell apart.
CHIRALITIES, DIRECTIONS = 3, 3
#: Kind of bond of an atom with itself; 0 to 3 are single, double, triple and aromatic.
SELF = 4


class Graph(NamedTuple):
    """A molecule; both lists of numbers are what the embeddings of the network look up."""

    atoms: list[tuple[int, int]]
    """Atomic number - 1 and chirality of each atom."""
    edges: list[tuple[int, int, int, int]]
    """From, to, kind and direction of each bond."""


def graph_of(smiles: str) -> Graph:
    """Graph of a SMILES."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise ValueError("RDKit reads no molecule from the SMILES")
    chiralities = [Chem.CHI_UNSPECIFIED, Chem.CHI_TETRAHEDRAL_CW, Chem.CHI_TETRAHEDRAL_CCW]
    kinds = [Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC]
    directions = [Chem.BondDir.NONE, Chem.BondDir.ENDUPRIGHT, Chem.BondDir.ENDDOWNRIGHT]
    atoms, edges = [], []
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 0 or atom.GetChiralTag() not in chiralities:
            raise ValueError(f"atom {atom.GetIdx()} is of no element or of a chirality that the network lacks")
        atoms.append((atom.GetAtomicNum() - 1, chiralities.index(atom.GetChiralTag())))
    for bond in molecule.GetBonds():
        if bond.GetBondType() not in kinds or bond.GetBondDir() not in directions:
            raise ValueError(f"bond {bond.GetIdx()} is of a kind that the network lacks: {bond.GetBondType()}")
        one, other = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        label = (kinds.index(bond.GetBondType()), directions.index(bond.GetBondDir()))
        edges += [(one, other, *label), (other, one, *label)]
    return Graph(atoms, edges + [(atom, atom, SELF, 0) for atom in range(len(atoms))])


def embedding(rows: int, width: int) -> Any:
    """Embedding table, initialised as both papers' code does."""
    import torch

    table = torch.nn.Embedding(rows, width)
    torch.nn.init.xavier_uniform_(table.weight)
    return table


def frame(weights: Weights, layer: Callable[[], Any], elements: int, heads: tuple[str, ...]) -> Any:
    """Build the network around its layers, with random weights or a user's.

    Parameters
    ----------
    weights
        Which weights; there are no published ones.
    layer
        Makes one layer.
    elements
        Rows of the embedding of atomic numbers.
    heads
        How the names of weights begin that are no part of the embedding.
    """
    import torch

    if weights.kind == "published":
        raise WeightsError("there are no published weights to fetch: give a file (consilience check --checkpoint)")
    torch.manual_seed(weights.seed)
    model: Any = torch.nn.Module()
    model.x_embedding1 = embedding(elements, WIDTH)
    model.x_embedding2 = embedding(CHIRALITIES, WIDTH)
    model.gnns = torch.nn.ModuleList(layer() for _ in range(LAYERS))
    model.batch_norms = torch.nn.ModuleList(torch.nn.BatchNorm1d(WIDTH) for _ in range(LAYERS))
    if not weights.random:
        state = read_checkpoint(weights, "")
        model.load_state_dict({key: value for key, value in state.items() if not key.startswith(heads)})
    return model.eval()


def embed_graphs(model: Any, convolve: Callable[..., Any], device: str) -> Any:
    """Make `embed` of a network and of what one of its layers does.

    Parameters
    ----------
    model
        The network of :func:`frame`.
    convolve
        Turns a layer, the atoms' rows, edges (from, to: two rows of numbers) and the edges' embeddings into the
        atoms' new rows.
    device
        Torch device.
    """
    import torch

    model.to(device)

    @torch.inference_mode()
    def forward(graphs: list[Graph]) -> tuple[Any, None]:
        counts = torch.tensor([len(graph.atoms) for graph in graphs])
        shifts = (counts.cumsum(0) - counts).repeat_interleave(torch.tensor([len(graph.edges) for graph in graphs]))
        atoms = torch.tensor([atom for graph in graphs for atom in graph.atoms], device=device)
        edges = torch.tensor([edge for graph in graphs for edge in graph.edges])
        ends, kind, direction = (edges[:, :2] + shifts[:, None]).T.to(device), *edges[:, 2:].T.to(device)
        h = model.x_embedding1(atoms[:, 0]) + model.x_embedding2(atoms[:, 1])
        for number, (layer, norm) in enumerate(zip(model.gnns, model.batch_norms, strict=True), 1):
            h = norm(convolve(layer, h, ends, layer.edge_embedding1(kind) + layer.edge_embedding2(direction)))
            h = torch.relu(h) if number < LAYERS else h
        return mean_over_atoms(h.cpu(), counts), None

    return embed_by_batch(graph_of, forward, WIDTH, save=lambda path: torch.save(model.state_dict(), path))
