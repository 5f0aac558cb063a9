"""Nequix: the package's file, graphs and `node_energies`; what the read-out is given is caught."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from calls import CARD, run
from nequix.calculator import from_pretrained
from nequix.data import atomic_numbers_to_indices, dict_to_graphstuple, preprocess_graph

model, config = from_pretrained(CARD, use_kernel=False)
readout, caught = model.readout, []


def catch(features):
    caught.append(features.array)
    return readout(features)


model = eqx.tree_at(lambda whole: whole.readout, model, catch)
indices = atomic_numbers_to_indices(config["atomic_numbers"])


def call(atoms):
    caught.clear()
    graph = dict_to_graphstuple(preprocess_graph(atoms, indices, config["cutoff"], False))
    positions = jnp.asarray(graph.nodes["positions"])
    vectors = positions[graph.senders] - positions[graph.receivers]  # as in the model's own call
    if graph.globals["cell"] is not None:
        vectors = vectors + jnp.asarray(graph.edges["shifts"]) @ jnp.asarray(graph.globals["cell"][0])
    energies = model.node_energies(vectors, jnp.asarray(graph.nodes["species"]), graph.senders, graph.receivers)
    return np.asarray(caught[0], dtype=np.float64).mean(axis=0), np.asarray(energies, dtype=np.float64).sum()


run(call)
