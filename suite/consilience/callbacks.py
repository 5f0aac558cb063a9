"""Functions that callers hand in, to learn how far something is."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (items done, items in all).
Progress = Callable[[int, int], None]
#: Called before each step with (steps done, steps in all, name of the next).
StepProgress = Callable[[int, int, str], None]
#: Called with a line for people.
Tell = Callable[[str], None]
