"""CHGNet: `CHGNet.load` and `predict_structure`; what its energy MLP is given is caught."""

from calls import CARD, Caught, boxed, run
from chgnet.model import CHGNet
from pymatgen.io.ase import AseAtomsAdaptor

model = CHGNet.load(model_name=CARD.removeprefix("chgnet-"), use_device="cpu", check_cuda_mem=False, verbose=False)
model.eval()
caught = Caught(model.mlp)


def call(atoms):
    structure = AseAtomsAdaptor.get_structure(boxed(atoms))
    energy = model.predict_structure(structure, task="e")["e"]  # eV per atom
    return caught.mean(), energy * len(atoms)


run(call)
