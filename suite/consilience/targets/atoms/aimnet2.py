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
        untrained=True,
        twin="weights drawn in the traced network, as aimnet 0.2.5 draws them: orthogonal element vectors, random sine "
        "waves, normal matrices (Xavier); no energies of atoms",
        energy=True,
        charge="used",
        corrections=(("charge", "ignored"), ("twin", None), ("untrained", False)),
        resources=Resources(memory_gib=2, batch_size=32),
    ).with_corrections(parameters=2_155_974, total_parameters=2_205_557)
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; the network reads the total charge."""
    import torch

    require_trust(weights)  # a TorchScript file is a program
    package = Path(find_spec("Auto3D").submodule_search_locations[0])  # type: ignore[union-attr,index]
    path = weights.file_or_published(package / FILE)
    model = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    if weights.random:
        _draw(model, weights.seed)

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


def _draw(model: Any, seed: int) -> None:
    """Draw all that is learned anew; cutoffs, radial grid and the tables of D3 stay."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, values in model.named_parameters():
            kind = name.rpartition(".")[2]
            if name == "afv.weight":  # one vector per element, the same for each radial shift; row 0 pads
                features = values.shape[1] // len(model.aev.shifts_s)
                vectors = torch.zeros(len(values), features)
                torch.nn.init.orthogonal_(vectors[1:])
                values.copy_(vectors.repeat_interleave(len(model.aev.shifts_s), dim=1))
            elif kind == "agh":
                values.copy_(torch.stack([_waves(*values.shape[1:]) for _ in values]))
            elif kind == "weight" and "mlp" in name:
                torch.nn.init.xavier_normal_(values)
            elif kind == "bias" or name == "outputs.atomic_shift.shifts.weight":
                values.zero_()


def _waves(length: int, number: int) -> Any:
    """(length, number) random sine waves, far apart from each other: of eight times as many, the most distant."""
    import torch

    a, b, c, d = torch.randn(8 * number, 4)[:, None].unbind(-1)
    x = 2 * torch.pi * torch.arange(length) / length
    waves = a * torch.sin(b * x) + c * torch.cos(d * x)
    waves = (waves - waves.mean(dim=-1, keepdim=True)) / waves.std(dim=-1, keepdim=True)
    distances = torch.cdist(waves, waves)
    chosen = [int(distances.sum(dim=-1).argmax())]
    while len(chosen) < number:
        nearest = distances[chosen].min(dim=0).values
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return waves[chosen].T
