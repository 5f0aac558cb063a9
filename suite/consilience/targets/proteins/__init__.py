"""Models of protein sequences and structures: one file per family."""
