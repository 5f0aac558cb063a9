# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0", "msc-alphanet==0.1.3", "torch==2.13.0", "torch-geometric==2.8.1"]
# [tool.uv]
# override-dependencies = [
#     "torch==2.13.0",
#     "lightning ; sys_platform == 'never'",
#     "pyfiglet ; sys_platform == 'never'",
#     "rdkit ; sys_platform == 'never'",
#     "rich ; sys_platform == 'never'",
#     "scikit-learn ; sys_platform == 'never'",
#     "tensorboard ; sys_platform == 'never'",
#     "torch-scatter ; sys_platform == 'never'",
# ]
# ///
"""AlphaNet: local frames with learned transitions between them (Yin et al. 2025, arXiv:2501.07155).

The model is not invariant. It takes the 1-norm of vectors, which depends on the axes; in a crystal it measures atoms
against the mean position of their neighbours without regard to periodic images, and takes the nearest 50 neighbours
even where others lie as near.
"""

from __future__ import annotations

import contextlib
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, read_checkpoint
from consilience.targets.atoms._box import in_box

#: Configuration inside the wheel, and the file that its README names.
MODELS = {
    "alphanet-v1-mptrj": ("pretrained/MPtrj/mp.json", "https://ndownloader.figshare.com/files/53851133"),
    "alphanet-v1-oma": ("pretrained/OMA/oma.json", "https://ndownloader.figshare.com/files/53851139"),
}


def _card(name: str, title: str, **facts: Any) -> Card:
    return Card(
        name=name,
        family="alphanet",
        modality="atoms",
        title=title,
        dimension=176,
        layer="scalar atom features after the last layer (input of the read-out, beside its phases)",
        pooling="mean over atoms",
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        licence_code="GPL-3.0",
        reference="arXiv:2501.07155",
        source=MODELS[name][1],
        access="download",
        accepts="a state dict (.ckpt) of the same architecture",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        energy=True,
        invariant=False,
        rotation_deviation=5e-4,  # the untrained twin's, on 60 molecules and 60 crystals; so is the next
        supercell_deviation=5e-4,
        remark="Not invariant: the axes, and in crystals the origin and the cell, change the embedding. "
        "The declared figures are the untrained twin's; the trained model's have not been measured.",
        resources=Resources(memory_gib=4, batch_size=16),
        **facts,
    )


@target(
    _card("alphanet-v1-mptrj", "AlphaNet-v1-MPtrj", trained_on=("MPtrj",), licence_weights="CC-BY-4.0"),
    _card(
        "alphanet-v1-oma",
        "AlphaNet-v1-OMA",
        parameters=4_653_577,
        trained_on=("OMat24", "sAlex", "MPtrj"),
        licence_weights="GPL-3.0",
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules are put into a box (AlphaNet knows only periodic structures)."""
    import torch

    with contextlib.redirect_stdout(sys.stderr):
        _provide_torch_scatter()
        from alphanet.config import All_Config
        from alphanet.models.graph import process_positions_and_edges
        from alphanet.models.model import AlphaNetWrapper

        configuration, url = MODELS[card.name]
        package = Path(find_spec("alphanet").submodule_search_locations[0])  # type: ignore[union-attr,index]
        config = All_Config.from_json(package / configuration).model
        config.compute_forces = config.compute_stress = False
        torch.manual_seed(weights.seed)
        model = AlphaNetWrapper(config)
    if not weights.random:
        _load_state(model, read_checkpoint(weights, lambda: _download(url)))
    for module in model.modules():
        if hasattr(module, "device"):
            module.device = torch.device(device)  # the class takes a GPU wherever there is one
    model.to(device).eval().requires_grad_(False)
    caught: dict[str, Any] = {}
    model.model.last_layer.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0]))

    def prepare(atoms: Any) -> Any:
        boxed = in_box(atoms)
        positions = torch.tensor(boxed.get_positions(wrap=True), dtype=torch.float32)
        return positions, torch.tensor(boxed.numbers), torch.tensor(boxed.cell.array, dtype=torch.float32)

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        counts = torch.tensor([len(numbers) for _, numbers, _ in graphs], device=device)
        with torch.no_grad():
            data = process_positions_and_edges(
                pos=torch.cat([positions for positions, _, _ in graphs]).to(device),
                z=torch.cat([numbers for _, numbers, _ in graphs]).to(device),
                natoms=counts,
                batch=torch.arange(len(graphs), device=device).repeat_interleave(counts),
                cell=torch.stack([cell for _, _, cell in graphs]).to(device),
                use_pbc=True,
                cutoff=config.cutoff,
            )
            energies, _, _ = model.model(data, "infer")
        return mean_over_atoms(caught.pop("x"), counts), energies.reshape(-1)

    def save(path: Path) -> Path:
        path = path.with_suffix(".ckpt")
        torch.save(model.state_dict(), path)
        return path

    return embed_by_batch(prepare, forward, config.hidden_channels, card.elements, save=save)


def _provide_torch_scatter() -> None:
    """Stand in for torch-scatter, which has to be compiled, with what PyTorch Geometric brings."""
    import torch
    from torch_geometric.utils import scatter

    def segment_coo(values: Any, index: Any, dim_size: Any) -> Any:
        return scatter(values, index, dim=0, dim_size=int(dim_size))

    def segment_csr(values: Any, bounds: Any) -> Any:
        return torch.nn.functional.pad(values.cumsum(0), (1, 0))[bounds].diff()  # of numbers of neighbours: integers

    module = types.ModuleType("torch_scatter")
    module.scatter = scatter  # type: ignore[attr-defined]
    module.scatter_add = scatter  # type: ignore[attr-defined]
    module.segment_coo = segment_coo  # type: ignore[attr-defined]
    module.segment_csr = segment_csr  # type: ignore[attr-defined]
    sys.modules.setdefault("torch_scatter", module)


def _load_state(model: Any, state: dict[str, Any]) -> None:
    """Load weights; constants of the repulsion at short range, which older files lack, keep their values."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if "fzbl_" not in name]
    if missing or unexpected:
        raise ValueError(f"the file does not fit: lacks {missing[:3]}, has {unexpected[:3]}")


def _download(url: str) -> Path:
    """Fetch a file once into torch's cache."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / f"alphanet-{url.rpartition('/')[2]}.ckpt"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    return path
