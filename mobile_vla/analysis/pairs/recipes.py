"""Does one recipe do better than another, where each was trained several times, with other seeds?

In: differences of single runs, a run of one recipe against a run of the other, on the same episodes. Out: a
`Difference` of the recipes, whose interval also holds what another seed would change. One run of each says nothing of
the recipes: it is a difference between these runs.

With theta_ij the difference of run i of S_A and run j of S_B, and d_e the mean over all i, j of what episode e adds:

    V = s_A^2 / S_A + s_B^2 / S_B + s_e^2 / E

s_A^2 is the variance over i of the mean over j of theta_ij, s_B^2 likewise, s_e^2 that of d_e, times 1.5^2 for the
folds that share their training episodes. Degrees of freedom after Satterthwaite (1946): V^2 over the sum of each term's
square over its own degrees, S_A - 1, S_B - 1 and E - 1.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from mobile_vla.analysis.pairs.decoding_difference import Difference
from mobile_vla.analysis.pairs.swap_test import NOT_DONE
from mobile_vla.analysis.verdicts.verdict import interval

FEWEST_SEEDS = 2


def find_recipes(known: Mapping[str, tuple[Hashable, int] | None]) -> dict[Hashable, list[str]]:
    """recipe -> names of its runs, where at least two differ in their seed only.

    known  of each store, what its run was trained with except the seed, and the seed; None where that is not known
    """
    found: dict[Hashable, dict[int, str]] = {}
    for name, told in known.items():
        if told is not None:
            recipe, seed = told
            found.setdefault(recipe, {}).setdefault(seed, name)
    return {recipe: list(runs.values()) for recipe, runs in found.items() if len(runs) >= FEWEST_SEEDS}


def compare_recipes(pairs: Sequence[Sequence[Difference]], names: tuple[str, str]) -> Difference | str:
    """pairs  [i][j] of run i of the first recipe and run j of the second; in words where they cannot be put together"""
    flat = [one for row in pairs for one in row]
    first = flat[0]
    if any(one.value is None for one in flat):
        return next(one.why for one in flat if one.value is None)
    if any(not np.array_equal(one.used, first.used) for one in flat):
        return "the runs were not probed on the same episodes"
    theta = np.array([[one.value for one in row] for row in pairs], float)
    apart = np.mean([one.apart for one in flat], axis=0)
    # The error of the mean of several runs is less than the mean of their errors: as much as their episodes' spread is.
    single = np.array([one.error for one in flat], float)
    spreads = np.array([float(one.apart.std(ddof=1)) for one in flat])
    episodes = float(np.mean(single**2)) * float(apart.var(ddof=1)) / max(float(np.mean(spreads**2)), 1e-300)
    error, freedom = combine(theta, episodes, float(np.mean([one.freedom for one in flat])))
    value = float(theta.mean())
    p = float(2 * stats.t.sf(abs(value) / max(error, np.finfo(float).tiny), freedom))
    found = replace(
        first,
        value=value,
        ci=interval(value, error, freedom),
        error=error,
        freedom=freedom,
        p=p,
        p_raw=p,
        left=float(np.mean([one.left for one in flat])),
        right=float(np.mean([one.right for one in flat])),
        names=names,
        apart=apart,
        exploratory=False,
        swap_test=NOT_DONE,
    )
    return found.decide(p, 1)


def combine(theta: Float[np.ndarray, "I J"], episodes: float, freedom: float) -> tuple[float, float]:
    """The standard error and its degrees of freedom. episodes: squared error over the episodes, of so many degrees."""
    seeds = [theta.mean(axis=axis) for axis in (1, 0)]
    terms = [(float(runs.var(ddof=1)) / len(runs), len(runs) - 1) for runs in seeds] + [(episodes, freedom)]
    total = sum(term for term, _ in terms)
    if total == 0:
        return 0.0, freedom
    return math.sqrt(total), total**2 / sum(term**2 / degrees for term, degrees in terms)
