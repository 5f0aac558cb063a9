"""Targets: one file per model family, in folders by what the models read."""
