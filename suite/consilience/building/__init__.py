"""Building data sets on the user's machine: a recipe runs in its own environment and leaves one checked table."""
