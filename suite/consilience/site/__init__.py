"""The static site of a board, and the report of a single checkpoint."""
