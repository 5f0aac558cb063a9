"""ChemNet: fcd's `load_ref_model` and `get_predictions`."""

from calls import run
from fcd.fcd import get_predictions, load_ref_model

model = load_ref_model()
run(lambda smiles: get_predictions(model, [smiles], n_jobs=0, device="cpu")[0])
