"""How many episodes of each stratum: in proportion, within bounds, in whole numbers. Exact, so order means nothing."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise


def allocate(weights: Sequence[int], low: Sequence[int], high: Sequence[int], total: int) -> list[int]:
    """Whole numbers that add up to `total`, each within its bounds, as nearly in proportion to the weights as can be.

    Shares are clip(level * weight, low, high) at the one level where they add up to the total; what rounding down
    leaves goes to the largest remainders (Hamilton's method), of equal ones to the first. The total must lie between
    the sums of the bounds, and weights must be positive.
    """
    assert sum(low) <= total <= sum(high), "the total lies within the bounds"

    def shares(level: Fraction) -> list[Fraction]:
        return [min(max(level * w, Fraction(a)), Fraction(b)) for w, a, b in zip(weights, low, high, strict=True)]

    # Between two levels at which a share leaves or meets a bound, the sum of the shares is linear.
    levels = sorted({Fraction(bound, w) for w, a, b in zip(weights, low, high, strict=True) for bound in (0, a, b)})
    exact = shares(levels[0])
    for below, above in pairwise(levels):
        least, most = sum(shares(below), Fraction(0)), sum(shares(above), Fraction(0))
        if least <= total <= most:
            part = (total - least) / (most - least) if most > least else Fraction(0)
            exact = shares(below + part * (above - below))
            break
    counts = [int(share) for share in exact]
    largest = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in largest[: total - sum(counts)]:
        counts[i] += 1
    return counts
