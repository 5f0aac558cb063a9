# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0", "nequip==0.19.1", "nequip-allegro==0.8.3", "torch==2.13.0"]
# ///
"""NequIP and Allegro foundation potentials (Kavanagh et al. 2026, arXiv:2607.28461).

NequIP passes messages between atoms; Allegro is strictly local and describes pairs of atoms, whose features are
summed onto the atom at the centre.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, require_trust

#: Untrained twins of NequIP: the package's preset of each size.
PRESETS: dict[str, dict[str, Any]] = {
    "nequip-oam-s": {"preset": "S"},
    "nequip-oam-m": {"preset": "M"},
    "nequip-oam-l": {"preset": "L"},
    "nequip-oam-xl": {"preset": "XL", "num_layers": 2},
    "nequip-mp-l": {"preset": "L"},
}
#: Untrained twin of Allegro.
ALLEGRO = {
    "_target_": "allegro.model.AllegroModel",
    "l_max": 2,
    "parity": False,
    "num_layers": 2,
    "num_scalar_features": 64,
    "num_tensor_features": 32,
    "radial_chemical_embed": {
        "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
        "num_bessels": 12,
        "bessel_trainable": False,
        "polynomial_cutoff_p": 8,
    },
}


def _card(title: str, **facts: Any) -> Card:
    """Card of one model of nequip.net."""
    nequip = title.startswith("NequIP")
    return Card(
        **{
            "name": title.lower(),
            "family": "nequip" if nequip else "allegro",
            "modality": "atoms",
            "title": title,
            "revision": "0.1",
            "layer": "atom features after the last interaction (input of the energy read-out)"
            if nequip
            else "scalar features of pairs after the last layer (input of the energy read-out), summed over neighbours",
            "pooling": "mean over atoms",
            "trained_on": ("OMat24", "sAlex", "MPtrj"),
            "level_of_theory": "PBE/PBE+U",
            "elements": ELEMENTS_89,
            "licence_code": "MIT",
            "licence_weights": "CC-BY-4.0",
            "reference": "arXiv:2607.28461",
            "source": f"nequip.net:mir-group/{title}:0.1",
            "access": "download",
            "accepts": "a checkpoint (.ckpt) or package (.nequip.zip) of NequIP or Allegro; opening it runs code in it",
            "untrained": True,
            "energy": True,
            "resources": Resources(memory_gib=6, batch_size=16),
            **facts,
        }
    )


SMALLER = "two layers up to l = 2 with 64 scalars and 32 tensors, networks 64 wide; the published model is far larger"


@target(
    _card("NequIP-OAM-S", dimension=128, licence_weights=None),
    _card("NequIP-OAM-M", dimension=128, licence_weights=None),
    _card("NequIP-OAM-L", dimension=128, parameters=9_600_000, twin="the package's preset L as it is now"),
    _card("NequIP-OAM-XL", dimension=320, parameters=32_100_000, twin="two layers, the published one six"),
    _card(
        "NequIP-MP-L",
        dimension=128,
        parameters=9_600_000,
        trained_on=("MPtrj",),
        twin="the package's preset L as it is now",
    ),
    _card("Allegro-OAM-L", parameters=9_700_000, twin=SMALLER),
    _card("Allegro-MP-L", parameters=18_700_000, trained_on=("MPtrj",), twin=SMALLER),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    import torch

    require_trust(weights)  # a checkpoint is a pickle, a package brings its own code
    with contextlib.redirect_stdout(sys.stderr):
        from ase import Atoms
        from nequip.data import AtomicDataDict, from_ase
        from nequip.integrations.utils import basic_transforms
        from nequip.model.saved_models import load_saved_model
        from nequip.utils.global_state import set_global_state

        set_global_state()
        if weights.random:
            module = _untrained(card, weights.seed)
            model = module.evaluation_model["sole_model"]
        else:
            module = None
            model = load_saved_model(weights.file_or_published(lambda: _download(str(card.source))))
    network = model.model.func  # the energy alone: forces would need gradients
    network.to(device).eval().requires_grad_(False)
    readout = _readout(network)
    caught: dict[str, Any] = {}
    readout.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0][readout.field]))
    pairs = readout.field == AtomicDataDict.EDGE_FEATURES_KEY
    symbols = model.metadata["type_names"].split()
    transforms = basic_transforms(model.metadata, float(model.metadata["r_max"]), symbols, {s: s for s in symbols})

    def prepare(atoms: Any) -> Any:
        # A bare copy: of an item with labels the package would take those as fields too.
        data = from_ase(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
        for transform in transforms:
            data = transform(data)
        return data

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = AtomicDataDict.to_(AtomicDataDict.batched_from_list(graphs), device)
        counts = batch[AtomicDataDict.NUM_NODES_KEY]
        centres = batch[AtomicDataDict.EDGE_INDEX_KEY][0]
        with torch.no_grad():
            out = network(batch)
        per_atom = caught.pop("x").double()
        if pairs:
            onto = torch.zeros(int(counts.sum()), per_atom.shape[1], dtype=per_atom.dtype, device=device)
            per_atom = onto.index_add_(0, centres, per_atom)
        return mean_over_atoms(per_atom, counts), out[AtomicDataDict.TOTAL_ENERGY_KEY].reshape(-1)

    def save(path: Path) -> Path:
        path = path.with_suffix(".ckpt")
        _save(module, path)
        return path

    width = int(readout.irreps_in[readout.field].dim)
    return embed_by_batch(prepare, forward, width, tuple(symbols), save=None if module is None else save)


def _download(name: str) -> Path:
    """Fetch a model by its name on nequip.net into the package's own cache."""
    from nequip.model.saved_models.load_utils import _get_model_file_path

    with _get_model_file_path(name) as path:
        return Path(path)


def _readout(network: Any) -> Any:
    """Module that turns features of atoms (NequIP) or of pairs (Allegro) into energies, in a model of any version."""
    from nequip.data import AtomicDataDict as Keys

    steps = {
        (Keys.NODE_FEATURES_KEY, Keys.PER_ATOM_ENERGY_KEY),
        (Keys.EDGE_FEATURES_KEY, Keys.EDGE_ENERGY_KEY),
    }
    for module in network.modules():
        if (getattr(module, "field", None), getattr(module, "out_field", None)) in steps:
            return module
    raise ValueError("neither a NequIP nor an Allegro model: no read-out of energies was found")


def _untrained(card: Card, seed: int) -> Any:
    """Training module, as NequIP's checkpoints hold it, around a fresh model."""
    from nequip.train import NequIPLightningModule

    architecture = (
        {"_target_": "nequip.model.PresetNequIPGNNModel", **PRESETS[card.name]} if card.name in PRESETS else ALLEGRO
    )
    model = {
        **architecture,
        "seed": seed,
        "model_dtype": "float32",
        "r_max": 6.0,
        "type_names": list(ELEMENTS_89),
        "avg_num_neighbors": 30.0,
        "compile_mode": "eager",
    }
    return NequIPLightningModule(
        model=model,
        num_datasets={"train": 1, "val": 0, "test": 0, "predict": 0},
        info_dict={"versions": {}, "training_module": {"_target_": "nequip.train.NequIPLightningModule"}},
    )


def _save(module: Any, path: Path) -> None:
    """Write a checkpoint with the trainer, as NequIP does."""
    import lightning

    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=0)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
