# /// script
# requires-python = ">=3.11"
# dependencies = ["openff-nagl-models==2025.9.0", "rdkit==2026.9.1", "soltrannet==1.0.0", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = ["pathlib ; sys_platform == 'never'"]
# ///
"""OpenFF NAGL: GraphSAGE for AM1-BCC charges (OpenFF NAGL, doi:10.5281/zenodo.15770227).

The published file is a pickle of OpenFF's own classes; the weights are read out of it without them, and the network
is built here from its equations. Formal charges are averaged over resonance forms after Gilson, Gilson and Potter
2003, doi:10.1021/ci034148o, as its features ask.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any, NamedTuple

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, mean_over_atoms
from consilience.targets._foreign_pickle import read_torch_file
from consilience.targets._wheel import in_wheel

#: Weights, inside the wheel.
FILE = "models/am1bcc/openff-gnn-am1bcc-1.0.0.pt"
#: Settings of the published network.
ELEMENTS = ("C", "O", "H", "N", "S", "F", "Br", "Cl", "I", "P")
NEIGHBOURS, RINGS = 7, (3, 4, 5, 6)
HIDDEN, LAYERS = 512, 6
#: How the names of the graph layers' weights begin; what remains is the read-out of charges.
LAYER = "convolution_module.gcn_layers."


@target(
    Card(
        name="openff-nagl-am1bcc-1.0.0",
        family="nagl",
        modality="graph",
        title="OpenFF NAGL, AM1-BCC 1.0.0",
        revision="1.0.0",
        parameters=2_713_091,
        dimension=HIDDEN,
        layer="atoms after the last of 6 GraphSAGE layers (input of the charges' read-out)",
        pooling="mean over atoms, hydrogen included",
        trained_on=("Enamine-DDS", "ChEMBL", "ZINC", "NCI-250K", "PDB-ligands", "peptides"),
        level_of_theory="AM1-BCC ELF10",
        elements=ELEMENTS,
        licence_code="MIT",
        licence_weights="CC-BY-4.0",
        reference="10.5281/zenodo.15770227",
        source=f"file openff/nagl_models/{FILE} in the wheel of openff-nagl-models==2025.9.0",
        weights_sha256="7981e7f5b0b1e424c9e10a40d9e7606d96dcd3dd2b095cb4eeff6829f92238ee",
        accepts="an OpenFF NAGL model (.pt) with the published features and sizes",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        distinct=False,  # the features hold no bond orders and no chirality
        remark="Without the published file's table of charges for molecules of up to three heavy atoms.",
        resources=Resources(batch_size=128, memory_gib=2),
    ).with_corrections(parameters=2_647_040, total_parameters=2_713_091)
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build the graph layers; the read-out of charges is left out."""
    import torch
    from rdkit import Chem

    width = len(ELEMENTS) + NEIGHBOURS + 1 + len(RINGS)
    torch.manual_seed(weights.seed)
    layers: Any = torch.nn.ModuleList(_layer(width if i == 0 else HIDDEN) for i in range(LAYERS))
    if not weights.random:
        path = weights.file_or_published(in_wheel("openff.nagl_models", FILE))
        state = read_torch_file(path)["state_dict"]  # builds tensors only, hence safe with a user's file too
        layers.load_state_dict({k.removeprefix(LAYER): v for k, v in state.items() if k.startswith(LAYER)})
    layers.eval().to(device)

    def prepare(smiles: str) -> Graph:
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise ValueError("RDKit reads no molecule from the SMILES")
        molecule = Chem.AddHs(molecule)
        Chem.Kekulize(molecule)
        return graph_of(molecule)

    @torch.inference_mode()
    def forward(graphs: list[Graph]) -> tuple[Any, None]:
        counts = torch.tensor([len(graph.features) for graph in graphs])
        starts = counts.cumsum(0) - counts
        h = torch.tensor([row for graph in graphs for row in graph.features], device=device)
        ends = torch.tensor([(i + s, j + s) for g, s in zip(graphs, starts.tolist(), strict=True) for i, j in g.bonds])
        source, sink = torch.cat([ends.reshape(-1, 2), ends.reshape(-1, 2).flip(1)]).long().T.to(device)
        degree = torch.bincount(sink, minlength=len(h)).clamp(min=1)[:, None]
        for layer in layers:
            neighbours = torch.zeros_like(h).index_add(0, sink, h[source]) / degree
            h = torch.relu(layer["fc_self"](h) + layer["fc_neigh"](neighbours))
        return mean_over_atoms(h.cpu(), counts), None

    def save(path: Any) -> None:
        torch.save({"state_dict": {LAYER + key: value for key, value in layers.state_dict().items()}}, path)

    return embed_by_batch(prepare, forward, HIDDEN, save=save)


def _layer(width: int) -> Any:
    """One GraphSAGE layer with a mean over neighbours, initialised as NAGL does."""
    import torch

    own, neighbours = torch.nn.Linear(width, HIDDEN), torch.nn.Linear(width, HIDDEN, bias=False)
    for part in (own, neighbours):
        torch.nn.init.xavier_uniform_(part.weight, gain=torch.nn.init.calculate_gain("relu"))
    return torch.nn.ModuleDict({"fc_self": own, "fc_neigh": neighbours})


class Graph(NamedTuple):
    """A molecule as the network reads it."""

    features: list[list[float]]
    """Of each atom: element, number of neighbours, averaged formal charge, sizes of its rings."""
    bonds: list[tuple[int, int]]
    """Pairs of bonded atoms, each once."""


