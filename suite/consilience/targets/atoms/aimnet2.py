# /// script
# requires-python = ">=3.11"
# dependencies = ["Auto3D==2.3.1", "ase==3.29.0", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = [
#     "Send2Trash ; sys_platform == 'never'",
#     "psutil ; sys_platform == 'never'",
#     "pyyaml ; sys_platform == 'never'",
#     "tqdm ; sys_platform == 'never'",
# ]
# ///
"""AIMNet2: atoms-in-molecules network with charges (Anstine et al. 2025, doi:10.1039/D4SC08572H).

Of Auto3D only the TorchScript file is used, never its code; hence what Auto3D depends on is left out.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, require_molecule, require_trust

FILE = "models/aimnet2_wb97m-d3_0.jpt"


@target(
    Card(
        name="aimnet2-wb97m-d3",
        family="aimnet2",
        modality="atoms",
        title="AIMNet2 wB97M-D3 (member 0)",
        revision="Auto3D 2.3.1, charge read",
        former_revisions=("Auto3D 2.3.1",),
        parameters=2_205_557,  # without the tables of D3 and the fixed constants that the file holds too
        dimension=256,
        layer="atoms-in-molecules vector after the third pass (`aim`, input of the energy MLP)",
        pooling="mean over atoms",
        trained_on=("AIMNet2",),
        level_of_theory="wB97M-D3/def2-TZVPP",
        elements=("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "I"),
        periodic=False,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1039/D4SC08572H",
        source=f"Auto3D/{FILE} in the wheel of Auto3D==2.3.1",
        weights_sha256="a6d366b05c5997668f24a834584b4033d0cab67d13d2f8caf143b965018d3735",
        accepts="TorchScript file of AIMNet2 whose outputs hold `aim` and `energy` (runs code: has to be trusted)",
        reads=("TorchScript",),
        energy=True,
        charge="used",
        corrections=(("charge", "ignored"),),
        resources=Resources(memory_gib=2, batch_size=32),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; the network reads the total charge."""
    import torch

    require_trust(weights)  # a TorchScript file is a program
    package = Path(find_spec("Auto3D").submodule_search_locations[0])  # type: ignore[union-attr,index]
    path = weights.file_or_published(package / FILE)
    model = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]

    def prepare(atoms: Any) -> Any:
        require_molecule(atoms)
        positions = torch.tensor(atoms.positions, dtype=torch.float32)
        return positions, torch.tensor(atoms.numbers, dtype=torch.long), float(atoms.info.get("charge", 0))

    def forward(molecules: list[Any]) -> tuple[Any, Any]:
        # The model masks atoms of number zero: their rows of `aim` are zero.
        pad = torch.nn.utils.rnn.pad_sequence
        positions = pad([xyz for xyz, _, _ in molecules], batch_first=True).to(device)
        numbers = pad([z for _, z, _ in molecules], batch_first=True).to(device)
        charge = torch.tensor([charge for *_, charge in molecules], device=device)
        with torch.no_grad():
            out = model({"coord": positions, "numbers": numbers, "charge": charge})
        return out["aim"].double().sum(dim=1) / (numbers > 0).sum(dim=1, keepdim=True), out["energy"]

    return embed_by_batch(prepare, forward, 256, card.elements, save=lambda path: model.save(str(path)))
