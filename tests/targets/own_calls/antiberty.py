"""AntiBERTy: the package's runner, on the residues that it can read."""

from antiberty import AntiBERTyRunner
from calls import run

runner = AntiBERTyRunner()
# [CLS] before and [SEP] behind the residues; 512 positions.
run(lambda sequence: runner.embed([sequence[:510]])[0][1:-1].double().mean(dim=0).numpy())
