"""Scoring: a target against the references of a data set."""
