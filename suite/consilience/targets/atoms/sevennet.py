# /// script
# requires-python = ">=3.11"
# dependencies = ["sevenn==0.13.0", "torch==2.13.0"]
# ///
"""SevenNet: scalable NequIP-type equivariant network (Park et al. 2024, doi:10.1021/acs.jctc.4c00190)."""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets.atoms._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, require_trust

#: Checkpoint of each card, inside the wheel.
FILES = {"sevennet-0": "pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth"}


@target(
    Card(
        name="sevennet-0",
        family="sevennet",
        modality="atoms",
        title="SevenNet-0 (11 July 2024)",
        revision="11Jul2024 (sevenn 0.13.0)",
        parameters=842_623,
        dimension=128,
        layer="scalar atom features after the fifth interaction (input of reduce_input_to_hidden)",
        pooling="mean over atoms",
        trained_on=("MPtrj",),
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1021/acs.jctc.4c00190",
        source=f"sevenn/{FILES['sevennet-0']} in the wheel of sevenn==0.13.0",
        weights_sha256="7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36",
        untrained=True,
        energy=True,
        resources=Resources(memory_gib=4, batch_size=16),
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    import torch
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.checkpoint import SevenNetCheckpoint
    from sevenn.model_build import build_E3_equivariant_model
    from sevenn.train.dataload import unlabeled_atoms_to_graph
    from torch_geometric.data import Batch

    require_trust(weights)  # SevenNet's checkpoints hold pickled objects
    package = Path(find_spec("sevenn").submodule_search_locations[0])  # type: ignore[union-attr,index]
    with contextlib.redirect_stdout(sys.stderr):
        checkpoint = SevenNetCheckpoint(weights.file_or_published(package / FILES[card.name]))
        model = checkpoint.build_model()  # strict
        if weights.random:
            torch.manual_seed(weights.seed)
            fresh = build_E3_equivariant_model(checkpoint.config)
            # Statistics of the data, not weights: the convolutions' denominators (zero in the configuration)
            # and the energies' scale and shift per element.
            kept = {key: value for key, value in model.named_parameters() if not value.requires_grad}
            fresh.load_state_dict({**fresh.state_dict(), **kept}, strict=True)
            model = fresh
    model.delete_module_by_key("force_output")  # energies only: no gradients
    model.key_grad = None
    model.set_is_batch_data(True)
    model.to(device).eval().requires_grad_(False)
    caught: dict[str, Any] = {}
    model._modules["reduce_input_to_hidden"].register_forward_pre_hook(
        lambda _, inputs: caught.update(x=inputs[0]["x"])
    )

    def prepare(atoms: Any) -> Any:
        return AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, model.cutoff))

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list(graphs).to(device)
        with torch.no_grad():
            out = model(batch)
        counts = torch.bincount(batch["batch"], minlength=len(graphs))
        return mean_over_atoms(caught.pop("x"), counts), out["inferred_total_energy"]

    return embed_by_batch(prepare, forward, 128, card.elements)
