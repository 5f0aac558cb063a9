# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "ase==3.29.0",
#     "deepmd-kit==3.2.0",
#     "e3nn==0.6.0",
#     "torch==2.13.0",
#     "vesin==0.6.2",
#     "vesin-torch==0.6.2",
# ]
# ///
"""DPA models of DeePMD-kit: DPA-2 (doi:10.1038/s41524-024-01493-2), DPA-3 (arXiv:2506.01686), DPA-4.

DeePMD-kit's compiled operators are for another version of torch; none of these models needs them.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, mean_over_atoms

DPA4_SIZES = ("nano", "mini", "neo", "air", "plus")
#: Names in the package's registry.
REGISTERED = {
    "dpa-2.4-7m": "DPA-2.4-7M",
    "dpa-3.1-3m": "DPA-3.1-3M",
    "dpa-3.2-5m": "DPA-3.2-5M",
    "dpa-3.3-1m": "DPA-3.3-1M",
    "dpa3-omol-large": "DPA3-Omol-Large",
    **{f"dpa4-{size}-omat24": f"DPA4-{size.title()}-OMat24-v20260805" for size in DPA4_SIZES},
}
#: Of a file with one head per training set, this head's energies are given (the descriptor is common to all).
HEAD = "OMat24"

OPENLAM_1 = ("OMat24", "MPtrj", "Alex-2D", "SPICE", "OC20", "OC22", "ODAC23", "OpenLAM-v1")
OPENLAM_2 = ("OMat24", "OMol25", "MPtrj", "Alex-2D", "OC20", "OC22", "ODAC23", "OpenLAM-v2")
MANY_HEADS = f"Trained on many data sets with one head each; energies are those of the {HEAD} head."

#: Untrained twins: the architectures, as DeePMD-kit's own examples set them up.
DPA2 = {
    "type": "dpa2",
    "repinit": {
        "tebd_dim": 8,
        "rcut": 6.0,
        "rcut_smth": 0.5,
        "nsel": 120,
        "neuron": [25, 50, 100],
        "axis_neuron": 12,
        "three_body_sel": 48,
        "three_body_rcut": 4.0,
        "three_body_rcut_smth": 3.5,
        "use_three_body": True,
    },
    "repformer": {
        "rcut": 4.0,
        "rcut_smth": 3.5,
        "nsel": 48,
        "nlayers": 6,
        "g1_dim": 128,
        "g2_dim": 32,
        "attn2_hidden": 32,
        "attn2_nhead": 4,
        "update_h2": False,
        "update_g1_has_attn": False,
        "update_g2_has_g1g1": False,
        "update_style": "res_residual",
        "update_residual": 0.01,
        "update_residual_init": "norm",
        "use_sqrt_nnei": True,
        "g1_out_conv": True,
        "g1_out_mlp": True,
    },
    "add_tebd_to_repinit_out": False,
    "precision": "float32",
}
DPA3 = {
    "type": "dpa3",
    "repflow": {
        "n_dim": 128,
        "e_dim": 64,
        "a_dim": 32,
        "nlayers": 6,
        "e_rcut": 6.0,
        "e_rcut_smth": 5.3,
        "e_sel": 1200,
        "a_rcut": 4.0,
        "a_rcut_smth": 3.5,
        "a_sel": 300,
        "a_compress_rate": 1,
        "a_compress_e_rate": 2,
        "a_compress_use_split": True,
        "smooth_edge_update": True,
        "edge_init_use_dist": True,
        "use_exp_switch": True,
        "use_dynamic_sel": True,
    },
    "activation_function": "silut:10.0",
    "use_tebd_bias": False,
    "precision": "float32",
}
DPA4 = {
    "sel": 1200,
    "rcut": 6.0,
    "channels": 32,
    "n_radial": 16,
    "use_env_seed": True,
    "edge_cartesian": False,
    "node_cartesian": "none",
    "lmax": 2,
    "mmax": 1,
    "n_blocks": 2,
    "mixing_layers": 3,
    "radial_so2_mode": "degree_channel",
    "radial_so2_rank": 1,
    "n_focus": 1,
    "ffn_so3_grid": True,
    "so3_readout": "mlp",
    "grid_mlp": [False, False, False],
    "grid_branch": [1, 1, 1],
    "ffn_blocks": 2,
    "sandwich_norm": [False, True, True, False],
    "message_node_so3": True,
    "precision": "float32",
}


def _card(name: str, *, trained_on: tuple[str, ...], **facts: Any) -> Card:
    """Card of one model; DPA-4 is licensed otherwise than the older ones."""
    registered = REGISTERED[name]
    dpa4 = name.startswith("dpa4")
    repository = "DPA4-OMat24" if dpa4 else registered
    file = "DPA-2.4-7M-patched-mt" if name == "dpa-2.4-7m" else registered
    return Card(
        **{
            "name": name,
            "family": "dpa",
            "modality": "atoms",
            "title": registered,
            "revision": f"{registered} (registry of deepmd-kit 3.2.0)",
            "layer": "atom features of the descriptor (input of the fitting network)",
            "pooling": "mean over atoms",
            "trained_on": trained_on,
            "level_of_theory": "PBE/PBE+U",
            "licence_code": "LGPL-3.0-or-later",
            "licence_weights": "CC-BY-NC-4.0" if dpa4 else "CC-BY-4.0",
            "source": f"https://huggingface.co/deepmodelingcommunity/{repository}/resolve/main/{file}.pt",
            "access": "download",
            "accepts": "a checkpoint of DeePMD-kit's PyTorch back end (.pt), with one head or several",
            "reads": ("state dict", "Lightning checkpoint", "pickled objects"),
            "untrained": True,
            "twin": "six layers, as in DeePMD-kit's example of DPA-3 (1.3 million parameters)",
            "energy": True,
            "resources": Resources(memory_gib=4, batch_size=16),
            **facts,
        }
    )


@target(
    _card(
        "dpa-3.1-3m",
        trained_on=OPENLAM_1,
        reference="arXiv:2506.01686",
        remark=MANY_HEADS,
    ),
    _card(
        "dpa-3.2-5m",
        trained_on=OPENLAM_2,
        reference="arXiv:2506.01686",
        remark=MANY_HEADS + " Charge and multiplicity of the item enter the energy, not the embedding.",
    ),
    _card(
        "dpa-3.3-1m",
        trained_on=OPENLAM_2,
        reference="arXiv:2506.01686",
        twin="six layers, as in DeePMD-kit's example of DPA-3, with charge and spin (1.4 million parameters)",
        charge="used",
        remark=MANY_HEADS + " Charge and multiplicity of the item are inputs.",
    ),
    _card(
        "dpa3-omol-large",
        trained_on=("OMol25",),
        level_of_theory="wB97M-V/def2-TZVPD",
        reference="arXiv:2506.01686",
        remark="Charge and multiplicity of the item enter the energy, not the embedding.",
    ),
    _card(
        "dpa-2.4-7m",
        trained_on=OPENLAM_1,
        reference="10.1038/s41524-024-01493-2",
        twin="DeePMD-kit's medium example of DPA-2 (1.0 million parameters)",
        remark=MANY_HEADS,
    ),
    *(
        _card(
            f"dpa4-{size}-omat24",
            trained_on=("OMat24",),
            twin="DeePMD-kit's example of DPA4-Mini, with the weights that it starts at zero drawn at random as well",
            remark="Non-commercial use only (licence of the weights).",
        )
        for size in DPA4_SIZES
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; charge and multiplicity come from the item where the model reads them."""
    # The back end reads its device once, from the environment.
    if device == "cpu":
        os.environ["DEVICE"] = "cpu"
    else:
        os.environ["LOCAL_RANK"] = device.partition(":")[2] or "0"
    with contextlib.redirect_stdout(sys.stderr):
        _leave_out_compiled_operators()
        import torch
        from deepmd.infer import DeepPot
        from deepmd.pretrained.download import resolve_model_path

        with tempfile.TemporaryDirectory() as folder:
            if weights.random:
                torch.manual_seed(weights.seed)
                path = Path(folder) / "twin.pt"
                _save(_untrained(card), path)
            else:
                path = weights.file_or_published(lambda: resolve_model_path(REGISTERED[card.name]))
            # The package reads it with weights_only=True; scripting the model would take longer than it gains.
            pot = DeepPot(str(path), head=_head(path), no_jit=True, auto_batch_size=False)
    model = pot.deep_eval.dp.model["Default"].eval().requires_grad_(False)
    atomic = model.atomic_model
    types = {symbol: index for index, symbol in enumerate(model.get_type_map())}
    embedded = bool(model.has_chg_spin_ebd())  # charge and spin as an input of the descriptor
    parameters = int(model.get_dim_fparam())  # ... or, where there are two, of the fitting network

    def prepare(atoms: Any) -> Any:
        if atoms.pbc.any() != atoms.pbc.all():
            raise ValueError("periodic in some directions only")
        kinds = np.array([types[symbol] for symbol in atoms.get_chemical_symbols()])
        state = [float(atoms.info.get("charge", 0)), float(atoms.info.get("spin", 1))]
        return atoms.positions, kinds, np.array(atoms.cell) if atoms.pbc.all() else None, state

    def forward(items: list[Any]) -> tuple[Any, Any]:
        # Together go items of like size: each is padded to the largest, and repeated as often as the smallest cell.
        groups: dict[tuple[bool, int], list[int]] = {}
        for index, (_, kinds, cell, _) in enumerate(items):
            groups.setdefault((cell is not None, len(kinds).bit_length()), []).append(index)
        features: list[Any] = [None] * len(items)
        energies = np.full(len(items), np.nan)
        for (periodic, _), indices in groups.items():
            rows, values = together([items[index] for index in indices], periodic)
            for place, index in enumerate(indices):
                features[index], energies[index] = rows[place], values[place]
        return torch.stack(features), energies

    def together(items: list[Any], periodic: bool) -> tuple[Any, Any]:
        # Padding atoms are of type -1, which the model masks.
        pad = torch.nn.utils.rnn.pad_sequence
        positions = pad([torch.tensor(xyz) for xyz, *_ in items], batch_first=True).to(device)
        kinds = pad([torch.tensor(kinds) for _, kinds, *_ in items], batch_first=True, padding_value=-1).to(device)
        cells = (
            torch.tensor(np.stack([cell.reshape(9) for _, _, cell, _ in items]), device=device) if periodic else None
        )
        state = torch.tensor([state for *_, state in items], dtype=torch.float64, device=device)
        frame = state if parameters == 2 else None
        out = model.forward_embedding(
            positions, kinds, box=cells, fparam=frame, charge_spin=state if embedded else None
        )
        real = kinds >= 0
        with torch.no_grad():  # the last step of the energy; forces are not wanted
            fitted = atomic.fitting_net(out["descriptor"], kinds.clamp(min=0), fparam=frame)
            fitted = atomic.apply_out_stat({"energy": fitted["energy"]}, kinds.clamp(min=0))["energy"]
        energies = (fitted.squeeze(-1).double() * real).sum(dim=1)
        return mean_over_atoms(out["descriptor"][real], real.sum(dim=1)), energies.cpu().numpy()

    def save(path: Path) -> Path:
        path = path.with_suffix(".pt")
        _save((model, pot.deep_eval.input_param), path)
        return path

    return embed_by_batch(prepare, forward, int(atomic.descriptor.get_dim_out()), tuple(types), save=save)


