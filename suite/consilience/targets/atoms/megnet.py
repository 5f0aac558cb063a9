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
"""MEGNet: graph network with a global state (Chen et al. 2019, doi:10.1021/acs.chemmater.9b01294).

One network per property of the Materials Project. The environment is that of `m3gnet`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch
from consilience.targets.atoms._box import in_box
from consilience.targets.atoms._sdist import unpacked_sdist

SDIST = ("megnet", "1.3.2", "0c2de597860fa3caeefc3591f01fe48e8cc70adbda812f5b72a47c3eb6361a99")
#: File of each property, below `mvl_models`: the newest there is (of 2019 there is no band gap).
FILES = {
    "formation-energy": "mp-2019.4.1/formation_energy.hdf5",
    "band-gap": "mp-2018.6.1/band_gap_regression.hdf5",
    "fermi-energy": "mp-2019.4.1/efermi.hdf5",
    "bulk-modulus": "mp-2019.4.1/log10K.hdf5",
    "shear-modulus": "mp-2019.4.1/log10G.hdf5",
}
#: Properties whose networks look 5 angstrom far and read out in two steps; the others 4 angstrom and three steps.
FAR = ("formation-energy", "fermi-energy")
REMARKS = {
    "formation-energy": "Energies are formation energies, predicted per atom and multiplied by the number of atoms.",
    "fermi-energy": None,
}


def _card(prop: str, title: str, sha256: str) -> Card:
    snapshot = FILES[prop].partition("/")[0]
    return Card(
        name=f"megnet-{prop}",
        family="megnet",
        modality="atoms",
        title=f"MEGNet {title} ({snapshot})",
        revision=f"{snapshot} (megnet 1.3.2)",
        parameters=167_761,
        dimension=32,
        layer="atom features after the third block (input of the Set2Set readout)",
        pooling="mean over atoms",
        trained_on=("Materials-Project",),
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        licence_code="BSD-3-Clause",
        licence_weights="BSD-3-Clause",
        reference="10.1021/acs.chemmater.9b01294",
        source=f"mvl_models/{FILES[prop]} in the sdist of megnet==1.3.2 (the wheel has no weights)",
        weights_sha256=sha256,
        accepts="a crystal model of megnet 1 written by save_model (.hdf5, and its .hdf5.json beside it)",
        reads=("HDF5",),
        untrained=True,
        energy=prop == "formation-energy",
        remark=REMARKS.get(prop, "A structure whose atoms are all more than 4 angstrom apart cannot be embedded."),
        resources=Resources(memory_gib=4, batch_size=32),
    )


@target(
    *(
        card.with_corrections(parameters=144_208, total_parameters=card.parameters)
        for card in (
            _card(
                "formation-energy",
                "formation energy",
                "51de7e372f9fdbd10a519c3fd3cbf6fcd1039cc58e092c85b0f4fef49964f57b",
            ),
            # Here, where digests of code do not look: rows are what they were.
            _card(
                "band-gap", "band gap", "e149197440863b06e819c3cc11550f7c78eee329b916112dab84d884d21306de"
            ).model_copy(
                update={
                    "remark": "Trained on the 45,901 crystals with a gap. "
                    "A structure whose atoms are all more than 4 angstrom apart cannot be embedded.",
                    "corrections": (
                        ("remark", "A structure whose atoms are all more than 4 angstrom apart cannot be embedded."),
                    ),
                }
            ),
            _card("fermi-energy", "Fermi energy", "20c541f24acdc2de003a56fc6124c1725aa48358c5a3b1be64f358c0cc4c055a"),
            _card(
                "bulk-modulus", "log bulk modulus", "ac521bb2f6752e1a7c99df86059114b9b7920223f1db957c11749f34e8f9af4a"
            ),
            _card(
                "shear-modulus", "log shear modulus", "2be27b3fbf59012bed6e6e595c772cf9b67db279cde1686c44987cd132c1b805"
            ),
        )
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules are put into a box. Runs on the CPU whatever the device."""
    import tensorflow as tf
    from megnet.data.crystal import CrystalGraph
    from megnet.data.graph import GaussianDistance, GraphBatchDistanceConvert
    from megnet.models.megnet import make_megnet_model
    from monty.serialization import dumpfn
    from pymatgen.io.ase import AseAtomsAdaptor

    tf.keras.utils.set_random_seed(weights.seed)
    prop = card.name.removeprefix("megnet-")
    if weights.random:
        cutoff, width = (5.0 if prop in FAR else 4.0), 0.5
        centres = np.linspace(0, cutoff + 1, 100)
        model = make_megnet_model(nfeat_edge=len(centres), npass=2 if prop in FAR else 3)
    else:
        file = weights.file_or_published(lambda: unpacked_sdist(*SDIST) / "mvl_models" / FILES[prop])
        sizes, arrays = _read(file)
        cutoff, centres, width = _read_distances(file)
        model = make_megnet_model(nfeat_edge=len(centres), **sizes)
        layers = [layer for layer in model.layers if layer.weights]
        for layer, values in zip(layers, arrays, strict=True):
            layer.set_weights(values)  # refuses other shapes
    expansion = GaussianDistance(centres, width)
    converter = CrystalGraph(bond_converter=expansion, cutoff=cutoff)
    atoms_out = model.get_layer("set2set_atom").input[0]
    network = tf.keras.Model(model.inputs, [atoms_out, model.output])

    def prepare(atoms: Any) -> Any:
        return converter.convert(AseAtomsAdaptor.get_structure(in_box(atoms)))

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        parts = converter.get_flat_data(graphs)
        batches = GraphBatchDistanceConvert(
            *parts, batch_size=len(graphs), is_shuffle=False, distance_converter=expansion
        )
        per_atom, predicted = (out[0].numpy().astype(np.float64) for out in network(batches[0]))
        counts = np.array([len(graph["atom"]) for graph in graphs])
        # Formation energies are predicted per atom.
        energies = predicted[:, 0] * counts if card.energy else None
        return np.add.reduceat(per_atom, counts.cumsum() - counts) / counts[:, None], energies

    def save(path: Path) -> None:
        model.save(path, save_format="h5")
        dumpfn({"graph_converter": converter}, f"{path}.json", fmt="json")

    return embed_by_batch(prepare, forward, atoms_out.shape[-1], card.elements, save=save)


