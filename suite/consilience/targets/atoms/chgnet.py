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
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, read_checkpoint
from consilience.targets.atoms._box import in_box

#: Checkpoint of each card, inside the wheel.
FILES = {
    "chgnet-0.3.0": "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "chgnet-0.2.0": "pretrained/0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
    "chgnet-r2scan": "pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}


def _card(name: str, **fields: Any) -> Card:
    """Card of one of the checkpoints in the wheel."""
    common: dict[str, Any] = {
        "parameters": 412_525,
        "layer": "atom features after the last convolution, normalised (input of the energy MLP)",
        "trained_on": ("MPtrj",),
        "level_of_theory": "PBE/PBE+U (Materials Project corrections)",
        "reference": "10.1038/s42256-023-00716-3",
    }
    return Card(
        name=name,
        family="chgnet",
        modality="atoms",
        dimension=64,
        pooling="mean over atoms",
        elements=ELEMENTS_89,
        licence_code="BSD-3-Clause-LBNL",
        licence_weights="BSD-3-Clause-LBNL",
        source=f"chgnet/{FILES[name]} in the wheel of chgnet==0.4.2",
        accepts="checkpoint of chgnet's Trainer (.pth.tar: a dict with `model`, holding `model_args` and `state_dict`)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        energy=True,
        resources=Resources(memory_gib=2, batch_size=32),
        **(common | fields),
    )


@target(
    *(
        card.with_corrections(twin="as published stay the elements' reference energies, which no row depends on")
        for card in (
            _card(
                "chgnet-0.3.0",
                title="CHGNet 0.3.0",
                revision="0.3.0 (chgnet 0.4.2)",
                weights_sha256="d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
            )
            .with_corrections(parameters=366_669, total_parameters=412_525)
            .with_corrections(
                benchmarks=(
                    {
                        "benchmark": "Matbench Discovery",
                        "figure": "F1, unique prototypes",
                        "value": 0.613,
                        "higher_is_better": True,
                        "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                        "chgnet/chgnet-0.3.0.yml",
                    },
                    {
                        "benchmark": "Matbench Discovery",
                        "figure": "kappa SRME",
                        "value": 1.7167,
                        "higher_is_better": False,
                        "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                        "chgnet/chgnet-0.3.0.yml",
                    },
                )
            ),
            _card(
                "chgnet-0.2.0",
                title="CHGNet 0.2.0 (the model of the paper)",
                revision="0.2.0 (chgnet 0.4.2)",
                parameters=400_438,
                layer="atom features after the last convolution (input of the energy MLP)",
                weights_sha256="ef624f78b6db9d315b4ef256f1bb3207449924191b91720dc17d3f60c5df980e",
            ).with_corrections(parameters=358_998, total_parameters=400_438),
            _card(
                "chgnet-r2scan",
                title="CHGNet r2SCAN (0.3.0, fine-tuned)",
                revision="r2scan (chgnet 0.4.2)",
                trained_on=("MPtrj", "MP-r2SCAN"),
                level_of_theory="r2SCAN (fine-tuned from PBE/PBE+U)",
                reference="10.1038/s41524-025-01796-y",
                weights_sha256="8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad",
            ).with_corrections(parameters=366_669, total_parameters=412_525),
        )
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules are put into a box (CHGNet knows only periodic structures)."""
    import torch
    from chgnet.model import CHGNet
    from pymatgen.io.ase import AseAtomsAdaptor

    package = Path(find_spec("chgnet").submodule_search_locations[0])  # type: ignore[union-attr,index]
    state = read_checkpoint(weights, package / FILES[card.name])["model"]
    # The published files leave this argument open: in 0.2.0 alone the convolutions end with a bias.
    biased = any(".mlp_out." in key and key.endswith(".bias") for key in state["state_dict"])
    arguments = {"mlp_out_bias": biased, **state["model_args"]}
    torch.manual_seed(weights.seed)
    with contextlib.redirect_stdout(sys.stderr):
        model = CHGNet(**arguments)
    # The untrained twin keeps what the constructor sets: the linear atom references fitted to DFT energies.
    if not weights.random:
        model.load_state_dict(state["state_dict"], strict=True)
    model.to(device).eval()

    def prepare(atoms: Any) -> Any:
        return model.graph_converter(AseAtomsAdaptor.get_structure(in_box(atoms)))

    def run(graphs: list[Any]) -> tuple[Any, Any]:
        counts = torch.tensor([len(graph.atomic_number) for graph in graphs], device=device)
        with torch.no_grad():
            out = model([graph.to(device) for graph in graphs], task="e", return_crystal_feas=True)
        # Where the MLP comes before pooling, crystal features are sums over atoms; energies mostly come per atom.
        features = out["crystal_fea"] / counts[:, None] if model.mlp_first else out["crystal_fea"]
        return features, out["e"] * counts if model.is_intensive else out["e"]

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        # The model skips its bond layers where no graph of the batch has an angle. With a bias that makes a difference
        # to a graph without angles: it would depend on the others of its batch.
        bent = [len(graph.bond_graph) > 0 for graph in graphs]
        if not biased or len(set(bent)) == 1:
            return run(graphs)
        features = torch.empty(len(graphs), width, device=device)
        energies = torch.empty(len(graphs), device=device)
        for kind in (True, False):
            here = [i for i in range(len(graphs)) if bent[i] is kind]
            features[here], energies[here] = run([graphs[i] for i in here])
        return features, energies

    def save(path: Path) -> None:
        torch.save({"model": model.as_dict()}, path)

    width = next(model.mlp.parameters()).shape[1]
    return embed_by_batch(prepare, forward, width, card.elements, save=save)
