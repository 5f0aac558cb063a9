# /// script
# requires-python = ">=3.11"
# dependencies = ["nequix==0.4.5", "jax==0.10.2"]
#
# [tool.uv]
# override-dependencies = [
#     "jax==0.10.2",
#     "wandb ; sys_platform == 'never'",
#     "wandb-osh ; sys_platform == 'never'",
#     "ase-db-backends ; sys_platform == 'never'",
# ]
# ///
"""Nequix: small NequIP-type equivariant network in JAX (Koker et al. 2025, doi:10.48550/arXiv.2508.16067).

Runs on the CPU: the header overrides the package's jax[cuda12], which would bring 5.7 GB of CUDA libraries.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Commit of each published file, as in the addresses that the package downloads from.
MP, OMAT = "7c2854de8e754b1a60274c7d9d2e014989ed632e", "9c852a9c4cce69ae5e75bc5a2cf670be21ff8c28"
#: Settings that all published models share but for the energies' shift and scale (MPtrj's here).
PUBLISHED = {
    "hidden_irreps": "128x0e + 64x1o + 32x2e + 32x3o",
    "lmax": 3,
    "cutoff": 6.0,
    "n_layers": 4,
    "radial_basis_size": 8,
    "radial_mlp_size": 64,
    "radial_mlp_layers": 2,
    "radial_polynomial_p": 6.0,
    "mlp_init_scale": 4.0,
    "index_weights": False,
    "layer_norm": True,
    "shift": 0.16502578765761478,
    "scale": 0.8066479563713074,
    "avg_n_neighbors": 57.413687022442645,
}
#: JAX compiles anew for each shape (5 s): graphs are batched up to CHUNK edges and padded to FIRST * 4^k.
FIRST, CHUNK = 2048, 8192
#: Room for nodes in a padded batch, as edges per node.
EDGES_PER_NODE = 8


#: SHA-256 of the files that were at hand.
SHA256 = {
    "nequix-mp-1": "1647af8e627e1afa11e2bfadeab0797326513a521afd7dd01606a96f56783eee",
    "nequix-oam-1": "6a43475eaeb32a7a049f36c1306d78aa1e7a17e8af37aeda7901c8fec0ca845c",
}


def _card(name: str, title: str, trained_on: tuple[str, ...], theory: str, commit: str, remark: str | None) -> Card:
    return Card(
        name=name,
        family="nequix",
        modality="atoms",
        title=title,
        revision=commit,
        parameters=707_658,
        dimension=128,
        layer="scalar atom features after the fourth interaction (input of the linear read-out)",
        pooling="mean over atoms",
        trained_on=trained_on,
        level_of_theory=theory,
        elements=ELEMENTS_89,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.48550/arXiv.2508.16067" if commit == MP else "10.48550/arXiv.2601.07742",
        source=f"https://github.com/atomicarchitects/nequix/raw/{commit}/models/{name}.nqx",
        weights_sha256=SHA256.get(name),
        access="download",
        accepts="a Nequix model of the JAX backend (.nqx)",
        untrained=True,
        energy=True,
        remark=remark,
        resources=Resources(memory_gib=4, batch_size=32),
    )


@target(
    *(
        card.model_copy(
            update={
                "twin": "as published stay the mean number of neighbours by which convolutions divide, "
                "and the energies' scale and shift"
            }
        )
        for card in (
            _card(
                "nequix-mp-1",
                "Nequix MP-1",
                ("MPtrj",),
                "PBE/PBE+U",
                MP,
                "60 of the 128 features were zero on every MPtrj frame tried.",
            ).with_corrections(
                benchmarks=(
                    {
                        "benchmark": "Matbench Discovery",
                        "figure": "F1, unique prototypes",
                        "value": 0.751,
                        "higher_is_better": True,
                        "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                        "nequix/nequix-mp-1.yml",
                    },
                    {
                        "benchmark": "Matbench Discovery",
                        "figure": "kappa SRME",
                        "value": 0.4461,
                        "higher_is_better": False,
                        "source": "https://github.com/janosh/matbench-discovery/blob/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/models/"
                        "nequix/nequix-mp-1.yml",
                    },
                )
            ),
            _card("nequix-omat-1", "Nequix OMat-1", ("OMat24",), "PBE/PBE+U (VASP 54 potentials)", OMAT, None),
            _card("nequix-oam-1", "Nequix OAM-1", ("OMat24", "sAlex", "MPtrj"), "PBE/PBE+U", OMAT, None),
        )
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    import equinox as eqx
    import jax
    import jraph
    from ase.data import chemical_symbols
    from ase.geometry import complete_cell
    from matscipy.neighbours import neighbour_list
    from nequix.data import atomic_numbers_to_indices
    from nequix.model import save_model

    config: dict[str, Any]
    if weights.random:
        config = {"atomic_numbers": [chemical_symbols.index(symbol) for symbol in ELEMENTS_89], **PUBLISHED}
        model = eqx.filter_jit(lambda key: _network(config, key))(jax.random.key(weights.seed))
    else:
        path = weights.file_or_published(lambda: _download(card.name))
        with path.open("rb") as file:  # as in nequix.model.load_model, which first draws random weights (8 s)
            config = json.loads(file.readline())
            skeleton = eqx.filter_eval_shape(lambda key: _network(config, key), jax.random.key(0))
            model = eqx.tree_deserialise_leaves(file, skeleton)  # arrays only: nothing is unpickled
    index = atomic_numbers_to_indices(config["atomic_numbers"])

    def evaluate(vectors: Any, species: Any, senders: Any, receivers: Any) -> tuple[Any, Any]:
        """Scalar features and energy of each node."""
        caught = []

        def readout(features: Any) -> Any:
            caught.append(features.array)
            return model.readout(features)

        tapped = eqx.tree_at(lambda m: m.readout, model, readout)
        energies = tapped.node_energies(vectors, species, senders, receivers)
        return caught[0], energies[:, 0]

    compiled = jax.jit(evaluate)

    def prepare(atoms: Any) -> Any:
        # Edges as in nequix.data.preprocess_graph, their vectors in double precision until here.
        receivers, senders, vectors = neighbour_list(
            "ijD",
            positions=atoms.positions,
            cell=complete_cell(atoms.cell),
            pbc=atoms.pbc,
            cutoff=config["cutoff"],
        )
        return jraph.GraphsTuple(
            n_node=np.array([len(atoms)]),
            n_edge=np.array([len(senders)]),
            nodes=np.array([index[number] for number in atoms.numbers], np.int32),
            edges=vectors.astype(np.float32).reshape(-1, 3),
            senders=senders.astype(np.int32),
            receivers=receivers.astype(np.int32),
            globals=None,
        )

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        rows, totals = [], []
        for chunk in _chunks(graphs):
            counts = np.array([len(graph.nodes) for graph in chunk])
            nodes, edges = _room(counts.sum(), sum(len(graph.edges) for graph in chunk))
            padded = jraph.pad_with_graphs(jraph.batch_np(chunk), n_node=nodes, n_edge=edges, n_graph=len(chunk) + 1)
            found = compiled(padded.edges, padded.nodes, padded.senders, padded.receivers)
            features, energies = (np.asarray(values, np.float64)[: counts.sum()] for values in found)
            starts = np.cumsum(counts) - counts
            rows.append(np.add.reduceat(features, starts) / counts[:, None])
            totals.append(np.add.reduceat(energies, starts))
        return np.concatenate(rows), np.concatenate(totals)

    def save(path: Path) -> None:
        save_model(str(path), model, config)

    symbols = [chemical_symbols[number] for number in config["atomic_numbers"]]
    return embed_by_batch(prepare, forward, model.readout.irreps_in.dim, symbols, save=save)


def _download(name: str) -> Path:
    """Fetch a published model with the package's own downloader; it keeps it in its own cache folder."""
    from nequix.calculator import from_pretrained

    path = Path("~/.cache/nequix/models").expanduser() / f"{name}.nqx"
    if not path.is_file():
        with contextlib.redirect_stdout(sys.stderr):
            from_pretrained(name, use_kernel=False)
    return path


def _network(config: dict[str, Any], key: Any) -> Any:
    """Build the network that a model file's first line describes, with random weights."""
    from nequix.model import Nequix

    return Nequix(key=key, n_species=len(config["atomic_numbers"]), **{name: config[name] for name in PUBLISHED})


def _room(nodes: int, edges: int) -> tuple[int, int]:
    """Padded numbers of nodes (one of which at least is free for the edges that pad) and edges."""
    room = FIRST
    while room < edges or room // EDGES_PER_NODE <= nodes:
        room *= 4
    return room // EDGES_PER_NODE, room


def _chunks(graphs: list[Any]) -> Iterator[list[Any]]:
    """Graphs in order, in groups that fit into CHUNK edges (or hold one graph)."""
    chunk: list[Any] = []
    for graph in graphs:
        nodes, edges = (sum(len(getattr(g, name)) for g in [*chunk, graph]) for name in ("nodes", "edges"))
        if chunk and _room(nodes, edges)[1] > CHUNK:
            yield chunk
            chunk = []
        chunk.append(graph)
    yield chunk
