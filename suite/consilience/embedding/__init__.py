"""Embedding: the store, identities, batches, shards and the contract of a target."""
