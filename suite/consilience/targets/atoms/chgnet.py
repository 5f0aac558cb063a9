# /// script
# requires-python = ">=3.11"
# dependencies = ["chgnet==0.4.2", "torch==2.13.0"]
# ///
"""CHGNet: charge-informed graph network with angles (Deng et al. 2023, doi:10.1038/s42256-023-00716-3)."""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets.atoms._batch import ELEMENTS_89, embed_by_batch, read_checkpoint
from consilience.targets.atoms._box import in_box

#: Checkpoint of each card, inside the wheel.
FILES = {"chgnet-0.3.0": "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"}


@target(
    Card(
        name="chgnet-0.3.0",
        family="chgnet",
        modality="atoms",
        title="CHGNet 0.3.0",
        revision="0.3.0 (chgnet 0.4.2)",
        parameters=412_525,
        dimension=64,
        layer="atom features after the last convolution, normalised (input of the energy MLP)",
        pooling="mean over atoms",
        trained_on=("MPtrj",),
        level_of_theory="PBE/PBE+U (Materials Project corrections)",
        elements=ELEMENTS_89,
        licence_code="BSD-3-Clause-LBNL",
        licence_weights="BSD-3-Clause-LBNL",
        reference="10.1038/s42256-023-00716-3",
        source=f"chgnet/{FILES['chgnet-0.3.0']} in the wheel of chgnet==0.4.2",
        weights_sha256="d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
        untrained=True,
        energy=True,
        resources=Resources(memory_gib=2, batch_size=32),
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules are put into a box (CHGNet knows only periodic structures)."""
    import torch
    from chgnet.model import CHGNet
    from pymatgen.io.ase import AseAtomsAdaptor

    package = Path(find_spec("chgnet").submodule_search_locations[0])  # type: ignore[union-attr,index]
    state = read_checkpoint(weights, package / FILES[card.name])["model"]
    # The two arguments that the checkpoint leaves open, as CHGNet.load sets them.
    arguments = {"mlp_out_bias": card.name == "chgnet-0.2.0", **state["model_args"]}
    torch.manual_seed(weights.seed)
    with contextlib.redirect_stdout(sys.stderr):
        model = CHGNet(**arguments)
    # The untrained twin keeps what the constructor sets: the linear atom references fitted to MPtrj energies.
    if not weights.random:
        model.load_state_dict(state["state_dict"], strict=True)
    model.to(device).eval()

    def prepare(atoms: Any) -> Any:
        return model.graph_converter(AseAtomsAdaptor.get_structure(in_box(atoms)))

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        counts = torch.tensor([len(graph.atomic_number) for graph in graphs], device=device)
        with torch.no_grad():
            out = model([graph.to(device) for graph in graphs], task="e", return_crystal_feas=True)
        # Energies come per atom, crystal features as sums over atoms.
        return out["crystal_fea"] / counts[:, None], out["e"] * counts

    return embed_by_batch(prepare, forward, 64, card.elements)
