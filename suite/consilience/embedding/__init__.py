"""Embedding: environments, the worker that runs inside them, and the store of what it makes."""
