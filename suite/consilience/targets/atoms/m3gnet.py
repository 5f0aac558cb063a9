# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = [
#     "ase==3.22.1",
#     "h5py==3.16.0",
#     "m3gnet==0.2.4",
#     "megnet==1.3.2",
#     "monty==2026.10.21",
#     "numpy==1.26.4",
#     "pip==26.3",
#     "platformdirs==4.14.7",
#     "pymatgen==2024.11.13",
#     "setuptools==80.10.2",
#     "tensorflow-cpu==2.15.1",
# ]
# [tool.uv]
# override-dependencies = ["tensorflow ; sys_platform == 'never'"]
# ///
"""M3GNet, the original in TensorFlow: graph network with angles (Chen & Ong 2022, doi:10.1038/s43588-022-00349-3).

The environment is that of `megnet`: the last TensorFlow with Keras 2, its CPU build in the place of the `tensorflow`
that m3gnet asks for. It needs numpy 1 and Python 3.11, and m3gnet needs ase before 3.23.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch
from consilience.targets.atoms._sdist import unpacked_sdist

SDIST = ("m3gnet", "0.2.4", "a7f82b06f48d8fb81f91fb88484177005066cdf708902bf749afaa7f8d117ce8")
FOLDER = "pretrained/MP-2021.2.8-EFS"
#: The published configuration, but for the statistics of the energies.
ARCHITECTURE = {
    "max_n": 3,
    "max_l": 3,
    "n_blocks": 3,
    "units": 64,
    "cutoff": 5.0,
    "threebody_cutoff": 4.0,
    "n_atom_types": 94,
    "is_intensive": False,
}


@target(
    Card(
        name="m3gnet-mp-2021.2.8",
        family="m3gnet",
        modality="atoms",
        title="M3GNet MP-2021.2.8-EFS",
        revision="MP-2021.2.8-EFS (m3gnet 0.2.4)",
        parameters=227_549,
        dimension=64,
        layer="atom features after the third block (input of the readout)",
        pooling="mean over atoms",
        trained_on=("MPF.2021.2.8", "Materials-Project"),
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        licence_code="BSD-3-Clause",
        licence_weights="BSD-3-Clause",
        reference="10.1038/s43588-022-00349-3",
        source=f"{FOLDER}, a folder in the sdist of m3gnet==0.2.4 (the wheel has no weights)",
        weights_sha256="377b6b566fe75f5d6d1acf3447216502329302779b51cc372435f92b37f9a2a2",
        accepts="a folder written by M3GNet.save of m3gnet 0.2 (m3gnet.json and a TensorFlow checkpoint)",
        reads=("folder", "Hugging Face folder"),
        untrained=True,
        twin="no reference energies of the elements; energies are not scaled",
        energy=True,
        resources=Resources(memory_gib=4, batch_size=32),
    )
    .with_corrections(parameters=210_779, total_parameters=227_549)
    .with_corrections(
        benchmarks=(
            {
                "benchmark": "Matbench Discovery",
                "figure": "F1, unique prototypes",
                "value": 0.569,
                "higher_is_better": True,
                "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                "m3gnet/m3gnet.yml",
            },
            {
                "benchmark": "Matbench Discovery",
                "figure": "kappa SRME",
                "value": 1.4094,
                "higher_is_better": False,
                "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                "m3gnet/m3gnet.yml",
            },
        )
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell. Runs on the CPU whatever the device."""
    import tensorflow as tf
    from ase.build import bulk
    from m3gnet.graph import Index, assemble_material_graph
    from m3gnet.models import M3GNet

    tf.keras.utils.set_random_seed(weights.seed)
    if weights.random:
        model = M3GNet(**ARCHITECTURE)
    else:
        folder = weights.file_or_published(lambda: unpacked_sdist(*SDIST) / FOLDER)
        model = M3GNet(**_configuration(folder))
    call_readout, caught = model.final.call, {}

    def call_and_catch(graph: list[Any], *args: Any, **settings: Any) -> Any:
        caught["atoms"] = graph[Index.ATOMS]
        return call_readout(graph, *args, **settings)

    model.final.call = call_and_catch

    def prepare(atoms: Any) -> Any:
        if atoms.pbc.any() and not atoms.pbc.all():
            raise ValueError("periodic in some directions only")
        atoms = atoms.copy()
        atoms.wrap()  # positions are kept in single precision
        return model.graph_converter(atoms)

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        counts = np.array([graph.n_atom for graph in graphs])
        energies = model(assemble_material_graph(graphs).as_tf().as_list()).numpy()
        per_atom = caught.pop("atoms").numpy().astype(np.float64)
        return np.add.reduceat(per_atom, counts.cumsum() - counts) / counts[:, None], energies[:, 0]

    forward([prepare(bulk("Cu"))])  # Keras makes the variables at the first call
    if not weights.random:
        status = model.load_weights(str(folder / "m3gnet"))
        status.assert_consumed()
        status.assert_existing_objects_matched()

    def save(path: Path) -> None:
        path.mkdir()
        model.save(str(path))

    return embed_by_batch(prepare, forward, model.units, card.elements, save=save)


def _configuration(folder: Path) -> dict[str, Any]:
    """Arguments of `M3GNet` in a saved model; read here, for Keras may run code that stands in such a file."""
    content = json.loads((folder / "m3gnet.json").read_text("utf-8"))
    described = json.loads(content) if isinstance(content, str) else content
    if described["class_name"] != "M3GNet":
        raise ValueError(f"m3gnet.json describes a {described['class_name']}, not an M3GNet")
    configuration = dict(described["config"])
    configuration.pop("name", None)
    return configuration
