"""Models of SMILES and SELFIES strings: one file per family."""
