"""How numbers are written: on a board's pages, on a terminal, on the site, in reports and in hover texts."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Numbers:
    """Writer of numbers for one medium.

    Attributes
    ----------
    absent
        Text of an undefined value.
    minus
        Sign of negative values.
    """

    absent: str = ""
    minus: str = "-"

    def number(self, value: float | None, digits: int = 3) -> str:
        """Value with a fixed number of decimals.

        Examples
        --------
        >>> PLAIN.number(-0.12345), SITE.number(-0.12345, 2), SITE.number(None)
        ('-0.123', '−0.12', '–')
        """
        return self.absent if value is None or math.isnan(value) else f"{value:.{digits}f}".replace("-", self.minus)

    def signed(self, value: float | None, digits: int = 4) -> str:
        """Difference, with its sign."""
        return self.absent if value is None or math.isnan(value) else f"{value:+.{digits}f}".replace("-", self.minus)

    def percent(self, value: float | None) -> str:
        """Share in whole per cent."""
        return self.absent if value is None or math.isnan(value) else f"{value:.0%}"

    def part(self, value: float | None) -> str:
        """Share with two significant digits, however small.

        Examples
        --------
        >>> PLAIN.part(0.41), PLAIN.part(0.00039), PLAIN.part(3e-31)
        ('0.41', '3.9e-04', '3.0e-31')
        """
        if value is None or math.isnan(value):
            return self.absent
        return (f"{value:.2f}" if value >= 0.01 else f"{value:.1e}").replace("-", self.minus)

    def chance(self, value: float | None) -> str:
        """P-value, with two significant digits down to 0.001."""
        return self.absent if value is None or math.isnan(value) else f"{value:.2g}" if value >= 0.001 else "< 0.001"

    def count(self, value: float | None) -> str:
        """Large number in three significant digits.

        Examples
        --------
        >>> PLAIN.count(4_688_656), PLAIN.count(812.4)
        ('4.69 M', '812')
        """
        if value is None or math.isnan(value):
            return self.absent
        for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
            if value >= size:
                return f"{value / size:.3g} {unit}"
        return f"{value:.3g}"

    def ends(self, low: float | None, high: float | None) -> str:
        """Ends of an interval in brackets; empty where it has none."""
        return "" if low is None or high is None else f"[{self.number(low)}, {self.number(high)}]"

    def interval(self, value: float | None, low: float | None = None, high: float | None = None) -> str:
        """Value and the ends of its interval.

        Examples
        --------
        >>> PLAIN.interval(0.5, 0.25, 0.75)
        '0.500 [0.250, 0.750]'
        """
        return self.absent if value is None else f"{self.number(value)} {self.ends(low, high)}".rstrip()

    def carried(self, value: float | None, low: float | None = None, high: float | None = None) -> str:
        """Value and interval without a digit that the interval does not carry: the last is that of its half width.

        Examples
        --------
        >>> PLAIN.carried(0.4127, 0.3811, 0.4444), PLAIN.carried(0.4127, 0.1, 0.7)
        ('0.41 [0.38, 0.44]', '0.4 [0.1, 0.7]')
        >>> PLAIN.carried(0.2, -0.01, 0.41)
        '0.2 [0.0, 0.4]'
        """
        if value is None or low is None or high is None:
            return self.interval(value)
        half = (high - low) / 2
        digits = 3 if half <= 0 else min(3, max(1, -math.floor(math.log10(half))))
        # Adding 0 makes 0.0 of the -0.0 that a small negative number is rounded to.
        middle, *ends = (self.number(round(one, digits) + 0.0, digits) for one in (value, low, high))
        return f"{middle} [{', '.join(ends)}]"

    def rank(self, rank: int | None, interval: tuple[int, int] | None = None) -> str:
        """Rank, with its interval where that holds another rank.

        Examples
        --------
        >>> PLAIN.rank(3, (2, 5)), PLAIN.rank(1, (1, 1)), PLAIN.rank(None)
        ('3 (2–5)', '1', '–')
        """
        if rank is None:
            return "–"
        return str(rank) if interval is None or interval == (rank, rank) else f"{rank} ({interval[0]}–{interval[1]})"


#: Markdown pages and terminals.
PLAIN = Numbers()
#: Pages of the site and the report of a checkpoint.
SITE = Numbers(absent="–", minus="−")
#: Comparisons of two runs.
COMPARED = Numbers(absent="undefined")
#: Hover texts of figures.
HOVER = Numbers(absent="not measured")
