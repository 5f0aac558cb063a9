"""Models of molecular graphs: one file per family."""
