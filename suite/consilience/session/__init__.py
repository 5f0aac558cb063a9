"""One run: which cells, their execution, and what is made of their records."""
