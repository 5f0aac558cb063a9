# /// script
# requires-python = ">=3.11"
# dependencies = ["aimnet==0.2.5", "ase==3.29.0", "torch==2.13.0"]
# ///
"""AIMNet2 from its own package: the B97-3c, open-shell, palladium and reaction models (doi:10.1039/D4SC08572H).

The wB97M-D3 model is in `aimnet2.py`, with weights that need no download.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, mean_over_atoms, require_molecule, require_trust

#: Elements of all models but two.
ORGANIC = ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "I")
#: Member 0 of each ensemble in the package's registry.
MEMBERS = {
    "aimnet2-b973c": "aimnet2-b973c-d3_0",
    "aimnet2-2025": "aimnet2-b973c-2025-d3_0",
    "aimnet2-nse": "aimnet2-nse_0",
    "aimnet2-pd": "aimnet2-pd_0",
    "aimnet2-rxn": "aimnet2-rxn_0",
}


def _card(name: str, title: str, sha256: str, folder: str, **facts: Any) -> Card:
    """Card of one model; `folder` and file are where the registry finds it, `sha256` what the registry expects."""
    return Card(
        **{
            "name": name,
            "family": "aimnet2",
            "modality": "atoms",
            "title": f"{title} (member 0)",
            "revision": f"{MEMBERS[name]} (registry of aimnet 0.2.5)",
            "dimension": 256,
            "layer": "atoms-in-molecules vector after the third pass (`aim`, input of the energy MLP)",
            "pooling": "mean over atoms",
            "elements": ORGANIC,
            "licence_code": "MIT",
            "licence_weights": "MIT",
            "reference": "10.1039/D4SC08572H",
            "source": f"https://storage.googleapis.com/aimnetcentral/aimnet2v2/{folder}",
            "access": "download",
            "weights_sha256": sha256,
            "accepts": "a file of AIMNet's format 2 (.pt); a TorchScript file (.jpt), which is a program",
            "reads": ("TorchScript", "state dict", "pickled objects"),
            "untrained": True,
            "twin": "architecture of the package's aimnet2.yaml; no dispersion term in the energy",
            "energy": True,
            "charge": "used",
            "resources": Resources(memory_gib=2, batch_size=64),
            **facts,
        }
    )


@target(
    _card(
        "aimnet2-b973c",
        "AIMNet2 B97-3c",
        "7ec7a3db67bd3a393ad59647d4020398deeb041c07dba1c9cf212d226268e549",
        "AIMNet2/aimnet2_b973c_d3_0.pt",
        level_of_theory="B97-3c",
        trained_on=("AIMNet2",),
        remark="Its authors recommend aimnet2-2025 in its place.",
    ),
    _card(
        "aimnet2-2025",
        "AIMNet2-2025 B97-3c",
        "043ed5418a104e31f79462f8e5ebeca64a2d24422174f5d29f894d32271981b5",
        "AIMNet2/aimnet2_2025_b973c_d3_0.pt",
        level_of_theory="B97-3c",
        reference="10.1088/2632-2153/aea39f",
    ),
    _card(
        "aimnet2-nse",
        "AIMNet2-NSE",
        "b98b3449b2a3765de6a188edff9344a38cc72df75f9d9bf68f4b898a253c5864",
        "AIMNet2NSE/aimnet2nse_wb97m_0.pt",
        level_of_theory="wB97M-D3/def2-TZVPP",
        reference="10.1002/anie.202516763",
        twin="architecture of the package's aimnet2.yaml with two charge channels; no dispersion term in the energy",
        remark="Charges of either spin: the multiplicity of the item is an input.",
    ),
    _card(
        "aimnet2-pd",
        "AIMNet2-Pd",
        "93f10dd5522e187d7d6aaf3b18d54c07746f5452c2e8063cf77fd0420dc39ebd",
        "AIMNet2Pd/aimnet2-pd_0.pt",
        elements=("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "Pd", "I"),
        level_of_theory="B97-3c, CPCM(THF)",
        reference="10.26434/chemrxiv-2025-n36r6",
    ),
    _card(
        "aimnet2-rxn",
        "AIMNet2-rxn",
        "ce8bc2a4cc6fcb5ebaa1bc8897fcd75104e5a00fe86e9d5fc6a020d572174894",
        "AIMNet2rxn/aimnet2_rxn_0.pt",
        elements=("H", "C", "N", "O"),
        level_of_theory="wB97M-D3/def2-TZVPP",
        twin="architecture of the package's aimnet2_rxn.yaml",
        charge="ignored",
        remark="Neutral molecules only: the package refuses a net charge.",
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; the charge, and the multiplicity where the model reads it, come from the item."""
    import torch

    with contextlib.redirect_stdout(sys.stderr):  # the first import compiles kernels and says so
        from aimnet.calculators import AIMNet2Calculator
        from aimnet.calculators.model_registry import get_registry_model_path
        from ase.data import chemical_symbols

        if weights.random:
            torch.manual_seed(weights.seed)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "twin.pt"
                torch.save(_untrained(card), path)
                calculator = AIMNet2Calculator(str(path), device=device)
                content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            path = weights.file_or_published(lambda: get_registry_model_path(MEMBERS[card.name]))
            program = path.suffix.lower() == ".jpt"
            if program:
                require_trust(weights)
            content = None if program else torch.load(path, map_location="cpu", weights_only=True)
            # By its name the registry also tells what older files leave open (dispersion, charges).
            source = str(path.resolve()) if weights.kind == "file" else MEMBERS[card.name]
            calculator = AIMNet2Calculator(source, device=device)
    calculator.keys_out = [*calculator.keys_out, "aim"]
    calculator.atom_feature_keys = [*calculator.atom_feature_keys, "aim"]  # the padding atom's row is dropped
    species = (calculator.metadata or {}).get("implemented_species")
    elements = tuple(chemical_symbols[z] for z in species) if species else card.elements

    def prepare(atoms: Any) -> Any:
        require_molecule(atoms)
        charge = float(atoms.info.get("charge", 0))
        if charge and (calculator.metadata or {}).get("supports_charged_systems") is False:
            raise ValueError(f"charge {charge:+g}: the model covers neutral molecules only")
        return atoms.positions, atoms.numbers, charge, float(atoms.info.get("spin", 1))

    def forward(molecules: list[Any]) -> tuple[Any, Any]:
        counts = torch.tensor([len(numbers) for _, numbers, _, _ in molecules])
        batch = {
            "coord": torch.tensor(np.concatenate([positions for positions, *_ in molecules]), dtype=torch.float32),
            "numbers": torch.tensor(np.concatenate([numbers for _, numbers, *_ in molecules])),
            "charge": torch.tensor([charge for *_, charge, _ in molecules]),
            "mol_idx": torch.arange(len(molecules)).repeat_interleave(counts),
        }
        if calculator.is_nse:
            batch["mult"] = torch.tensor([multiplicity for *_, multiplicity in molecules])
        with torch.no_grad():
            out = calculator(batch)
        return mean_over_atoms(out["aim"], counts.to(device)), out["energy"]

    def save(path: Path) -> None:
        torch.save({**content, "state_dict": calculator.model.state_dict()}, path)

    dimension = 256 if content is None else int(_kwargs(content)["aim_size"])
    return embed_by_batch(prepare, forward, dimension, elements, save=None if content is None else save)