def graph_of(molecule: Any) -> Graph:
    """Features and bonds of an RDKit molecule with explicit hydrogen and Kekulé bonds."""
    foreign = {atom.GetSymbol() for atom in molecule.GetAtoms()} - set(ELEMENTS)
    if foreign:
        raise ValueError(f"elements not covered: {' '.join(sorted(foreign))}")
    rings = molecule.GetRingInfo()
    features = []
    for atom, charge in zip(molecule.GetAtoms(), averaged_charges(molecule), strict=True):
        element = [float(atom.GetSymbol() == symbol) for symbol in ELEMENTS]
        degree = [float(atom.GetDegree() == count) for count in range(NEIGHBOURS)]
        ring = [float(rings.IsAtomInRingOfSize(atom.GetIdx(), size)) for size in RINGS]
        features.append([*element, *degree, charge, *ring])
    return Graph(features, [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()])


#: Atoms that give (donors) or take (acceptors) an electron pair, by atomic number, formal charge and bond orders,
#: in the table of Gilson et al.; a charged one raises the form's energy, all by as much.
DONORS = {(8, -1, (1,)), (16, -1, (1,)), (7, 0, (1, 1, 1)), (7, -1, (1, 1)), (7, -1, (2,))}
ACCEPTORS = {(8, 0, (2,)), (16, 0, (2,)), (7, 1, (1, 1, 2)), (7, 0, (1, 2)), (7, 0, (3,))}

#: Forms after which a molecule is given up; the paths between large fused rings are too many to follow.
MOST_FORMS = 2000

#: A resonance form: formal charge of each atom, order of each bond.
Form = tuple[tuple[int, ...], tuple[int, ...]]


def averaged_charges(molecule: Any) -> list[float]:
    """Formal charge of each atom, averaged over the resonance forms with the fewest charged donors and acceptors.

    Electron pairs move along paths of alternating bonds from a donor to an acceptor. Parts of the molecule with no
    such path between them (kept apart by hydrogen and saturated carbon) are averaged one by one.
    """
    resonance = _Resonance(molecule)
    charges = [float(charge) for charge in resonance.first[0]]
    for part in resonance.parts():
        forms = resonance.lowest(part)
        for atom in part:
            charges[atom] = fmean(form[0][atom] for form in forms)
    return charges


class _Resonance:
    """Resonance forms of one molecule."""

    def __init__(self, molecule: Any) -> None:
        atoms = list(molecule.GetAtoms())
        self.numbers = [atom.GetAtomicNum() for atom in atoms]
        self.bonds_of = [
            [(bond.GetIdx(), bond.GetOtherAtomIdx(atom.GetIdx())) for bond in atom.GetBonds()] for atom in atoms
        ]
        charges = tuple(atom.GetFormalCharge() for atom in atoms)
        self.first: Form = (charges, tuple(round(bond.GetBondTypeAsDouble()) for bond in molecule.GetBonds()))

    def kind(self, form: Form, atom: int) -> tuple[int, int, tuple[int, ...]]:
        """Atomic number, formal charge and bond orders of an atom."""
        return self.numbers[atom], form[0][atom], tuple(sorted(form[1][bond] for bond, _ in self.bonds_of[atom]))

    def parts(self) -> list[set[int]]:
        """Connected atoms that electron pairs may pass through, where any of them is a charged donor or acceptor.

        (Without one the form given has the lowest energy already, and no other of that energy has other charges.)
        """
        saturated = (6, 0, (1, 1, 1, 1))
        left = {i for i, z in enumerate(self.numbers) if z != 1 and self.kind(self.first, i) != saturated}
        parts = []
        while left:
            part, border = set[int](), [left.pop()]
            while border:
                atom = border.pop()
                part.add(atom)
                border += [other for _, other in self.bonds_of[atom] if other in left]
                left -= set(border)
            if self.energy(self.first, part):
                parts.append(part)
        return parts

    def energy(self, form: Form, part: set[int]) -> int:
        """Number of charged donors and acceptors."""
        return sum(kind[1] != 0 for kind in (self.kind(form, atom) for atom in part) if kind in DONORS | ACCEPTORS)

    def lowest(self, part: set[int]) -> list[Form]:
        """Forms of lowest energy that differ in their charges."""
        found, new = {self.first}, [self.first]
        while new:
            form = new.pop()
            for other in self.transfers(form, part):
                if other not in found:
                    found.add(other)
                    new.append(other)
            if len(found) > MOST_FORMS:
                raise ValueError(f"more than {MOST_FORMS} resonance forms")
        energies = {form: self.energy(form, part) for form in found}
        least = min(energies.values())
        return list({form[0]: form for form in found if energies[form] == least}.values())

    def transfers(self, form: Form, part: set[int]) -> list[Form]:
        """Forms that one electron pair's move leads to."""
        kinds = {atom: self.kind(form, atom) for atom in part}
        moved: list[Form] = []
        paths: list[Form] = [((atom,), ()) for atom in part if kinds[atom] in DONORS]
        while paths:
            atoms, bonds = paths.pop()
            rising = len(bonds) % 2 == 0  # the first bond gains an order, the next loses it, and so on
            if bonds and rising and kinds[atoms[-1]] in ACCEPTORS:
                moved.append(self.moved(form, atoms, bonds))
            for bond, other in self.bonds_of[atoms[-1]]:
                order = form[1][bond]
                wanted = form[1][bonds[0]] + (not rising) if bonds else order
                if other in part and other not in atoms and order == wanted:
                    paths.append(((*atoms, other), (*bonds, bond)))
        return moved

    def moved(self, form: Form, atoms: tuple[int, ...], bonds: tuple[int, ...]) -> Form:
        """Form after an electron pair went from the first atom to the last."""
        charges, orders = list(form[0]), list(form[1])
        charges[atoms[0]] += 1
        charges[atoms[-1]] -= 1
        for place, bond in enumerate(bonds):
            orders[bond] += 1 if place % 2 == 0 else -1
        return tuple(charges), tuple(orders)
