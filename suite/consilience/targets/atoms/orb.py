# /// script
# requires-python = ">=3.11"
# dependencies = ["orb-models==0.5.5", "torch==2.13.0"]
# ///
"""Orb: graph networks that learn rotational symmetry from data instead of having it built in.

Orb-v2: Neumann et al. 2024, doi:10.48550/arXiv.2410.22570. Orb-v3 and OrbMol: Rhodes et al. 2025,
doi:10.48550/arXiv.2504.06231.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, require_molecule
from consilience.targets.atoms._rotations import mean_over_rotations

if TYPE_CHECKING:
    from pathlib import Path

MEAN = "-rotation-mean"
#: Training data, level of theory, elements and parameters of each kind of model (in the package's architectures).
ORB_V2 = (("MPtrj", "Alexandria"), "PBE/PBE+U", ELEMENTS_89, 25_213_601)
DIRECT, CONSERVATIVE = 25_644_479, 25_510_582
OMAT = (("OMat24",), "PBE/PBE+U", ELEMENTS_89)
MPA = (("MPtrj", "Alexandria"), "PBE/PBE+U", ELEMENTS_89)
OMOL = (("OMol25",), "wB97M-V/def2-TZVPD", ELEMENTS_89[:83])  # H to Bi

#: Message-passing steps of the published models, and of the twins that have fewer.
STEPS = {"orb-v2": 15, "orb-v3": 5}
TWIN_STEPS = {f"orb-v2{MEAN}": 1, f"orb-v3-conservative-inf-omat{MEAN}": 1}
RANDOMIZED = "The untrained twin of this target is the control 'Orb V3 OMat Direct 20 Randomized' of arXiv:2512.03750."


def _card(
    name: str,
    about: tuple[tuple[str, ...], str, tuple[str, ...], int],
    deviation: float,
    *remarks: str,
    mean: bool = False,
) -> Card:
    """Card of the model `name` of the package, or of its mean over rotations."""
    trained_on, theory, elements, parameters = about
    version = "orb-v2" if name == "orb-v2" else "orb-v3"
    date = {"orb-v2": "20241011"}.get(name, "20250820" if name.endswith("-omol") else "20250404")
    folder = "forcefields/orb-v3" if date == "20250404" else "forcefields"
    steps = TWIN_STEPS.get(name + MEAN * mean)
    return Card(
        name=name + MEAN * mean,
        family="orb",
        modality="atoms",
        title=name.replace("orb", "Orb", 1) + (", mean over 24 rotations" if mean else ""),
        revision=date,
        parameters=parameters,
        dimension=256,
        layer="atom features after the last message-passing step (input of the heads)",
        pooling="mean over atoms" + (" and over the 24 rotations of the cube" if mean else ""),
        trained_on=trained_on,
        level_of_theory=theory,
        elements=elements,
        periodic=False if name.endswith("-omol") else None,
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        reference="10.48550/arXiv.2410.22570" if version == "orb-v2" else "10.48550/arXiv.2504.06231",
        source=f"{folder}/{name}-{date}.ckpt in the bucket orbitalmaterials-public-models (S3)",
        access="download",
        accepts=f"a state dict of orb-models' {version} architecture, any number of message-passing steps",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin=f"{steps} message-passing step instead of {STEPS[version]}" if steps else None,
        energy=True,
        charge="used" if name.endswith("-omol") else "ignored",
        invariant=False,
        rotation_deviation=deviation,
        remark=" ".join((*remarks, "The figure for rotations is the untrained twin's.")),
        resources=Resources(memory_gib=6, batch_size=32 if "-20-" in name or version == "orb-v2" else 16),
    )


@target(
    _card("orb-v2", ORB_V2, 0.045, "arXiv:2512.03750 counts 25,161,727 parameters."),
    _card("orb-v2", ORB_V2, 0.005, mean=True),
    _card("orb-v3-direct-inf-omat", (*OMAT, DIRECT), 0.09),
    _card("orb-v3-direct-20-omat", (*OMAT, DIRECT), 0.09, RANDOMIZED),
    _card("orb-v3-direct-inf-mpa", (*MPA, DIRECT), 0.09),
    _card("orb-v3-direct-20-mpa", (*MPA, DIRECT), 0.09),
    _card("orb-v3-conservative-inf-omat", (*OMAT, CONSERVATIVE), 0.09),
    _card("orb-v3-conservative-inf-omat", (*OMAT, CONSERVATIVE), 0.005, mean=True),
    _card("orb-v3-conservative-20-omat", (*OMAT, CONSERVATIVE), 0.09),
    _card("orb-v3-conservative-inf-mpa", (*MPA, CONSERVATIVE), 0.09),
    _card("orb-v3-conservative-20-mpa", (*MPA, CONSERVATIVE), 0.09),
    _card("orb-v3-direct-omol", (*OMOL, 25_906_233), 0.06),
    _card("orb-v3-conservative-omol", (*OMOL, 25_839_670), 0.06),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell, OrbMol reads their charge and spin."""
    import torch
    from ase import Atoms
    from orb_models.forcefield import atomic_system, base

    name = card.name.removesuffix(MEAN)
    with contextlib.redirect_stdout(sys.stderr):
        model, has_energy = _model(card.name, weights)
    model.to(device).eval().requires_grad_(False)
    head = model.heads["energy"]
    head.reference.double()  # OrbMol's energies are those of all electrons: 10 meV are lost in single precision
    head.normalizer.double()
    if model.pair_repulsion:
        model.pair_repulsion_fn.compute_gradients = False  # its energy only

    def prepare(atoms: Any) -> Any:
        info = {}
        if name.endswith("-omol"):
            require_molecule(atoms)  # no periodic structures in OMol25
            info = {"charge": float(atoms.info["charge"]), "spin": float(atoms.info["spin"])}
        atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=info)
        graph = atomic_system.ase_atoms_to_atom_graphs(
            atoms, model.system_config, wrap=False, edge_method="knn_scipy", device=torch.device("cpu")
        )
        return _with_all_edges(graph, atoms, model.system_config)

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = base.batch_graphs(graphs).to(device=device)
        with torch.no_grad():
            per_atom = model.model(batch)["node_features"]
            energies = head.predict(per_atom, batch) if has_energy else None
            if has_energy and model.pair_repulsion:  # as the package's `predict`, without the forces
                energies = energies + model.pair_repulsion_fn(batch)["energy"]
        return mean_over_atoms(per_atom, batch.n_node), energies

    def save(path: Path) -> None:
        torch.save(model.state_dict(), path)

    embed = embed_by_batch(prepare, forward, 256, card.elements, save=save, max_atoms=512)
    return mean_over_rotations(embed) if card.name.endswith(MEAN) else embed


