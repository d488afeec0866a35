"""The levels of tests and intervals: one rule for the whole package.

A test is at 5 %. A verdict rests on two one-sided tests at that level, so its interval is a 90 % interval. All other
intervals (effects, metrics, spreads over seeds, shares) describe, and are 95 % intervals. Whoever stores an interval
stores its `level` beside it; whoever prints one prints `percent(level)`.
"""

ALPHA = 0.05
VERDICTS = 1 - 2 * ALPHA  # level of the intervals that a verdict rests on
DESCRIPTIONS = 0.95  # level of all others


def percent(level: float) -> str:
    """`95 %`."""
    return f"{level * 100:g} %"
