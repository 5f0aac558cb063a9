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
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, require_trust

#: Checkpoint of each card, inside the wheel.
FILES = {
    "sevennet-0": "pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "sevennet-0-22may2024": "pretrained_potentials/SevenNet_0__22May2024/checkpoint_sevennet_0.pth",
    "sevennet-l3i5": "pretrained_potentials/SevenNet_l3i5/checkpoint_l3i5.pth",
    "sevennet-mf-0-pbe": "pretrained_potentials/SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
    "sevennet-mf-0-r2scan": "pretrained_potentials/SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
}
#: The level of theory that a multi-fidelity model is asked for.
MODALS = {"sevennet-mf-0-pbe": "PBE", "sevennet-mf-0-r2scan": "R2SCAN"}


def _card(name: str, **fields: Any) -> Card:
    """Card of one of the checkpoints in the wheel."""
    common: dict[str, Any] = {
        "parameters": 842_623,
        "trained_on": ("MPtrj",),
        "level_of_theory": "PBE/PBE+U",
        "reference": "10.1021/acs.jctc.4c00190",
        "accepts": "checkpoint of sevenn's trainer for one level of theory (a pickle: has to be trusted)",
        "reads": ("state dict", "Lightning checkpoint", "pickled objects"),
        "resources": Resources(memory_gib=4, batch_size=16),
    }
    return Card(
        name=name,
        family="sevennet",
        modality="atoms",
        dimension=128,
        layer="scalar atom features after the fifth interaction (input of reduce_input_to_hidden)",
        pooling="mean over atoms",
        elements=ELEMENTS_89,
        licence_code="MIT",
        licence_weights="MIT",
        source=f"sevenn/{FILES[name]} in the wheel of sevenn==0.13.0",
        untrained=True,
        energy=True,
        **(common | fields),
    )


def _multi_fidelity(name: str, theory: str) -> Card:
    """Card of SevenNet-MF-0 asked for one of its two levels of theory."""
    return _card(
        name,
        title=f"SevenNet-MF-0, {theory}",
        revision="MF-0 (sevenn 0.13.0)",
        parameters=846_168,
        trained_on=("MPtrj", "Materials-Project-r2SCAN"),
        level_of_theory=f"{theory} (trained on PBE/PBE+U and r2SCAN at once)",
        reference="10.1021/jacs.4c14455",
        weights_sha256="81791329b37d445f46b531578c182c41792d98c7814222c9e5dde276402225fd",
        accepts=f"checkpoint of sevenn's trainer with a modal {MODALS[name]} (a pickle: has to be trusted)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
    )


@target(
    *(
        card.with_corrections(
            twin="as published stay the mean number of neighbours by which convolutions divide, and the energies' "
            "scale and shift"
        )
        for card in (
            _card(
                "sevennet-0",
                title="SevenNet-0 (11 July 2024)",
                revision="11Jul2024 (sevenn 0.13.0)",
                weights_sha256="7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36",
            )
            .with_corrections(parameters=834_189, total_parameters=842_623)
            .with_corrections(
                benchmarks=(
                    {
                        "benchmark": "Matbench Discovery",
                        "figure": "F1, unique prototypes",
                        "value": 0.724,
                        "higher_is_better": True,
                        "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                        "sevennet/sevennet-0.yml",
                    },
                    {
                        "benchmark": "Matbench Discovery",
                        "figure": "kappa SRME",
                        "value": 0.762,
                        "higher_is_better": False,
                        "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                        "sevennet/sevennet-0.yml",
                    },
                )
            ),
            _card(
                "sevennet-0-22may2024",
                title="SevenNet-0 (22 May 2024, the model of the paper)",
                revision="22May2024 (sevenn 0.13.0)",
                trained_on=("MPF.2021.2.8", "Materials-Project"),
                weights_sha256="5d389fafd512e6ae2830d74d0b66ffc49a55d3832653ff8e7bf7f1343013c1d1",
            ).with_corrections(parameters=834_189, total_parameters=842_623),
            _card(
                "sevennet-l3i5",
                title="SevenNet-l3i5",
                revision="l3i5 (sevenn 0.13.0)",
                parameters=1_171_327,
                weights_sha256="a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d",
            )
            .with_corrections(parameters=1_162_893, total_parameters=1_171_327)
            .with_corrections(
                benchmarks=(
                    {
                        "benchmark": "Matbench Discovery",
                        "figure": "F1, unique prototypes",
                        "value": 0.76,
                        "higher_is_better": True,
                        "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                        "sevennet/sevennet-l3i5.yml",
                    },
                    {
                        "benchmark": "Matbench Discovery",
                        "figure": "kappa SRME",
                        "value": 0.5496,
                        "higher_is_better": False,
                        "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                        "sevennet/sevennet-l3i5.yml",
                    },
                )
            ),
            _multi_fidelity("sevennet-mf-0-pbe", "PBE/PBE+U").with_corrections(
                parameters=837_517, total_parameters=846_168
            ),
            _multi_fidelity("sevennet-mf-0-r2scan", "r2SCAN").with_corrections(
                parameters=837_517, total_parameters=846_168
            ),
        )
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    import sevenn
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
    modal = MODALS.get(card.name)
    known = list(model.modal_map or [None])
    if modal not in known:
        raise ValueError(f"{card.name} asks for the modal {modal}, the checkpoint has {known}")
    model.delete_module_by_key("force_output")  # energies only: no gradients
    model.key_grad = None
    model.set_is_batch_data(True)
    model.to(device).eval().requires_grad_(False)
    readout = model._modules["reduce_input_to_hidden"]
    caught: dict[str, Any] = {}
    readout.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0]["x"]))

    def prepare(atoms: Any) -> Any:
        graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, model.cutoff))
        if modal is not None:
            graph["data_modality"] = modal
        return graph

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list(graphs).to(device)
        with torch.no_grad():
            out = model(batch)
        counts = torch.bincount(batch["batch"], minlength=len(graphs))
        return mean_over_atoms(caught.pop("x"), counts), out["inferred_total_energy"]

    def save(path: Path) -> None:
        # The loader rearranges weights of old versions; ours are arranged as the present one does it.
        config = {**checkpoint.config, "version": sevenn.__version__}
        torch.save({"model_state_dict": model.state_dict(), "config": config}, path)

    # Without the columns that tell a multi-fidelity model its level of theory.
    width = readout._irreps_in_wo_modal.dim
    return embed_by_batch(prepare, forward, width, card.elements, save=save)
