"""SolTranNet: the package's own `predict`; the output of the encoder's last normalisation is caught."""

import sys
from importlib.util import find_spec
from types import ModuleType

from calls import Caught, run

resources = ModuleType("pkg_resources")  # which setuptools no longer holds
resources.resource_filename = lambda module, file: f"{find_spec('soltrannet').submodule_search_locations[0]}/{file}"
sys.modules["pkg_resources"] = resources
import soltrannet  # whose attribute `predict` is the function of the module of that name

predict = sys.modules[f"{soltrannet.__name__}.predict"]
caught = Caught(predict._model.encoder.norm, output=True)


def call(smiles):
    assert len(list(predict.predict([smiles], num_workers=0))) == 1
    return caught.mean(lambda states: states[0, 1:])  # the first is the dummy atom


run(call)
