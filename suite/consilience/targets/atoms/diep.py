# /// script
# requires-python = ">=3.11"
# dependencies = ["diep==2.0.0", "torch==2.13.0"]
# ///
"""DIEP: graph network on electron-ion potential maps (Tawfik et al. 2024, doi:10.1039/D4DD00246F)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, read_checkpoint

FOLDER = "pretrained_models/diep_fold1"
SETTINGS = ("data_mean", "data_std", "element_refs", "calc_repuls", "use_edges")


@target(
    Card(
        name="diep-fold1",
        family="diep",
        descends_from="m3gnet",
        corrections=(("descends_from", None), ("twin", None)),
        modality="atoms",
        title="DIEP (MatPES r2SCAN, fold 1)",
        revision="diep 2.0.0",
        parameters=403_181,
        dimension=64,
        layer="atom features after the third graph layer (input of final_layer)",
        pooling="mean over atoms",
        trained_on=("MatPES-r2SCAN",),
        level_of_theory="r2SCAN",
        elements=ELEMENTS_89,
        licence_code="BSD-3-Clause",
        licence_weights="BSD-3-Clause",
        reference="10.1039/D4DD00246F",
        source=f"diep/{FOLDER}/state.pt in the wheel of diep==2.0.0",
        weights_sha256="3be1df5dbe3d15e1d35a2ca1d3c50a6b212ea2d248c89e02d84fa780eb609576",
        accepts="state_dict of diep's Potential around a DIEP of the published configuration (state.pt)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin="as published stay mean, scale and elements' references of the energies, which no row depends on",
        energy=True,
        resources=Resources(memory_gib=4, batch_size=8),
    ).with_corrections(parameters=378_091, total_parameters=403_181)
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    import torch
    from diep.apps.pes import Potential
    from diep.ext.ase import Atoms2Graph
    from diep.models import DIEP
    from torch_geometric.data import Batch

    folder = Path(find_spec("diep").submodule_search_locations[0]) / FOLDER  # type: ignore[union-attr,index]
    state = read_checkpoint(weights, folder / "state.pt")
    settings = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
    torch.manual_seed(weights.seed)
    # Mean, scale and element references belong to the configuration; the untrained twin keeps them.
    network = DIEP(**settings["model"]["init_args"])
    model = Potential(network, **{key: settings[key] for key in SETTINGS}, calc_forces=False, calc_stresses=False)
    if not weights.random:
        model.load_state_dict(state, strict=True)
    network.diep_integrator.forward = _integrator(network.diep_integrator)
    model.to(device).eval().requires_grad_(False)
    converter = Atoms2Graph(network.element_types, network.cutoff)
    caught: dict[str, Any] = {}
    network.final_layer.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0].node_feat))

    def prepare(atoms: Any) -> Any:
        wrapped = atoms.copy()
        wrapped.wrap()  # atoms far outside the cell make the neighbour search slow, not wrong
        graph, lattice = converter.get_graph(wrapped)[:2]
        source, destination = graph.edge_index
        xyz = torch.as_tensor(wrapped.positions)
        cell = torch.as_tensor(wrapped.cell.array)
        graph.bond_vec64 = xyz[destination] - xyz[source] + graph.pbc_offset.double() @ cell
        return graph, lattice

    def forward(pairs: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list([graph for graph, _ in pairs]).to(device)
        lattices = torch.cat([lattice for _, lattice in pairs]).to(device)
        with torch.no_grad():
            energies = model(batch, lattices)[0]
        return mean_over_atoms(caught.pop("x"), torch.bincount(batch.batch, minlength=len(pairs))), energies

    return embed_by_batch(prepare, forward, 64, card.elements, save=lambda path: torch.save(model.state_dict(), path))


def _integrator(integrator: Any) -> Any:
    """Make an equivalent of the integrator's `forward`: invariant, and several times as fast.

    DIEP draws each triplet of atoms on a 2D grid in a frame chosen by its edge lengths; elements decide
    between lengths equal within 1e-6 angstrom. In single precision rounding decides instead, and a rotated
    crystal gets other features (1e-3 of the norm); so the frames are found from bond vectors in double
    precision. The maps are made of functions of x and of y alone, which spares most work on the grid.
    """
    import torch
    from diep.layers._diep_core import DIEPGrid, _canonicalize_triplets_batch

    setting = (integrator.mode, integrator.use_effective_charge, integrator.triplet_frame)
    if setting != ("grid", True, "canonical"):
        raise ValueError(f"DIEP: integrator setting {setting} is not provided for")

    def maps(points: Any, charges: Any) -> Any:
        """Density times potential on the grid: points (n, k, 2), charges (n, k) -> (n, grid)."""
        grid = DIEPGrid(integrator.grid_half_length, integrator.base_spacing, points.device)
        square = (points.unsqueeze(-1) - grid.axis) ** 2  # (n, k, 2, axis)
        x, y = square.unbind(dim=2)
        gauss_x, gauss_y = torch.exp(-x / integrator.sigma), torch.exp(-y / integrator.sigma)
        density = torch.bmm(gauss_y.transpose(1, 2), gauss_x) / (torch.pi * integrator.sigma)
        y = y + integrator.softening_epsilon**2
        potential = torch.zeros_like(density)
        for atom in range(points.shape[1]):
            inverse = (y[:, atom, :, None] + x[:, atom, None, :]).rsqrt_()
            potential.addcmul_(inverse, charges[:, atom, None, None])
        return density.mul_(potential).mul_(grid.delta_area).flatten(start_dim=1)

    def forward(data: Any, atomic_numbers: Any, compute_triplets: bool = True) -> Any:
        source, destination = data.edge_index
        charges = atomic_numbers.sqrt()
        half = data.bond_vec64.norm(dim=1).float() / 2
        zero = torch.zeros_like(half)
        ends = torch.stack([torch.stack([-half, zero], dim=1), torch.stack([half, zero], dim=1)], dim=1)
        bonds = maps(ends, torch.stack([charges[source], charges[destination]], dim=1))
        first, second = data.triple_index
        centre = torch.zeros_like(data.bond_vec64[first])
        triangles = torch.stack([data.bond_vec64[first], centre, data.bond_vec64[second]], dim=1)
        atoms = torch.stack([destination[first], source[first], destination[second]], dim=1)
        points, numbers = _canonicalize_triplets_batch(triangles, atomic_numbers[atoms])
        return bonds, maps(points, numbers.sqrt())

    return forward
