# /// script
# requires-python = ">=3.11"
# dependencies = ["so3krates-torch==0.2.1", "torch==2.13.0"]
# ///
"""SO3LR: equivariant transformer with long-range physics (Kabylda et al. 2025, doi:10.1021/jacs.5c09558)."""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, mean_over_atoms, require_trust

FILE = "pretrained/so3lr/so3lr.model"
#: Long-range cutoff and damping of dispersion, angstrom: set by the package's calculator, not by the file.
LONG_RANGE = {"r_max_lr": 12.0, "dispersion_energy_cutoff_lr_damping": 2.0}
#: Constructor arguments that the model keeps under another name.
RENAMED = {
    "cutoff_fn": "cutoff_fn_name",
    "activation_fn": "activation_fn_name",
    "energy_activation_fn": "energy_activation_fn_name",
    "avg_num_neighbors": "avg_num_neighbors_param",
}


@target(
    Card(
        name="so3lr",
        family="so3krates",
        modality="atoms",
        title="SO3LR",
        revision="so3krates-torch 0.2.1, charge read",
        former_revisions=("so3krates-torch 0.2.1",),
        parameters=529_852,
        dimension=128,
        layer="invariant atom features after the third transformer block (input of the output heads)",
        pooling="mean over atoms",
        trained_on=("SO3LR",),
        level_of_theory="PBE0+MBD",
        elements=("H", "C", "N", "O", "F", "P", "S", "Cl"),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1021/jacs.5c09558",
        source=f"so3krates_torch/{FILE} in the wheel of so3krates-torch==0.2.1",
        weights_sha256="b5145564911ff983ed076ccb2bca5ce63454b74c9c8291092695463f1e6732be",
        accepts="SO3LR model saved whole with torch.save (a pickle: has to be trusted)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin="as published stay the arguments of the network, the mean number of neighbours among them",
        energy=True,
        charge="used",
        corrections=(("charge", "ignored"), ("twin", None)),
        resources=Resources(memory_gib=2, batch_size=64),
    ).with_corrections(parameters=428_668, total_parameters=529_852)
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; the network reads the total charge. Its embedding of spins was never trained: singlets all."""
    import torch
    from so3krates_torch.data.atomic_data import AtomicData
    from so3krates_torch.data.utils import Configuration
    from so3krates_torch.tools.torch_geometric.batch import Batch
    from so3krates_torch.tools.utils import AtomicNumberTable

    require_trust(weights)  # the file is a pickled module
    package = Path(find_spec("so3krates_torch").submodule_search_locations[0])  # type: ignore[union-attr,index]
    path = weights.file_or_published(package / FILE)
    with contextlib.redirect_stdout(sys.stderr):
        model = torch.load(path, map_location="cpu", weights_only=False)
        if weights.random:
            torch.manual_seed(weights.seed)
            model = type(model)(**_arguments(model))
    for name, value in LONG_RANGE.items():
        setattr(model, name, value)
    model.to(device).eval().requires_grad_(False)
    table = AtomicNumberTable(list(range(1, 119)))
    caught: dict[str, Any] = {}
    model.atomic_energy_output_block.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0]))

    def prepare(atoms: Any) -> Any:
        configuration = Configuration(
            atomic_numbers=np.asarray(atoms.numbers),
            positions=atoms.positions,
            properties={"total_charge": float(atoms.info.get("charge", 0)), "total_spin": 0.0},
            property_weights={},
            cell=np.array(atoms.cell),
            pbc=tuple(atoms.pbc),
        )
        return AtomicData.from_config(configuration, table, model.r_max, cutoff_lr=model.r_max_lr)

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list(graphs).to(device)
        counts = batch.ptr.diff()
        with torch.no_grad():
            per_atom = model(batch.to_dict(), compute_force=False)["node_energy"]
        # Every atom carries a shift of -164 eV: sums in single precision would be good to 1 meV at best.
        energies = torch.segment_reduce(per_atom.double().reshape(-1), "sum", lengths=counts)
        return mean_over_atoms(caught.pop("x"), counts), energies

    def save(path: Path) -> None:
        whole = copy.deepcopy(model)
        whole.atomic_energy_output_block._forward_pre_hooks.clear()  # ours, which cannot be pickled
        torch.save(whole, path)

    return embed_by_batch(prepare, forward, 128, card.elements, save=save)


def _arguments(model: Any) -> dict[str, Any]:
    """Arguments that `model` was built with: all are its attributes but those of later versions."""
    names = {name for cls in type(model).__mro__[:2] for name in inspect.signature(cls).parameters}
    return {name: getattr(model, kept) for name in names if hasattr(model, kept := RENAMED.get(name, name))}
