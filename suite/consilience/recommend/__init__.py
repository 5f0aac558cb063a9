"""Recommendation of a model to select or to distil for a user's data: alignment, redundancy, probe error, cost."""

from __future__ import annotations

from .analysis import Candidate, Recommendation, choose_candidates, recommend
from .values import Property, property_of

__all__ = ["Candidate", "Property", "Recommendation", "choose_candidates", "property_of", "recommend"]
