# /// script
# requires-python = ">=3.11"
# dependencies = ["mace-torch==0.3.16", "torch==2.13.0"]
# ///
"""MACE: equivariant message passing with products of many-body order (Batatia et al., doi:10.48550/arXiv.2206.07697).

Foundation models: MACE-MP-0, MPA-0, OMAT-0, MATPES-0 (Batatia et al. 2023, doi:10.48550/arXiv.2401.00096), MACE-OFF23
(Kovács et al. 2023, doi:10.48550/arXiv.2312.15211), MACE-MH-1 (Batatia et al. 2025, doi:10.48550/arXiv.2510.25380).
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, require_trust

ORGANIC = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
HEADS_MH = ("matpes_r2scan", "mp_pbe_refit_add", "spice_wB97M", "oc20_usemppbe", "omol", "omat_pbe")

#: Model -> its name in the package's lists, and what sets its architecture apart. Sources: the training scripts of
#: the releases; the parameter counts of MP, MPA-0 and OFF23 come out as published.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mace-mp-small": ("small", {"hidden": "128x0e", "first": "Residual", "bessel": 10}),
    "mace-mp-medium": ("medium", {"hidden": "128x0e+128x1o", "first": "Residual", "bessel": 10}),
    "mace-mp-large": ("large", {"hidden": "256x0e+256x1o", "first": "Residual", "r_max": 5.0, "neighbours": 36.0}),
    "mace-mpa-0-medium": ("medium-mpa-0", {"hidden": "128x0e+128x1o", "density": True, "bessel": 10}),
    "mace-omat-0-small": ("small-omat-0", {"hidden": "128x0e", "density": True, "bessel": 10}),
    "mace-omat-0-medium": ("medium-omat-0", {"hidden": "128x0e+128x1o", "density": True, "bessel": 10}),
    "mace-matpes-pbe-0": ("mace-matpes-pbe-0", {"hidden": "128x0e+128x1o", "density": True, "bessel": 10}),
    "mace-matpes-r2scan-0": ("mace-matpes-r2scan-0", {"hidden": "128x0e+128x1o", "density": True, "bessel": 10}),
    "mace-mh-1": ("mh-1", {"hidden": "512x0e+512x1o", "edge": "128x0e+128x1o", "heads": HEADS_MH, "bessel": 10}),
    "mace-off23-small": ("small", {"hidden": "96x0e", "r_max": 4.5, "neighbours": 16.0}),
    "mace-off23-medium": ("medium", {"hidden": "128x0e+128x1o", "r_max": 5.0, "neighbours": 20.0}),
    "mace-off23-large": ("large", {"hidden": "224x0e+224x1o+224x2e", "r_max": 5.0, "neighbours": 20.0}),
}
#: Suffix of a card's name -> which columns of the features it takes.
VARIANTS = ("-equivariant", "-last-layer")
ALL_LAYERS = "atom features after the products of both layers (inputs of the readouts)"
STATISTICS = "stand-ins for statistics of the training data: neighbours per atom; energies' references, scale and shift"


def _model(name: str) -> str:
    """Model of a card: its name without the suffix that names the features."""
    for variant in VARIANTS:
        name = name.removesuffix(variant)
    return name


def _card(name: str, title: str, dimension: int, layer: str = f"{ALL_LAYERS}, invariant part", **fields: Any) -> Card:
    """Card of MACE-MP-0; other models say what differs."""
    common: dict[str, Any] = {
        "revision": "MACE-MP-0 (0a)",
        "trained_on": ("MPtrj",),
        "level_of_theory": "PBE/PBE+U",
        "elements": ELEMENTS_89,
        "licence_weights": "MIT",
        "reference": "10.48550/arXiv.2401.00096",
        "source": f"ACEsuit/mace-foundations on GitHub: {MODELS[_model(name)][0]!r} of mace.calculators.mace_mp",
        "twin": STATISTICS,
    }
    return Card(
        name=name,
        family="mace",
        modality="atoms",
        title=title,
        dimension=dimension,
        layer=layer,
        pooling="mean over atoms",
        licence_code="MIT",
        access="download",
        accepts="model of mace_run_train (.model, not the compiled one): a pickled module",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        energy=True,
        resources=Resources(memory_gib=6, batch_size=16),
        **(common | fields),
    )


def _equivariant(name: str, title: str, dimension: int, rotation_deviation: float, **fields: Any) -> Card:
    remark = (
        "Means of vector features turn with the structure, and vanish where it has a centre of inversion. "
        "The change under rotation was measured on untrained twins."
    )
    return _card(
        name,
        title,
        dimension,
        f"{ALL_LAYERS}, vectors of the first layer included",
        invariant=False,
        rotation_deviation=rotation_deviation,
        remark=remark,
        **fields,
    )


def _omat(name: str, title: str, dimension: int = 256, **fields: Any) -> Card:
    """Card of a model trained on OMat24, or from there on."""
    common: dict[str, Any] = {
        "revision": "MACE-OMAT-0",
        "trained_on": ("OMat24",),
        "licence_weights": "LicenseRef-ASL",
        "twin": f"{STATISTICS}; 10 radial functions are assumed",
    }
    return _card(name, title, dimension, **(common | fields))


def _off(size: str, dimension: int, parameters: int) -> Card:
    return _card(
        f"mace-off23-{size}",
        f"MACE-OFF23 {size}",
        dimension,
        revision="MACE-OFF23",
        parameters=parameters,
        trained_on=("SPICE",),
        level_of_theory="wB97M-D3(BJ)/def2-TZVPPD",
        elements=ORGANIC,
        licence_weights="LicenseRef-ASL",
        reference="10.48550/arXiv.2312.15211",
        source=f"ACEsuit/mace-off on GitHub: mace_off23/MACE-OFF23_{size}.model",
    )


@target(
    _card("mace-mp-small", "MACE-MP-0 small", 256, parameters=3_847_696),
    _card("mace-mp-medium", "MACE-MP-0 medium", 256, parameters=4_688_656),
    _equivariant("mace-mp-medium-equivariant", "MACE-MP-0 medium, equivariant", 640, 0.09, parameters=4_688_656),
    _card(
        "mace-mp-medium-last-layer",
        "MACE-MP-0 medium, last layer",
        128,
        "atom features after the product of the last layer (input of the last readout)",
        parameters=4_688_656,
    ),
    _card("mace-mp-large", "MACE-MP-0 large", 512, parameters=15_847_440),
    _equivariant("mace-mp-large-equivariant", "MACE-MP-0 large, equivariant", 1280, 0.16, parameters=15_847_440),
    _card(
        "mace-mpa-0-medium",
        "MACE-MPA-0 medium",
        256,
        revision="MACE-MPA-0",
        parameters=9_063_204,
        trained_on=("MPtrj", "sAlex"),
    ),
    _omat("mace-omat-0-small", "MACE-OMAT-0 small"),
    _omat("mace-omat-0-medium", "MACE-OMAT-0 medium"),
    _omat(
        "mace-matpes-pbe-0",
        "MACE-MATPES-PBE-0 (from OMAT-0)",
        revision="MACE-MATPES-0",
        trained_on=("OMat24", "MatPES-PBE"),
        level_of_theory="PBE (fine-tuned from PBE/PBE+U)",
    ),
    _omat(
        "mace-matpes-r2scan-0",
        "MACE-MATPES-r2SCAN-0 (from OMAT-0)",
        revision="MACE-MATPES-0",
        trained_on=("OMat24", "MatPES-r2SCAN"),
        level_of_theory="r2SCAN (fine-tuned from PBE/PBE+U)",
    ),
    _omat(
        "mace-mh-1",
        "MACE-MH-1",
        1024,
        revision="MACE-MH-1",
        trained_on=("OMat24", "MPtrj", "SPICE", "OC20", "OMol25", "MatPES-r2SCAN"),
        level_of_theory="one head per data set; energies are those of the head omat_pbe (PBE/PBE+U)",
        licence_weights=None,
        reference="10.48550/arXiv.2510.25380",
        twin=f"{STATISTICS}; many-body order and edge features are assumed (8.8 million parameters)",
    ),
    _off("small", 192, 694_320),
    _off("medium", 256, 1_428_368),
    _off("large", 448, 4_707_312),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    import torch

    require_trust(weights)  # the file is a pickled module
    torch.serialization.add_safe_globals([slice])  # in e3nn's table of constants, which it reads on import
    with contextlib.redirect_stdout(sys.stderr):
        import mace  # noqa: F401 sets a variable by which every torch.load of the process would unpickle

        os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
        from mace.data import AtomicData, KeySpecification, config_from_atoms
        from mace.modules import MACE
        from mace.tools import AtomicNumberTable
        from mace.tools.torch_geometric import Batch

        name = _model(card.name)
        if weights.random:
            torch.manual_seed(weights.seed)
            model = _build(card.elements or ELEMENTS_89, **MODELS[name][1])
        else:
            path = weights.file_or_published(lambda: _download(name))
            model = torch.load(path, map_location="cpu", weights_only=False)
        if not isinstance(model, MACE):
            raise ValueError(f"{path.name} holds {type(model).__name__}, not a MACE model (the file ending in .model)")
    model.float().to(device).eval().requires_grad_(False)

    table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
    heads = getattr(model, "heads", ["Default"])  # the first releases know no heads
    # Heads share all features; they give energies alone.
    head = next((each for each in heads if each.lower() in ("default", "omat_pbe")), heads[-1])
    keys = KeySpecification(info_keys={"total_charge": "charge", "total_spin": "spin"})
    cutoff = float(model.r_max)
    columns = torch.tensor(_columns(model, card.name), device=device)

    def prepare(atoms: Any) -> Any:
        configuration = config_from_atoms(atoms, key_specification=keys, head_name=head)
        return AtomicData.from_config(configuration, z_table=table, cutoff=cutoff, heads=heads)

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list(graphs).to(device)
        counts = batch.ptr.diff()
        with torch.no_grad():
            out = model(batch.to_dict(), compute_force=False)
        # All-electron references: sums in single precision would be good to 10 meV at best.
        energies = torch.segment_reduce(out["node_energy"].double(), "sum", lengths=counts)
        return mean_over_atoms(out["node_feats"][:, columns], counts), energies

    def save(path: Path) -> None:
        torch.save(model, path)

    return embed_by_batch(prepare, forward, len(columns), _symbols(table.zs), save=save, max_atoms=512)


def _symbols(numbers: list[int]) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in numbers]


def _download(model: str) -> Path:
    """Fetch a published model into mace's own cache, unless it is there."""
    from mace.calculators import foundations_models as published
    from mace.tools.utils import get_cache_dir

    name = MODELS[model][0]
    if not model.startswith("mace-off23"):
        return Path(published.download_mace_mp_checkpoint(name))
    url = published.mace_off_urls[name]
    kept = get_cache_dir() / url.rsplit("/", 1)[1]  # where mace_off keeps it
    return kept if kept.is_file() else Path(published.download_mace_mp_checkpoint(url))


