"""Real published checkpoints of networks over bonds, scored as a user's own files.

Both networks are built from their papers' equations. That the equations are the right ones is told by the weights
themselves: the batch normalisations hold means and variances of the activations seen in training, and a network that
is put together in another way has other activations. The files are looked for as in `test_checkpoints`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from consilience import get_target
from consilience.cards import UNTRAINED
from consilience.datasets.items import open_dataset
from consilience.registry import Target
from consilience.testing import check_target

from .test_checkpoints import WEIGHTS, embed, existing

__all__ = ["embed"]

pytestmark = pytest.mark.environment

CHECKPOINTS = {
    "molclr-gcn": "gnn2d/molclr_gcn.pth",
    "hu2020-graphsage-contextpred": "gnn2d/hu_graphsage_contextpred.pth",
}

#: Drugs: what both networks were trained on is more like these than like QM9.
DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "CC(=O)Nc1ccc(O)cc1",
    "CN1C2CCC1CC(OC(=O)C(CO)c1ccccc1)C2",
    "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21",
    "Clc1ccccc1C1(NC)CCCCC1=O",
    "CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O",
    "COc1ccc2nc(S(=O)Cc3ncc(C)c(OC)c3C)[nH]c2c1",
    "O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O",
    "CC(C)NCC(O)COc1cccc2ccccc12",
    "CNCCC(Oc1ccc(C(F)(F)F)cc1)c1ccccc1",
    "NS(=O)(=O)c1cc2c(cc1Cl)NCNS2(=O)=O",
    "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
    "CN(C)CCOC(c1ccccc1)c1ccccc1",
    "O=C1CCC(N2C(=O)c3ccccc3C2=O)C(=O)N1",
    "CC(=O)CC(c1ccccc1)c1c(O)c2ccccc2oc1=O",
    "Nc1ccc(S(=O)(=O)Nc2ncccn2)cc1",
    "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "COc1cc(Cc2cnc(N)nc2N)cc(OC)c1OC",
    "CN(C)C(=N)NC(=N)N",
    "CCC(=O)N(c1ccccc1)C1CCN(CCc2ccccc2)CC1",
    "OC(=O)Cc1ccccc1Nc1c(Cl)cccc1Cl",
]


def adapter(name: str) -> Target:
    """Return the target as the adapter of its real file."""
    return get_target(name).from_checkpoint(existing(WEIGHTS / CHECKPOINTS[name]))


def reference(
    name: str, smiles: str, state: dict[str, NDArray[np.float64]], loops: bool = True
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Row of a molecule, and what enters each batch normalisation: with matrices, one molecule at a time."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    turns = {Chem.CHI_UNSPECIFIED: 0, Chem.CHI_TETRAHEDRAL_CW: 1, Chem.CHI_TETRAHEDRAL_CCW: 2}
    kinds = {Chem.BondType.SINGLE: 0, Chem.BondType.DOUBLE: 1, Chem.BondType.TRIPLE: 2, Chem.BondType.AROMATIC: 3}
    sides = {Chem.BondDir.NONE: 0, Chem.BondDir.ENDUPRIGHT: 1, Chem.BondDir.ENDDOWNRIGHT: 2}
    n = molecule.GetNumAtoms()
    adjacency = np.eye(n) if loops else np.zeros((n, n))
    kind, side = np.full((n, n), 4), np.zeros((n, n), int)
    for bond in molecule.GetBonds():
        for i, j in [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), (bond.GetEndAtomIdx(), bond.GetBeginAtomIdx())]:
            adjacency[i, j], kind[i, j], side[i, j] = 1, kinds[bond.GetBondType()], sides[bond.GetBondDir()]
    h = state["x_embedding1.weight"][[atom.GetAtomicNum() - 1 for atom in molecule.GetAtoms()]]
    h = h + state["x_embedding2.weight"][[turns[atom.GetChiralTag()] for atom in molecule.GetAtoms()]]
    seen = []
    for number in range(5):
        layer = {key.split(".", 2)[2]: value for key, value in state.items() if key.startswith(f"gnns.{number}.")}
        norm = {key.split(".", 2)[2]: value for key, value in state.items() if key.startswith(f"batch_norms.{number}.")}
        edges = layer["edge_embedding1.weight"][kind] + layer["edge_embedding2.weight"][side]
        edges = (adjacency[:, :, None] * edges).sum(1)
        if name == "molclr-gcn":
            h = adjacency @ (h @ layer["weight"]) + edges + layer["bias"]
        else:
            h = (adjacency @ (h @ layer["linear.weight"].T + layer["linear.bias"]) + edges) / adjacency.sum(1)[:, None]
            h = h / np.linalg.norm(h, axis=1, keepdims=True)
        seen.append(h)
        h = (h - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
        h = np.maximum(h, 0) if number < 4 else h
    return h.mean(0), seen


#: Formal charges averaged over resonance forms, by hand.
AVERAGED = {
    "CC(=O)[O-]": [0, 0, -1 / 2, -1 / 2],
    "NC(N)=[NH2+]": [1 / 3, 0, 1 / 3, 1 / 3],
    "C[N+](=O)[O-]": [0, 1, -1 / 2, -1 / 2],
    "CC(=O)NC": [0, 0, 0, 0, 0],  # the form with charges is higher in energy
    "[O-]C(=O)CC(=O)[O-]": [-1 / 2, 0, -1 / 2, 0, 0, -1 / 2, -1 / 2],  # two parts, apart
    "[O-]c1ccc(C=O)cc1": [-1 / 2, 0, 0, 0, 0, 0, -1 / 2, 0, 0],
    "C[NH3+]": [0, 1],
}


@pytest.mark.parametrize("smiles", AVERAGED)
def test_nagl_averages_formal_charges(smiles: str) -> None:
    chem = pytest.importorskip("rdkit.Chem")
    from consilience.targets.graphs.nagl import averaged_charges

    molecule = chem.AddHs(chem.MolFromSmiles(smiles))
    chem.Kekulize(molecule)
    heavy = len(AVERAGED[smiles])
    charges = averaged_charges(molecule)
    assert charges[:heavy] == pytest.approx(AVERAGED[smiles])
    assert not any(charges[heavy:])


def weights_of(name: str) -> dict[str, NDArray[np.float64]]:
    torch = pytest.importorskip("torch")
    state = torch.load(existing(WEIGHTS / CHECKPOINTS[name]), map_location="cpu", weights_only=True)
    return {key: value.double().numpy() for key, value in state.items()}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_contract_holds(name: str) -> None:
    target = adapter(name)
    assert target.name == f"{name}@{Path(CHECKPOINTS[name]).stem}"
    assert target.weights.trusted is False  # state dicts open without running anything
    report = check_target(target, dataset="qm9-1k", n=24)
    print(report)
    report.raise_for_failures()
    assert {"the untrained twin differs", "saved and loaded again"} <= {check.name for check in report.checks}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_rows_are_those_of_the_equations(name: str, embed: Any) -> None:
    items = open_dataset("qm9-1k").select(np.arange(0, 1000, 50))
    rows, _ = embed(adapter(name), items)
    state = weights_of(name)
    expected = np.array([reference(name, smiles, state)[0] for smiles in items.view("smiles")])
    deviation = np.linalg.norm(rows - expected, axis=1) / np.linalg.norm(expected, axis=1)
    print(f"{name}: {deviation.max():.1e}")
    assert deviation.max() < 1e-5


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_activations_are_those_of_the_training(name: str) -> None:
    """Their mean, over drugs, follows the mean that each batch normalisation holds."""
    state = weights_of(name)

    def correlations(loops: bool) -> NDArray[np.float64]:
        seen = [reference(name, smiles, state, loops)[1] for smiles in DRUGS]
        means = [np.concatenate(layer).mean(0) for layer in zip(*seen, strict=True)]
        held = [state[f"batch_norms.{number}.running_mean"] for number in range(5)]
        return np.array([np.corrcoef(mean, one)[0, 1] for mean, one in zip(means, held, strict=True)])

    right, wrong = correlations(loops=True), correlations(loops=False)
    print(f"{name}: {right.round(2)}; without the atoms' bonds to themselves {wrong.round(2)}")
    assert right[:4].min() > 0.9
    if name != "molclr-gcn":  # whose embeddings of bonds are single numbers
        assert wrong[1:4].max() < 0.5


def test_training_brings_molclr_nearer_to_fingerprints(embed: Any, tmp_path: Path) -> None:
    """Spearman correlation of cosine similarity with Tanimoto similarity over pairs of 300 molecules of QM9.

    (The other network was trained on larger molecules; here it has 0.25, its twin 0.46.)
    """
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator
    from scipy.stats import spearmanr

    name = "molclr-gcn"
    items = open_dataset("qm9-1k").select(np.linspace(0, 999, 300).round().astype(int))
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048).GetFingerprint
    prints = [make(Chem.MolFromSmiles(smiles)) for smiles in items.view("smiles")]
    tanimoto = np.array([DataStructs.BulkTanimotoSimilarity(one, prints) for one in prints])
    pairs = np.triu_indices(len(prints), 1)

    def agreement(target: Target) -> float:
        rows, _ = embed(target, items)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return float(spearmanr((rows @ rows.T)[pairs], tanimoto[pairs])[0])

    trained = agreement(adapter(name))
    (tmp_path / "shards").rename(tmp_path / "trained")
    untrained = agreement(get_target(name + UNTRAINED))
    print(f"{name}: {trained:.2f}, untrained {untrained:.2f}")
    assert trained > 0.5
    assert trained > untrained + 0.1  # five seeds: 0.28 to 0.49