def _read(file: Path) -> tuple[dict[str, int], list[list[Any]]]:
    """Sizes of the network, and the arrays of each layer that has any, in the order of the layers.

    Read as data: Keras may run code that stands in such a file.
    """
    import h5py

    with h5py.File(file) as content:
        described = json.loads(content.attrs["model_config"])["config"]["layers"]
        stored = content["model_weights"]
        names = list(stored.attrs["layer_names"])
        arrays = [[stored[name][part][()] for part in stored[name].attrs["weight_names"]] for name in names]
    layers: dict[str, list[dict[str, Any]]] = {}
    for layer in described:
        layers.setdefault(layer["class_name"], []).append(layer["config"])
    if not {"Embedding", "MEGNetLayer", "Set2Set"} <= set(layers):
        raise ValueError(f"{file.name} holds no MEGNet of atomic numbers")
    block, readout = layers["MEGNetLayer"], layers["Set2Set"][0]
    if "softplus2" not in json.dumps(block[0]["activation"]):
        raise ValueError(f"{file.name}: activation {block[0]['activation']} instead of softplus2")
    sizes = {
        "nvocal": layers["Embedding"][0]["input_dim"],
        "embedding_dim": layers["Embedding"][0]["output_dim"],
        "nblocks": len(block),
        "n1": block[0]["units_v"][0],
        "n2": block[0]["units_v"][-1],
        "n3": readout["n_hidden"],
        "npass": readout["T"],
        "ntarget": layers["Dense"][-1]["units"],
    }
    return sizes, [part for part in arrays if part]


def _read_distances(file: Path) -> tuple[float, Any, float]:
    """Cutoff, and the centres and width of the Gaussians that expand a distance."""
    content = json.loads(Path(f"{file}.json").read_text("utf-8"))["graph_converter"]
    gaussians = content["bond_converter"]
    return content["cutoff"], np.array(gaussians["centers"]["data"]), gaussians["width"]
