"""TensorNet of MatPES: `matgl.load_model` and its calculator; what the read-out is given is caught."""

from pathlib import Path

import matgl
from calls import CARD, Caught, run
from matgl.config import MATGL_CACHE
from matgl.ext.ase import PESCalculator

functional = "PBE" if "-pbe-" in CARD else "r2SCAN"
potential = matgl.load_model(Path(MATGL_CACHE) / f"TensorNet-MatPES-{functional}-v2025.1-PES")
potential.eval()
calculator = PESCalculator(potential)
caught = Caught(potential.model.final_layer)


def call(atoms):
    calculator.calculate(atoms)
    return caught.mean(lambda graph: graph.node_feat), calculator.results["energy"]


run(call)
