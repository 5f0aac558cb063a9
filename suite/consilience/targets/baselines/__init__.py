"""Baselines that no training made: one file per family."""
