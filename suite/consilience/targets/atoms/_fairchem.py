"""What the families of Meta's fairchem share; versions 1 and 2 of the package know different models and files."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.targets._batch import embed_by_batch, mean_over_atoms, require_trust
from consilience.targets.atoms._box import in_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from consilience.weights import Weights


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the package's remarks (deprecated names, settings in use) off the streams; errors pass."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(before)


# Version 1 (fairchem-core 1.10): EquiformerV2 and the eSEN of the OMat24 release


def embed_with_1(
    weights: Weights,
    *,
    published: str,
    modules: Sequence[str],
    twin: dict[str, Any],
    scalars: Callable[[Any], Any],
    energy: Callable[[Any, Any, Any], Any],
    device: str,
    elements: Sequence[str] | None,
) -> Any:
    """Build `embed` for a backbone with heads ("Hydra") of version 1.

    Parameters
    ----------
    weights
        Which weights.
    published
        Name of the published checkpoint in the package's list.
    modules
        Modules below ``fairchem.core.models`` that register the backbone and the heads.
    twin
        ``backbone`` and ``heads`` of the untrained twin.
    scalars
        Takes the backbone's ``node_embedding``, gives its l = 0 part, ``(atoms, channels)``.
    energy
        Takes the heads, a batch and the backbone's output, gives ``(structures,)`` energies as the head scales them;
        None where no head tells them.
    device
        Torch device string.
    elements
        Chemical symbols that the model covers.
    """
    import torch

    with quiet():
        model, checkpoint = _load_1(weights, published, modules, twin)
        from fairchem.core.datasets import data_list_collater
        from fairchem.core.modules.normalization.element_references import create_element_references
        from fairchem.core.modules.normalization.normalizer import create_normalizer
        from fairchem.core.preprocessing import AtomsToGraphs
    model.to(device)
    backbone = model.backbone
    backbone.regress_forces = backbone.regress_stress = False  # energies only: no gradients
    to_graph = AtomsToGraphs(r_energy=False, r_forces=False, r_distances=False, r_edges=False, r_pbc=True)
    # As the package's calculator: normalised prediction -> eV -> plus the references of the elements.
    scale, references = checkpoint["normalizers"].get("energy"), checkpoint["elementrefs"].get("energy")
    normalizer = create_normalizer(state_dict=scale).to(device) if scale else None
    reference = create_element_references(state_dict=references).to(device) if references else None
    known = normalizer is not None or reference is not None

    def prepare(atoms: Any) -> Any:
        if len(atoms) == 1 and not atoms.pbc.any():
            raise ValueError("a lone atom has no neighbours, which the model cannot do without")
        return to_graph.convert(in_box(atoms, vacuum=backbone.cutoff + 1))

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = data_list_collater(graphs, otf_graph=True).to(device)
        torch.manual_seed(0)  # the frames of the edges are turned at random: by the same angles in every call
        with torch.no_grad():
            embedding = backbone(batch)
            energies = energy(model.output_heads, batch, embedding) if known else None
            if energies is not None:
                energies = energies.double() if normalizer is None else normalizer(energies.double())
                if reference is not None:
                    energies = reference(energies, batch, reshaped=False)
        return mean_over_atoms(scalars(embedding["node_embedding"]), batch.natoms), energies

    def save(path: Path) -> None:
        state = {f"module.{key}": value.cpu() for key, value in model.state_dict().items()}
        torch.save({**checkpoint, "state_dict": state}, path)

    return embed_by_batch(prepare, forward, backbone.sphere_channels, elements, save=save)


def _load_1(weights: Weights, published: str, modules: Sequence[str], twin: dict[str, Any]) -> tuple[Any, Any]:
    """Model in evaluation mode, and what its checkpoint holds beside the weights; the steps of `OCPCalculator`."""
    import torch

    _prepare_1(modules)
    from fairchem.core.common.registry import registry
    from fairchem.core.common.utils import load_state_dict, match_state_dict
    from fairchem.core.models.model_registry import model_name_to_local_file

    if weights.random:
        scale = {"energy": {"mean": torch.tensor(0.0), "rmsd": torch.tensor(1.0)}}
        config = {"name": "hydra", "otf_graph": True, "pass_through_head_outputs": True, **twin}
        checkpoint: dict[str, Any] = {"normalizers": scale}
    else:
        require_trust(weights)  # a pickle, and its configuration names the classes to call
        path = weights.file_or_published(lambda: model_name_to_local_file(published, local_cache=""))
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        config = checkpoint["config"]["model"]
        if not isinstance(config, dict) or not isinstance(config.get("backbone"), dict):
            raise ValueError(f"{path.name}: the model is not a backbone with heads (fairchem's Hydra)")
        # Neighbours are found by the model, whatever the training's data loader did.
        config = {**config, "otf_graph": True, "backbone": {**config["backbone"], "otf_graph": True}}
    torch.manual_seed(weights.seed)
    model = registry.get_model_class(config["name"])(**{key: config[key] for key in config if key != "name"})
    if not weights.random:
        load_state_dict(model, match_state_dict(model.state_dict(), checkpoint["state_dict"]), strict=True)
    kept = {key: checkpoint.get(key) or {} for key in ("normalizers", "elementrefs")}
    return model.eval().requires_grad_(False), {"config": {"model": config}, **kept}


def _prepare_1(modules: Sequence[str]) -> None:
    """Import version 1 with a stand-in for torch_scatter, which has no build for this torch."""
    import importlib

    import e3nn.o3._angular_spherical_harmonics as harmonics
    from torch_geometric.utils import scatter

    stand_in = types.ModuleType("torch_scatter")
    stand_in.scatter = scatter  # type: ignore[attr-defined]  # of the stress heads, which are not run
    sys.modules.setdefault("torch_scatter", stand_in)
    # Dozens of grids per model derive the same Legendre polynomials symbolically: without this, half a minute.
    harmonics._poly_legendre = functools.cache(harmonics._poly_legendre)
    # What registers the models in use; the package would scan all it has, and some of them need torch_sparse.
    for module in ("base", *modules):
        importlib.import_module(f"fairchem.core.models.{module}")


# Version 2 (fairchem-core 2.24): UMA and the eSEN of the OMol25 release


def embed_with_2(
    weights: Weights,
    *,
    published: str,
    twin: dict[str, Any],
    rows: Callable[[Any], Any],
    device: str,
    elements: Sequence[str] | None,
) -> Any:
    """Build `embed` for a backbone with heads ("Hydra") of version 2.

    A molecule is embedded for the task "omol", with the charge and the multiplicity of ``atoms.info``; a crystal for
    "omat", with neither, as in training. Where the checkpoint has one task only, that one serves for both, except
    that "omol" serves for molecules alone.

    Parameters
    ----------
    weights
        Which weights.
    published
        Name of the published checkpoint in the package's list.
    twin
        Configuration of the untrained twin, from :func:`configuration_2`.
    rows
        Takes the backbone's ``node_embedding``, ``(atoms, (lmax + 1)**2, channels)``, gives ``(atoms, columns)``.
    device
        Torch device string.
    elements
        Chemical symbols that the model covers.
    """
    import torch
    from ase import Atoms

    with quiet():
        from fairchem.core.datasets.atomic_data import AtomicData, atomicdata_list_to_batch

        model = _load_2(weights, published, twin, device)
    backbone = model.backbone
    if not hasattr(backbone, "sph_feature_size"):
        raise ValueError(f"the checkpoint's backbone is {type(backbone).__name__}, of another family than eSEN and UMA")
    backbone.regress_config.forces = backbone.regress_config.stress = False  # energies only: no gradients
    tasks = [task for task in model.tasks.values() if task.property == "energy"]
    for task in tasks:
        task.normalizer.to(device)
        if task.element_references is not None:
            task.element_references.to(device)
    datasets = list(model.dataset_to_tasks)
    caught: dict[str, Any] = {}
    backbone.register_forward_hook(lambda _, inputs, out: caught.update(x=out["node_embedding"]))

    def prepare(atoms: Any) -> Any:
        periodic = bool(np.all(atoms.pbc))
        if np.any(atoms.pbc) and not periodic:
            raise ValueError("periodic in some directions only")
        if len(atoms) == 1 and not periodic:
            raise ValueError("a lone atom is outside the model's domain")
        dataset = "omat" if periodic else "omol"
        if dataset not in datasets and len(datasets) == 1 and not (periodic and datasets == ["omol"]):
            dataset = datasets[0]
        if dataset not in datasets:
            raise ValueError(f"the model has no task {dataset!r} (it has {', '.join(datasets)})")
        electrons = {"charge": 0, "spin": 0}
        if dataset == "omol":
            electrons = {"charge": int(atoms.info.get("charge", 0)), "spin": int(atoms.info.get("spin", 1))}
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=electrons)
        return AtomicData.from_ase(plain, task_name=dataset, r_data_keys=["charge", "spin"])

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = atomicdata_list_to_batch(graphs).to(device)
        with torch.no_grad():
            out = model(batch)
            energies = torch.full((len(graphs),), torch.nan, dtype=torch.float64, device=device)
            for task in tasks:  # as the package's predictor: normalised prediction -> eV -> plus references
                mine = torch.tensor([name in task.datasets for name in batch.dataset], device=device)
                if task.name in out and mine.any():
                    values = task.normalizer.denorm(out[task.name]["energy"].double())
                    if task.element_references is not None:
                        values = task.element_references.undo_refs(batch, values)
                    energies[mine] = values.double()[mine]
        return mean_over_atoms(rows(caught.pop("x")), batch.natoms), energies

    def save(path: Path) -> None:
        from fairchem.core.units.mlip_unit.api.inference import MLIPInferenceCheckpoint

        state = {key: value.cpu() for key, value in model.state_dict().items()}
        average = {"n_averaged": torch.tensor(1), **{f"module.{key}": value for key, value in state.items()}}
        torch.save(MLIPInferenceCheckpoint(twin["model"], state, average, twin["tasks"]), path)

    dimension = rows(torch.zeros(1, backbone.sph_feature_size, backbone.sphere_channels)).shape[1]
    return embed_by_batch(prepare, forward, dimension, elements, save=save if weights.random else None)


def _load_2(weights: Weights, published: str, twin: dict[str, Any], device: str) -> Any:
    """Backbone with heads and tasks, in evaluation mode; without compilation and merging of experts."""
    import hydra
    import torch
    from fairchem.core.calculate.pretrained_mlip import pretrained_checkpoint_path_from_name
    from fairchem.core.units.mlip_unit import load_predict_unit

    if weights.random:
        torch.manual_seed(weights.seed)
        model = hydra.utils.instantiate(twin["model"])
        model.setup_tasks(twin["tasks"])
    else:
        require_trust(weights)  # a pickle, and its configuration names the classes to call
        path = weights.file_or_published(lambda: pretrained_checkpoint_path_from_name(published))
        model = load_predict_unit(path, inference_settings="batch", device=device).model.module
    return model.to(device).eval().requires_grad_(False)


def configuration_2(
    datasets: Sequence[str], *, experts: int, layers: int, degree: int, distances: int, **more: Any
) -> dict[str, Any]:
    """Configuration of a twin: ``model`` and ``tasks`` as they stand in a checkpoint (fairchem, configs/uma).

    Parameters
    ----------
    datasets
        Names of the tasks.
    experts
        Linear experts that each convolution mixes; none in eSEN.
    layers, degree, distances
        Layers, largest degree l, Gaussians that expand a distance.
    **more
        What the backbone is given beyond that; `model_id` goes to the model.
    """
    models = "fairchem.core.models"
    model_id = more.pop("model_id", None)
    backbone = {
        "model": f"{models}.uma.escn_moe.eSCNMDMoeBackbone",
        "num_experts": experts,
        "use_composition_embedding": True,
        "sphere_channels": 128,
        "lmax": degree,
        "mmax": 2,
        "otf_graph": True,
        "always_use_pbc": False,
        "max_neighbors": 300,
        "cutoff": 6.0,
        "num_distance_basis": distances,
        "direct_forces": False,
        "regress_forces": True,
        "num_layers": layers,
        "ff_type": "spectral",
        "chg_spin_emb_type": "rand_emb",
        "cs_emb_grad": True,
        "dataset_mapping": {name: name for name in datasets},
        **more,
    }
    head = {
        "module": f"{models}.uma.escn_moe.DatasetSpecificSingleHeadWrapper",
        "head_cls": f"{models}.uma.escn_md.MLP_EFS_Head",
        "head_kwargs": {"wrap_property": False},
        "dataset_names": list(datasets),
    }
    model = {
        "_target_": f"{models}.base.HydraModel",
        "backbone": backbone,
        "heads": {"energyandforcehead": head},
        "pass_through_head_outputs": True,
        "model_id": model_id,
    }
    unit, scale = "fairchem.core.units.mlip_unit.mlip_unit", "fairchem.core.modules.normalization.normalizer.Normalizer"
    tasks = [
        {
            "_target_": f"{unit}.Task",
            "name": f"{name}_energy",
            "level": "system",
            "property": "energy",
            "out_spec": {"_target_": f"{unit}.OutputSpec", "dim": [1], "dtype": "float32"},
            "normalizer": {"_target_": scale, "mean": 0.0, "rmsd": 1.0},
            "datasets": [name],
        }
        for name in datasets
    ]
    return {"model": model, "tasks": tasks}
