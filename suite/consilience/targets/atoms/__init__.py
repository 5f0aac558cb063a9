"""Models of atoms and their positions: one file per family."""