def _kwargs(content: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the network, as the file of format 2 holds them."""
    import yaml

    return dict(yaml.safe_load(content["model_yaml"])["kwargs"])


def _untrained(card: Card) -> dict[str, Any]:
    """Content of a file of AIMNet's format 2 with freshly initialised weights, made as the package exports one."""
    import yaml
    from aimnet.config import build_module
    from aimnet.models.utils import strip_lr_modules_from_yaml
    from ase.data import atomic_numbers

    family = card.name.removeprefix("aimnet2-")
    package = Path(find_spec("aimnet").submodule_search_locations[0])  # type: ignore[union-attr,index]
    file = package / "models" / ("aimnet2_rxn.yaml" if family == "rxn" else "aimnet2.yaml")
    config = yaml.safe_load(file.read_text("utf-8"))
    config["kwargs"]["num_charge_channels"] = 2 if family == "nse" else 1
    # Long-range terms are the calculator's; the network keeps the short-range part of the Coulomb energy.
    config, mode, _, _, radius, envelope, _ = strip_lr_modules_from_yaml(config, {})
    text = yaml.dump(config, sort_keys=False)  # the order of the outputs is the order they run in
    return {
        "format_version": 2,
        "model_yaml": text,
        "state_dict": build_module(config).state_dict(),
        "cutoff": 5.0,
        "needs_coulomb": mode == "sr_embedded",
        "needs_dispersion": False,
        "coulomb_mode": mode,
        "coulomb_sr_rc": radius,
        "coulomb_sr_envelope": envelope,
        "has_embedded_lr": mode == "sr_embedded",
        "implemented_species": [atomic_numbers[symbol] for symbol in card.elements or ORGANIC],
        "family": "rxn" if family == "rxn" else None,
    }
