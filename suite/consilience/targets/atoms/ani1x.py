# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "Auto3D==2.3.1",
#     "ase==3.29.0",
#     "rdkit==2026.9.1",
#     "setuptools==80.9.0",
#     "torch==2.13.0",
#     "torchani==2.2.4",
# ]
# ///
"""ANI-1x: eight networks per element on symmetry functions (Smith et al. 2018, doi:10.1063/1.5023802).

The environment is that of `ani2xt`. Of the models that torchani==2.2.4 names, this is the only one whose files are
in the wheel, and they are read one by one: the index that `torchani.models.ANI1x` asks for is empty there.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, require_molecule

FOLDER = "resources/ani-1x_8x"
CONSTANTS = "rHCNO-5.2R_16-3.5A_a4-8.params"
MEMBERS = 8
HARTREE = 27.211386245988  # eV


@target(
    Card(
        name="ani-1x",
        family="ani",
        modality="atoms",
        title="ANI-1x",
        revision="torchani 2.2.4, members side by side",
        former_revisions=("torchani 2.2.4",),
        parameters=2_613_280,
        dimension=3_072,
        layer="last hidden layer of each element's network, one block of columns per element, the eight members of the "
        "ensemble side by side (what the average of their read-outs takes)",
        pooling="mean over all atoms, each contributing to its element's block",
        trained_on=("ANI-1x",),
        level_of_theory="wB97X/6-31G*",
        elements=("H", "C", "N", "O"),
        periodic=False,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1063/1.5023802",
        source=f"torchani/{FOLDER}, a folder in the wheel of torchani==2.2.4",
        weights_sha256="d565549f54b799c504e773dfcbaddc7455c237cc44b08cee7509927043674085",
        accepts="state_dict of a torchani Ensemble of eight ANI-1x networks, saved with torch.save",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin="as published stay the elements' reference energies, which no row depends on",
        energy=True,
        corrections=(("twin", None),),
        resources=Resources(memory_gib=2, batch_size=32),
    ).with_corrections(parameters=2_610_176, total_parameters=2_613_280)
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; the networks of an element are applied to that element's atoms alone."""
    import torch

    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources is deprecated, optional extensions are not there
        from torchani import AEVComputer, neurochem

    folder = Path(find_spec("torchani").submodule_search_locations[0]) / FOLDER  # type: ignore[union-attr,index]
    constants = neurochem.Constants(folder / CONSTANTS)
    descriptor = AEVComputer(**constants).to(device)
    shifts = neurochem.load_sae(folder / "sae_linfit.dat").self_energies.to(device)
    ensemble = neurochem.load_model_ensemble(constants.species, str(folder / "train"), MEMBERS)
    if weights.random:
        torch.manual_seed(weights.seed)
        for module in ensemble.modules():
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()
    else:
        path = weights.file_or_published(folder)
        if weights.kind == "file":
            ensemble.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))  # strict, safe
    ensemble.to(device).eval().requires_grad_(False)
    index = {symbol: i for i, symbol in enumerate(constants.species)}
    widths = [ensemble[0][symbol][-1].in_features for symbol in constants.species]
    starts = [sum(widths[:i]) for i in range(len(widths))]

    def prepare(atoms: Any) -> Any:
        require_molecule(atoms)
        species = torch.tensor([index[symbol] for symbol in atoms.get_chemical_symbols()])
        return species, torch.tensor(atoms.positions, dtype=torch.float32)

    def forward(molecules: list[Any]) -> tuple[Any, Any]:
        pad = torch.nn.utils.rnn.pad_sequence
        species = pad([s for s, _ in molecules], batch_first=True, padding_value=-1).to(device)
        positions = pad([xyz for _, xyz in molecules], batch_first=True).to(device)
        hidden = torch.zeros(*species.shape, MEMBERS, sum(widths), dtype=torch.float64, device=device)
        energies = torch.zeros(species.shape, dtype=torch.float64, device=device)
        with torch.no_grad():
            symmetry = descriptor((species, positions)).aevs
            for i, symbol in enumerate(constants.species):
                here = species == i
                networks = [member[symbol] for member in ensemble]
                last = [network[:-1](symmetry[here]) for network in networks]
                block = hidden[..., starts[i] : starts[i] + widths[i]]
                block[here] = torch.stack(last, dim=1).double()  # units of two members do not correspond
                atomic = [network[-1](values) for network, values in zip(networks, last, strict=True)]
                energies[here] = torch.stack(atomic).double().mean(dim=0).squeeze(-1) + shifts[i]
        counts = (species >= 0).sum(dim=1, keepdim=True)
        return hidden.sum(dim=1).flatten(1) / counts, energies.sum(dim=1) * HARTREE

    return embed_by_batch(
        prepare,
        forward,
        MEMBERS * sum(widths),
        card.elements,
        save=lambda path: torch.save(ensemble.state_dict(), path),
    )
