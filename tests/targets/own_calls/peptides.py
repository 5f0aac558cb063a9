"""Peptides: the package's `descriptors`."""

from calls import run
from peptides import Peptide

run(lambda sequence: list(Peptide(sequence).descriptors().values()))