def _columns(model: Any, name: str) -> list[int]:
    """Columns that a card takes of the features of all layers, which lie one layer after another."""
    from e3nn.o3 import Irreps

    layers, start = [], 0
    for product in model.products:
        irreps = Irreps(str(product.linear.irreps_out))
        pieces = zip(irreps, irreps.slices(), strict=True)
        kept = [piece for (_, irrep), piece in pieces if irrep.l == 0 or name.endswith("-equivariant")]
        layers.append([start + column for piece in kept for column in range(piece.start, piece.stop)])
        start += irreps.dim
    return layers[-1] if name.endswith("-last-layer") else [column for layer in layers for column in layer]


def _build(
    elements: tuple[str, ...],
    hidden: str,
    *,
    first: str = "",
    density: bool = False,
    edge: str | None = None,
    r_max: float = 6.0,
    bessel: int = 8,
    neighbours: float = 62.0,
    heads: tuple[str, ...] = ("Default",),
) -> Any:
    """Build a model with random weights, with the settings that all the releases share.

    The average number of neighbours divides the sums over neighbours.
    """
    import numpy as np
    import torch
    from ase.data import atomic_numbers
    from e3nn.o3 import Irreps
    from mace.modules import NonLinearReadoutBlock, ScaleShiftMACE, interaction_classes

    kind = "Density" if density else ""
    blocks = [f"RealAgnostic{kind}{residual}InteractionBlock" for residual in (first, "Residual")]
    nonlinear: dict[str, Any] = {}
    if edge is not None:  # MACE-MH
        blocks = ["RealAgnosticResidualNonLinearInteractionBlock"] * 2
        nonlinear = {"edge_irreps": Irreps(edge), "use_agnostic_product": True}
    transform = "Agnesi" if density or edge else "None"
    return ScaleShiftMACE(
        r_max=r_max,
        num_bessel=bessel,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls_first=interaction_classes[blocks[0]],
        interaction_cls=interaction_classes[blocks[1]],
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=Irreps(hidden),
        MLP_irreps=Irreps("16x0e"),
        readout_cls=NonLinearReadoutBlock,
        atomic_energies=np.zeros((len(heads), len(elements))),
        avg_num_neighbors=neighbours,
        atomic_numbers=sorted(atomic_numbers[symbol] for symbol in elements),
        correlation=2 if edge else 3,
        gate=torch.nn.functional.silu,
        pair_repulsion=transform == "Agnesi",
        distance_transform=transform,
        heads=list(heads),
        atomic_inter_scale=[1.0] * len(heads),
        atomic_inter_shift=[0.0] * len(heads),
        **nonlinear,
    )
