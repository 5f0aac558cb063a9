"""Errors of the sources that a recipe reads."""

from __future__ import annotations


class SourceError(RuntimeError):
    """A source could not be obtained, or is not the pinned one."""
