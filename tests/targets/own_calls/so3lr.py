"""SO3LR: the package's calculator and its descriptors; both read the total charge of `info`."""

from calls import run
from so3krates_torch.calculator.so3 import SO3LRCalculator

calculator = SO3LRCalculator(device="cpu", default_dtype="float32")


def call(atoms):
    calculator.calculate(atoms)
    features = calculator.get_descriptors(atoms)["invariant_features"][0]
    return features.astype(float).mean(axis=0), calculator.results["energy"]


run(call)
