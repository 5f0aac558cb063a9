"""VICGAE: the package's own module out of its pickle, and its `embed_molecule`.

Lightning, joblib and selfies are left out of the environment: the module is a plain one of torch, the pickle a plain
one, and tokens of SELFIES are what stands between brackets.
"""

import pickle
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
import yaml
from calls import absent, run


class LightningModule(torch.nn.Module):
    """What the package's modules inherit from, as far as they call it."""

    hparams = SimpleNamespace(embedding_dim=128)


absent("joblib", "wandb", "selfies", "ruamel", "pandas", "h5py", "sklearn")
lightning = ModuleType("pytorch_lightning")
lightning.LightningModule, lightning.LightningDataModule = LightningModule, object
sys.modules["pytorch_lightning"] = lightning
import astrochem_embedding


class Ignored(dict):
    """What the absent packages keep beside the module: settings, the alphabet's file."""

    def __init__(self, *args, **more):
        super().__init__()

    def __setstate__(self, state):
        pass

    def append(self, value):
        pass

    def extend(self, values):
        pass


class Unpickler(pickle.Unpickler):
    """Leaves out what absent packages made."""

    def find_class(self, module, name):
        present = module.split(".")[0] in ("astrochem_embedding", "torch", "collections", "builtins", "pathlib")
        return super().find_class(module, name) if present else Ignored


folder = Path(find_spec("astrochem_embedding").submodule_search_locations[0]) / "models/pretrained"
with (folder / "VICGAE.pkl").open("rb") as file:
    model = Unpickler(file).load().eval()
settings = yaml.safe_load((folder / "translator.yml").read_text())
alphabet, longest = settings["alphabet"], settings["max_length"]
assert astrochem_embedding.VICGAE is type(model)
model.vocab = SimpleNamespace(alphabet=alphabet)


def call(selfies):
    tokens = re.findall(r"\[[^]]*\]|\.", selfies)
    ids = [alphabet.index(token) for token in tokens]
    ids += [alphabet.index("[nop]")] * (longest - len(ids))
    # The package's sum over tokens, divided by 128, as a mean.
    return model.embed_molecule(torch.tensor(ids)).double().numpy() * 128 / len(tokens)


run(call)
