# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0", "tensorflow-cpu==2.20.0", "tensorpotential==0.6.2.1"]
# [tool.uv]
# override-dependencies = ["tensorflow ; sys_platform == 'never'"]
# ///
"""GRACE: graph atomic cluster expansion (Bochkarev et al. 2024, doi:10.1103/PhysRevX.14.021036).

The embedding is the vector of invariant basis functions of the last layer: what the read-out's weights, which differ
from element to element, are applied to. TensorFlow runs on the CPU here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, require_trust

#: Names in the package's registry: first generation, and second (`ft-E`: fine-tuned on energies, `ft-AM`: on sAlex
#: and MPtrj).
MODELS = (
    *("GRACE-1L-OMAT", "GRACE-1L-OAM", "GRACE-2L-OMAT", "GRACE-2L-OAM"),
    *(
        f"GRACE-{layers}L-OMAT-{size}-ft-{tuned}"
        for layers in (1, 2)
        for size in ("medium", "large")
        for tuned in ("E", "AM")
    ),
)
#: Published counts (Matbench Discovery).
PARAMETERS = {"GRACE-1L-OAM": 3_447_148, "GRACE-2L-OAM": 12_597_516, "GRACE-2L-OMAT-large-ft-AM": 26_394_284}


def _preset(model: str) -> tuple[str, str]:
    """Name and size of the package's architecture for a model's untrained twin."""
    generation = "latest" if "-ft-" in model else "v1_24"
    # With one layer and of the first generation, the medium size has the published number of parameters (but 12).
    return f"GRACE_{model[6]}LAYER_{generation}", "medium" if (model[6], generation) == ("1", "v1_24") else "small"


def _card(model: str) -> Card:
    """Card of one model, by its name in the package's registry."""
    return Card(
        name=model.lower(),
        family="grace",
        modality="atoms",
        title=model,
        revision="registry of tensorpotential 0.6.2.1",
        parameters=PARAMETERS.get(model),
        layer="invariant basis functions of the last layer (input of the element-dependent read-out)",
        pooling="mean over atoms",
        trained_on=("OMat24", "sAlex", "MPtrj") if model.endswith("AM") else ("OMat24",),
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        licence_code="LicenseRef-ASL",
        licence_weights="LicenseRef-ASL",
        reference="arXiv:2508.17936" if "-ft-" in model else "10.1103/PhysRevX.14.021036",
        source=f"huggingface.co/AMS-ICAMS-RUB/grace-foundation-models, checkpoints/{model}-checkpoint.tar.gz",
        access="download",
        accepts="a folder of gracemaker: model.yaml with its checkpoint beside it or in checkpoints/",
        reads=("folder", "Hugging Face folder"),
        untrained=True,
        twin="the package's preset {} in its {} size".format(*_preset(model)),
        energy=True,
        remark="Academic, non-commercial use only (licence of code and weights).",
        resources=Resources(memory_gib=6, batch_size=16),
    )


@target(*(_card(model) for model in MODELS))
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with contextlib.redirect_stdout(sys.stderr):
        import tensorpotential  # noqa: F401, I001 - first: it sets TensorFlow up
        import tensorflow as tf
        from tensorpotential import constants
        from tensorpotential.calculator.foundation_models import get_or_download_checkpoint
        from tensorpotential.data.databuilder import GeometricalDataBuilder
        from tensorpotential.instructions.base import load_instructions, save_instructions_dict
        from tensorpotential.instructions.compute import FunctionReduceN
        from tensorpotential.metadata_utils import resolve_param_dtype
        from tensorpotential.tensorpot import TensorPotential
        from tensorpotential.tpmodel import (
            execute_instructions,
            extract_basis_functions,
            extract_cutoff_and_elements,
            extract_cutoff_dict,
        )

        if weights.random:
            tf.keras.utils.set_random_seed(weights.seed)
            instructions, dtype = _untrained(card), tf.float32
            potential = TensorPotential(instructions, param_dtype=dtype, eager_mode=True, jit_compile=False)
        else:
            require_trust(weights)  # model.yaml names the classes to build
            folder = weights.file_or_published(lambda: get_or_download_checkpoint(card.title))
            prefix = _checkpoint(folder)
            # The record's checksum is of these: the package also notes the time of the download in the folder.
            weights.used[-1:] = [folder / "model.yaml", *sorted(prefix.parent.glob(f"{prefix.name}.[di]*"))]
            instructions = load_instructions(str(folder / "model.yaml"))
            dtype = resolve_param_dtype(str(folder / "model.yaml"))
            potential = TensorPotential(instructions, param_dtype=dtype, eager_mode=True, jit_compile=False)
            potential.load_checkpoint(
                str(prefix), model_only=True, assert_existing_objects_matched=True, expect_partial=True
            )
    named = instructions if isinstance(instructions, dict) else {step.name: step for step in instructions}
    # The read-out reduces products of any order to a few scalars per atom; a two-layer model has one of each layer.
    readout = [step for step in named.values() if isinstance(step, FunctionReduceN) and not np.any(step.ls_max)][-1]
    cutoff, symbols, indices = extract_cutoff_and_elements(named)
    element_map = {str(symbol): int(index) for symbol, index in zip(symbols, indices, strict=True)}
    builder = GeometricalDataBuilder(
        elements_map=element_map, cutoff=cutoff, cutoff_dict=extract_cutoff_dict(named), float_dtype="float64"
    )

    def prepare(atoms: Any) -> Any:
        return len(atoms), builder.extract_from_ase_atoms(atoms.copy())  # it puts molecules into a box, in place

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        counts = np.array([count for count, _ in graphs])
        joined = builder.join_to_batch([graph for _, graph in graphs])
        data = {key: tf.constant(value) for key, value in joined.items()}
        execute_instructions(data, named, training=False)
        features = extract_basis_functions(readout, data).numpy()
        energies = data[constants.PREDICT_ATOMIC_ENERGY].numpy().reshape(-1)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        pooled = np.add.reduceat(features.astype(np.float64), starts, axis=0) / counts[:, None]
        return pooled, np.add.reduceat(energies.astype(np.float64), starts)

    def save(path: Path) -> None:
        path.mkdir()
        save_instructions_dict(str(path / "model.yaml"), named, param_dtype=dtype)
        potential.save_checkpoint(checkpoint_name=str(path / "checkpoint"))

    width = sum(step.n_out * len(readout.collector[step.name]["func_collect_ind"]) for step in readout.instructions)
    return embed_by_batch(prepare, forward, width, tuple(element_map), save=save, max_atoms=256)


def _checkpoint(folder: Path) -> Path:
    """Prefix of the weights' files; of several the one with the best test loss."""
    for name in ("checkpoint", "checkpoints/checkpoint.best_test_loss", "checkpoints/checkpoint"):
        if (folder / f"{name}.index").is_file():
            return folder / name
    raise FileNotFoundError(f"no checkpoint.index in {folder} or {folder / 'checkpoints'}")


def _untrained(card: Card) -> Any:
    """Instructions of the package's preset, for the elements of the published models."""
    from tensorpotential.potentials import get_preset

    name, size = _preset(str(card.title))
    preset = get_preset(name)
    elements = {symbol: index for index, symbol in enumerate(sorted(ELEMENTS_89))}
    return preset(element_map=elements, avg_n_neigh=30.0, **preset._settings[size]).get_instructions()
