"""Minimum detectable effects: the strength from which on a verdict is yes in 80 % of stores.

In: the points of power curves. Out: lines of the page. Between two strengths the share is taken to rise in a line.
"""

from collections.abc import Sequence

import numpy as np

from validation.case import Case
from validation.results import Found

POWER = 0.8


def find_detectable(strengths: Sequence[float], shares: Sequence[float]) -> float | None:
    """The smallest strength from which the share stays at 80 % or above; None where it never gets there."""
    order = np.argsort(strengths)
    at, share = np.asarray(strengths, float)[order], np.asarray(shares, float)[order]
    below = np.flatnonzero(share < POWER)
    if not len(below):
        return float(at[0])
    last = int(below[-1])
    if last == len(at) - 1:
        return None
    part = (POWER - share[last]) / (share[last + 1] - share[last])
    return float(at[last] + part * (at[last + 1] - at[last]))


def list_detectable(found: Sequence[tuple[Case, Found]]) -> list[str]:
    """A section of the page; nothing where no point was simulated."""
    curves: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for case, one in found:
        if case.detectable is not None and case.strength is not None and case.episodes is not None:
            rate = next(rate for rate in case.rates(one.counts) if rate.what == "yes")
            curves.setdefault((case.detectable, case.episodes), []).append((case.strength, rate.value))
    curves = {key: points for key, points in curves.items() if len(points) > 2}
    if not curves:
        return []
    lines = ["", "## From which strength on yes is the answer in 80 % of stores", ""]
    lines += ["Second generator; between the strengths that were simulated, by a straight line.", ""]
    for (what, episodes), points in sorted(curves.items()):
        needed = find_detectable(*zip(*points, strict=True))
        told = f"more than {max(points)[0]:g}" if needed is None else f"{needed:.2f}"
        lines.append(f"- {what}, {episodes} episodes: {told}")
    return lines
