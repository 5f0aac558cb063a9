# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "garnetff==1.0.0",
#     "igraph==1.0.0",
#     "networkx==3.6.1",
#     "openmm==8.6.1",
#     "rdkit==2026.9.1",
#     "torch==2.13.0",
#     "torch-geometric==2.8.1",
# ]
# ///
"""Garnet: force-field parameters from a graph network (Blanco-González et al. 2026, doi:10.48550/arXiv.2603.16770).

The package reads molecules of OpenFF's toolkit, which cannot be installed with pip. Here its own code reads the same
properties from RDKit: elements, formal charges, bonds, and aromaticity after the MDL model, as the toolkit assigns it.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, mean_over_atoms
from consilience.targets._wheel import in_wheel

FILE = "trained_models/v_0_1_0.pt"


@target(
    Card(
        name="garnet-0.1.0",
        family="garnet",
        modality="graph",
        title="Garnet 0.1.0",
        revision="0.1.0 (garnetff 1.0.0)",
        parameters=23_488,
        dimension=64,
        layer="atoms after the second GraphSAGE layer (input of all read-outs of force-field parameters)",
        pooling="mean over atoms, hydrogen included",
        trained_on=("SPICE-2", "GEMS", "Espaloma-RNA", "MACE-OFF-water", "liquids", "protein-NMR"),
        elements=("H", "Li", "B", "C", "N", "O", "F", "Na", "Mg", "Si", "P", "S", "Cl", "K", "Ca", "Br", "I"),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.48550/arXiv.2603.16770",
        source=f"garnetff/{FILE} in the wheel of garnetff==1.0.0",
        weights_sha256="e3b69acec5fcee8d9ad23d2b8fd9c06a6f492c4b144db59dac00a184e46636d0",
        accepts="weights of Garnet as garnetff reads them (.pt: a dict of state dicts)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin="weights as PyTorch Geometric draws those of SAGEConv; the training code is written in Julia",
        distinct=False,  # the features hold no bond orders and no chirality
        remark="Reads formal charges of -1, 0, 1 and 2 only.",
        resources=Resources(batch_size=128, memory_gib=2),
    ).with_corrections(total_parameters=414_368)
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build the package's network; its read-outs are left out."""
    import torch
    from garnetff.garnetff import Model
    from torch_geometric.data import Batch

    torch.manual_seed(weights.seed)
    path = None if weights.random else str(weights.file_or_published(in_wheel("garnetff", FILE)))
    model = Model(path)
    network = model.atom_embed.eval().to(device)

    def prepare(smiles: str) -> Any:
        parts = molecules_of(smiles)
        data = model.topology_to_data(Topology(parts))
        # Equal molecules share one graph; each has its atoms in the mean.
        return data.x, data.edge_index, torch.tensor(data.topology_atom_template_inds)

    @torch.inference_mode()
    def forward(graphs: list[Any]) -> tuple[Any, None]:
        from torch_geometric.data import Data

        batch = Batch.from_data_list([Data(x=x, edge_index=edges) for x, edges, _ in graphs]).to(device)
        rows = network(batch)
        starts = batch.ptr[:-1].tolist()
        places = torch.cat([places + start for (_, _, places), start in zip(graphs, starts, strict=True)])
        return mean_over_atoms(rows[places.to(device)], torch.tensor([len(one[2]) for one in graphs])), None

    def save(path: Any) -> None:
        parts = {name: part.state_dict() for name, part in model.named_children()}
        torch.save({**parts, **{name: getattr(model, name) for name in CONSTANTS}}, path)

    return embed_by_batch(prepare, forward, 64, save=save)


#: Numbers of the force field beside the networks, which its file holds.
CONSTANTS = ("weight_14_coul", "dexp_alpha", "dexp_beta")


class Charge(int):
    """A formal charge as the package reads it: a number with a unit, which is one."""

    units = u = 1


class Atom:
    """An atom as the package reads it."""

    def __init__(self, atom: Any) -> None:
        self.atomic_number = atom.GetAtomicNum()
        self.formal_charge = Charge(atom.GetFormalCharge())
        self.is_aromatic = atom.GetIsAromatic()
        self.bonded_atoms = atom.GetNeighbors()


class Bond:
    """A bond as the package reads it."""

    def __init__(self, bond: Any) -> None:
        self.atom1_index, self.atom2_index = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()


class Molecule:
    """A molecule as the package reads it; angles and torsions, which no row depends on, are left out."""

    angles = propers = amber_impropers = ()

    def __init__(self, molecule: Any, name: str) -> None:
        self.atoms = [Atom(atom) for atom in molecule.GetAtoms()]
        self.bonds = [Bond(bond) for bond in molecule.GetBonds()]
        self.n_atoms, self.name = len(self.atoms), name

    def is_isomorphic_with(self, other: Molecule) -> bool:
        """Whether both are the same molecule."""
        return self.name == other.name

    def to_networkx(self) -> Any:
        """Graph with the atoms' numbers and charges."""
        import networkx

        graph = networkx.Graph()
        for i, atom in enumerate(self.atoms):
            graph.add_node(i, atomic_number=atom.atomic_number, formal_charge=atom.formal_charge)
        graph.add_edges_from((bond.atom1_index, bond.atom2_index) for bond in self.bonds)
        return graph


class Topology:
    """Molecules of one item as the package reads them."""

    def __init__(self, molecules: list[Molecule]) -> None:
        self.molecules = molecules
        self.n_molecules, self.n_atoms = len(molecules), sum(one.n_atoms for one in molecules)


def molecules_of(smiles: str) -> list[Molecule]:
    """Molecules of a SMILES, with hydrogen, and aromatic after the MDL model."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise ValueError("RDKit reads no molecule from the SMILES")
    molecule = Chem.AddHs(molecule)
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    Chem.SetAromaticity(molecule, Chem.AromaticityModel.AROMATICITY_MDL)
    parts = Chem.GetMolFrags(molecule, asMols=True, sanitizeFrags=False)
    return [Molecule(part, Chem.MolToSmiles(part)) for part in parts]
