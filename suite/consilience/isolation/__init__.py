"""Isolation of targets' and recipes' code: environments, worker processes and jobs."""
