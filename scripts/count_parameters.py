"""Count the parameters of a target's network: those that act on its rows, and all.

``python scripts/count_parameters.py chgnet-0.3.0 sevennet-0``, in the suite's environment; each target is loaded in its
own. A tensor acts on the rows if changing it changes them. Networks of torch and Keras are found among the objects that
`load` left; of others (JAX, ONNX, NumPy) the script says that it finds none. A card's `parameters` are those that act
on the row.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import covered_items
from consilience.embedding.errors import EmbeddingSkippedError
from consilience.embedding.run import interpreter
from consilience.registry import Target, get_target
from consilience.testing import sample_datasets

SUITE = Path(__file__).resolve().parents[1] / "suite"
LEAST_ITEMS, MOST_ITEMS = 4, 24
#: Runs inside the target's environment.
COUNT = """
import gc, json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from consilience.datasets.layout import load_items
from consilience.registry import load_target_file
from consilience.weights import as_features
targets = {one.name: one for one in load_target_file(sys.argv[2])}
target, items = targets[sys.argv[4]], load_items(sys.argv[3])
embed = target.load(target.card, target.weights, "cpu")

def rows():
    return np.asarray(as_features(embed(list(items)).features), dtype=np.float64)

def of_torch():
    if "torch" not in sys.modules:
        return {}
    import torch
    modules = [one for one in gc.get_objects() if isinstance(one, torch.nn.Module)]
    found = {}
    for module in modules:
        for name, values in module.named_parameters():
            if values.is_floating_point():
                found.setdefault(values.data_ptr(), (name, values))
    return {key: (name, values.numel(), change_torch(values)) for key, (name, values) in found.items()}

def change_torch(values):
    import torch
    def change():
        with torch.no_grad():
            before = values.clone()
            values.add_(0.3 * torch.randn_like(values) * (values.abs().mean() + 1e-3))
        def back():
            with torch.no_grad():
                values.copy_(before)
        return back
    return change

def of_keras():
    if "tensorflow" not in sys.modules:
        return {}
    import tensorflow as tf
    found = {}
    for model in [one for one in gc.get_objects() if isinstance(one, tf.keras.Model)]:
        for values in model.trainable_variables:
            found.setdefault(id(values), (values.name, int(np.prod(values.shape)), change_keras(values)))
    return found

def change_keras(values):
    def change():
        before = values.numpy()
        noise = np.random.default_rng(0).normal(size=before.shape)
        values.assign(before + 0.3 * noise * (np.abs(before).mean() + 1e-3))
        return lambda: values.assign(before)
    return change

base = rows()
tensors = {**of_torch(), **of_keras()}
total = acting = 0
idle = []
for name, number, change in tensors.values():
    total += number
    back = change()
    moved = not np.allclose(rows(), base, rtol=1e-9, atol=0, equal_nan=True)
    back()
    acting += number if moved else 0
    idle += [] if moved else [name]
assert np.allclose(rows(), base, rtol=1e-6, equal_nan=True), "the network is not what it was"
print("RESULT " + json.dumps({"acting": acting, "total": total, "tensors": len(tensors), "idle": idle[:40]}))
"""


def most_elements(target: Target) -> Items:
    """Items of one data set that hold as many elements as few items can: some networks have a part for each element."""
    chosen: tuple[set[str], Items] | None = None
    for name in sample_datasets():
        items = open_dataset(name)
        if not items.has_view(target.card.input_view):
            continue
        try:
            left = covered_items(target, items)
        except EmbeddingSkippedError:
            continue
        elements = items.elements if items.has_view("atoms") else [frozenset[str]()] * len(items)
        places: list[int] = []
        held: set[str] = set()
        while len(places) < MOST_ITEMS:
            best = max(left, key=lambda i: (len(elements[i] - held), -len(elements[i])))
            if len(places) >= LEAST_ITEMS and elements[best] <= held:
                break
            places.append(best)
            left.remove(best)
            held |= elements[best]
        if chosen is None or len(held) > len(chosen[0]):
            chosen = held, items.select(places)
    assert chosen is not None, f"{target.name} reads no sample of the suite"
    return chosen[1]


def count(target: Target) -> dict[str, object]:
    """Count the parameters of one target."""
    view = target.card.input_view
    items = most_elements(target)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{view}.npz"
        items.save(file, view=view)
        command = [str(interpreter(target)), "-c", COUNT, str(SUITE), str(target.path), str(file), target.name]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no result"}
    return dict(json.loads(lines[-1].removeprefix("RESULT ")))


def main() -> None:
    """Print one line of JSON for each target, with what its card says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+")
    for name in parser.parse_args().targets:
        target = get_target(name)
        print(json.dumps({"target": name, "card": target.card.parameters, **count(target)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
