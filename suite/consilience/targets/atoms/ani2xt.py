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
"""ANI-2xt: one network per element on symmetry functions (Liu et al. 2022, doi:10.1021/acs.jcim.2c00817)."""

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

FILE = "models/ani2xt_no_repulsion.pt"
HARTREE = 27.211386245988  # eV, as in Auto3D


@target(
    Card(
        name="ani-2xt",
        family="ani",
        modality="atoms",
        title="ANI-2xt",
        revision="Auto3D 2.3.1",
        parameters=1_713_223,
        dimension=864,
        layer="last hidden layer of each element's network, one block of columns per element",
        pooling="mean over all atoms, each contributing to its element's block",
        trained_on=("ANI-2x", "ANI-2xt tautomers"),
        elements=("H", "C", "N", "O", "F", "S", "Cl"),
        periodic=False,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1021/acs.jcim.2c00817",
        source=f"Auto3D/{FILE} in the wheel of Auto3D==2.3.1",
        weights_sha256="542e353061ad5ad1370206421008f2ecbf069b8690970656109d63b281b6cbaa",
        accepts="state_dict of Auto3D's ANI2xt saved with torch.save",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin="as published stay the elements' reference energies, which no row depends on",
        energy=True,
        remark="Its package does not state the level of theory of its training energies.",
        corrections=(("remark", None), ("twin", None)),
        resources=Resources(memory_gib=2, batch_size=32),
    ).with_corrections(parameters=1_712_352, total_parameters=1_713_223)
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; the network of an element is applied to that element's atoms alone."""
    import torch

    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenEye is not there, pkg_resources is deprecated
        from Auto3D.batch_opt.ANI2xt_no_rep import ANI2xt

        package = Path(find_spec("Auto3D").submodule_search_locations[0])  # type: ignore[union-attr,index]
        model = ANI2xt(torch.device(device), state_dict=weights.file_or_published(package / FILE))  # strict, safe
    descriptor, networks = model.model
    if weights.random:
        torch.manual_seed(weights.seed)
        for module in networks.modules():
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()
    model.eval().requires_grad_(False)
    shifts = model.shifter.self_energies.to(device)
    index = model.periodict2idx
    widths = [network[-1].in_features for network in networks.values()]
    starts = [sum(widths[:i]) for i in range(len(widths))]

    def prepare(atoms: Any) -> Any:
        require_molecule(atoms)
        species = torch.tensor([index[int(z)] for z in atoms.numbers])
        return species, torch.tensor(atoms.positions, dtype=torch.float32)

    def forward(molecules: list[Any]) -> tuple[Any, Any]:
        pad = torch.nn.utils.rnn.pad_sequence
        species = pad([s for s, _ in molecules], batch_first=True, padding_value=-1).to(device)
        positions = pad([xyz for _, xyz in molecules], batch_first=True).to(device)
        hidden = torch.zeros(*species.shape, sum(widths), dtype=torch.float64, device=device)
        energies = torch.zeros(species.shape, dtype=torch.float64, device=device)
        with torch.no_grad():
            symmetry = descriptor((species, positions)).aevs
            for i, network in enumerate(networks.values()):
                here = species == i
                last = network[:-1](symmetry[here])
                block = hidden[..., starts[i] : starts[i] + widths[i]]
                block[here] = last.double()
                energies[here] = network[-1](last).double().squeeze(-1) + shifts[i]
        counts = (species >= 0).sum(dim=1, keepdim=True)
        return hidden.sum(dim=1) / counts, energies.sum(dim=1) * HARTREE

    return embed_by_batch(
        prepare, forward, 864, card.elements, save=lambda path: torch.save(networks.state_dict(), path)
    )