def _model(name: str, weights: Weights) -> tuple[Any, bool]:
    """Load the model that a card names; also say whether its energies mean anything."""
    import torch
    from cached_path import cached_path
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.atomic_system import SystemConfig
    from orb_models.utils import set_torch_precision

    version = "orb-v2" if name.startswith("orb-v2") else "orb-v3"
    model_name = name.removesuffix(MEAN)
    keys, path = None, None
    if not weights.random:
        url = inspect.signature(pretrained.ORB_PRETRAINED_MODELS[model_name]).parameters["weights_path"].default
        path = weights.file_or_published(lambda: cached_path(url))
        keys = torch.load(path, map_location="cpu", weights_only=True).keys()
    set_torch_precision("float32-highest")
    torch.manual_seed(weights.seed)
    arguments: dict[str, Any] = {
        "device": "cpu",
        "system_config": SystemConfig(
            radius=6.0, max_num_neighbors=20 if version == "orb-v2" or "-20-" in name else 120
        ),
        "num_message_passing_steps": TWIN_STEPS.get(name, STEPS[version]) if keys is None else _steps(keys),
    }
    if version == "orb-v2":
        model = pretrained.orb_v2_architecture(**arguments)
    else:
        omol = name.endswith("-omol")
        direct = "-direct-" in name
        build = pretrained.orb_v3_direct_architecture if direct else pretrained.orb_v3_conservative_architecture
        model = build(**arguments, has_charge_spin_cond=omol, has_stress=not omol)
    if keys is None:
        return model, True
    model = pretrained.load_model(model, str(path), device="cpu", precision="float32-highest", compile=False)
    # The loader lets heads be absent, and leaves them as they were drawn.
    return model, any(key.startswith(("heads.energy.", "graph_head.")) for key in keys)


def _steps(keys: Any) -> int:
    """Count the message-passing steps that a state dict holds."""
    stacks = {key.partition("gnn_stacks.")[2].split(".")[0] for key in keys if "gnn_stacks." in key}
    if not stacks:
        raise ValueError("the checkpoint holds no Orb model (no keys 'gnn_stacks')")
    return len(stacks)


def _with_all_edges(graph: Any, atoms: Any, config: Any) -> Any:
    """Replace a graph's edges by each atom's nearest neighbours within the radius, up to the model's cap.

    Two things in which the package's own list depends on how a crystal is described: it misses some pairs of
    oblique cells, and where the cap cuts through equal distances, rounding chooses. Here the list is complete
    and the direction of the neighbour chooses, so that another cell, image or atom order changes nothing.
    """
    import torch
    from ase.neighborlist import neighbor_list

    senders, receivers, vectors, shifts = neighbor_list("ijDS", atoms, config.radius)
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.lexsort((*vectors.T.round(4), lengths.round(8), senders))
    rank = np.arange(len(order)) - np.searchsorted(senders[order], senders[order])
    kept = order[rank < config.max_num_neighbors]
    return graph._replace(
        senders=torch.from_numpy(senders[kept]),
        receivers=torch.from_numpy(receivers[kept]),
        n_edge=torch.tensor([len(kept)]),
        edge_features={
            "vectors": torch.from_numpy(vectors[kept]).float(),
            "unit_shifts": torch.from_numpy(shifts[kept]).float(),
        },
    )
