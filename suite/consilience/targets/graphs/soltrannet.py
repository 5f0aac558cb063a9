# /// script
# requires-python = ">=3.11"
# dependencies = ["openff-nagl-models==2025.9.0", "rdkit==2026.9.1", "soltrannet==1.0.0", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = ["pathlib ; sys_platform == 'never'"]
# ///
"""SolTranNet: attention over atoms and bonds for solubility in water (Francoeur and Koes 2021).

doi:10.1021/acs.jcim.1c00331. The package's architecture and features are used as they are; its front end, which
needs pkg_resources, is not.
"""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, mean_over_atoms, read_checkpoint
from consilience.targets._wheel import in_wheel


@target(
    Card(
        name="soltrannet",
        family="soltrannet",
        modality="graph",
        title="SolTranNet",
        revision="1.0.0, without the dummy atom",
        former_revisions=("1.0.0",),
        parameters=3_393,
        dimension=8,
        layer="atoms after the last of 8 attention layers and its normalisation",
        pooling="mean over heavy atoms; the model's dummy atom is left out",
        trained_on=("AqSolDB",),
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        reference="10.1021/acs.jcim.1c00331",
        source="file soltrannet/soltrannet_aqsol_trained.weights in the wheel of soltrannet==1.0.0",
        weights_sha256="b70bcce503668f4933698446351b575a3dfc8a4317b5e9c958ff779354ed9947",
        accepts="PyTorch state dict of a SolTranNet of the published size",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        distinct=False,  # the graph holds no bond orders and no chirality; several elements share a feature
        remark="Eight columns only: a check at the small end more than a representation.",
        resources=Resources(batch_size=128, memory_gib=2),
    ).with_corrections(parameters=3_384, total_parameters=3_393)
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build the package's network; its parts are loaded by file, not imported with the package."""
    import torch
    from rdkit import Chem

    torch.manual_seed(weights.seed)
    model = _part("transformer").make_model()
    featurize = _part("data_utils").featurize_mol
    if not weights.random:
        model.load_state_dict(read_checkpoint(weights, in_wheel("soltrannet", "soltrannet_aqsol_trained.weights")))
    model.eval().to(device)

    def prepare(smiles: str) -> tuple[Any, Any]:
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise ValueError("RDKit reads no molecule from the SMILES")
        atoms, bonds = featurize(molecule, True)
        return torch.tensor(atoms, dtype=torch.float32), torch.tensor(bonds, dtype=torch.float32)

    @torch.inference_mode()
    def forward(graphs: list[tuple[Any, Any]]) -> tuple[Any, None]:
        rows = []
        for atoms, bonds in graphs:  # one by one: nothing is padded
            mask = torch.ones(1, len(atoms), dtype=torch.bool, device=device)
            rows.append(model.encode(atoms[None].to(device), mask, bonds[None].to(device), None)[0, 1:].cpu())
        return mean_over_atoms(torch.cat(rows), torch.tensor([len(row) for row in rows])), None

    return embed_by_batch(prepare, forward, 8, save=lambda path: torch.save(model.state_dict(), path))


def _part(name: str) -> Any:
    """Module of the package, without the package's own import."""
    spec = spec_from_file_location(f"soltrannet_{name}", in_wheel("soltrannet", f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"soltrannet has no module {name}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