def _leave_out_compiled_operators() -> None:
    """Keep DeePMD-kit from loading its operators, which refuse a torch other than the one they were built with."""
    import deepmd.env

    deepmd.env.SHARED_LIB_DIR = Path("/nonexistent")
    deepmd.env.GLOBAL_CONFIG["cibuildwheel"] = "0"


def _head(path: Path) -> str | None:
    """Name of the head to take the energy from; None for a file with one."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    heads = content.get("model", content)["_extra_state"]["model_params"].get("model_dict")
    if heads is None:
        return None
    return str(next((name for name in heads if name.lower() == HEAD.lower()), next(iter(heads))))


def _untrained(card: Card) -> tuple[Any, dict[str, Any]]:
    """Return a fresh model and its configuration."""
    import torch
    from ase.data import chemical_symbols
    from deepmd.pt.model.model import get_model

    config: dict[str, Any] = {"type_map": chemical_symbols[1:]}
    fitting = {"neuron": [240, 240, 240], "activation_function": "silut:10.0", "precision": "float32", "seed": 1}
    if card.name.startswith("dpa4"):
        fitting = {"neuron": [0], "precision": "float32", "seed": 1}
        config |= {"type": "DPA4", "descriptor": DPA4, "fitting_net": fitting, "use_compile": False}
    elif card.name.startswith("dpa-2"):
        config |= {"descriptor": DPA2, "fitting_net": fitting}
    else:
        state = {"add_chg_spin_ebd": True, "default_chg_spin": [0.0, 1.0]} if card.name == "dpa-3.3-1m" else {}
        config |= {"descriptor": {**DPA3, **state}, "fitting_net": fitting}
    model = get_model(copy.deepcopy(config))
    if card.name.startswith("dpa4"):
        # As the package initialises it, DPA-4 adds nothing to the embedding of the element before training.
        for weight in model.parameters():
            if weight.ndim > 1 and not weight.any():
                torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    return model, config


def _save(model_and_config: tuple[Any, dict[str, Any]], path: Path) -> None:
    """Write a checkpoint as DeePMD-kit does."""
    import torch
    from deepmd.pt.train.wrapper import ModelWrapper

    model, config = model_and_config
    torch.save({"model": ModelWrapper(model, model_params=config).state_dict()}, path)
