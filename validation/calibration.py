"""Strengths at which the mean of a statistic is exactly its margin, found by simulation before the cases that need
them.

In: how to simulate a store of some strength. Out: one strength a calibration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import Pool

import numpy as np

from mobile_vla.analysis.planted.worlds import World
from validation.first.cases import WIDTH
from validation.first.stores import discriminative, preserving
from validation.outcome import Outcome
from validation.second.chunk_cases import AT_MARGIN
from validation.second.chunks import driven
from validation.second.label_cases import PLAIN, WITHIN_DAYS
from validation.second.labels import labelled

STORES, FEWEST = 160, 24
FIRST_SEED = 1_000_000  # far from the seeds of the cases
ACCURACY, EXPLAINED = 0.70, 0.10  # margins of the two verdicts


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """simulate  (seed, strength=) -> outcome;  between  strengths between which the margin lies"""

    simulate: Callable[..., Outcome]
    between: tuple[float, float]
    margin: float


def make_calibrations() -> dict[str, Calibration]:
    """By name, which cases refer to."""
    label = partial(Calibration, margin=ACCURACY)
    chunk = partial(Calibration, margin=EXPLAINED)
    found = {}
    for episodes, labels, actions in ((40, (1.0, 3.5), (0.6, 1.6)), (100, (1.0, 3.0), (0.3, 1.0))):
        world = World(episodes=episodes, width=WIDTH)
        found |= {
            f"first discriminative {episodes}": label(simulate=partial(discriminative, world=world), between=labels),
            f"first preserving {episodes}": chunk(simulate=partial(preserving, world=world), between=actions),
            f"second discriminative {episodes}": label(
                simulate=partial(labelled, world=PLAIN[episodes]), between=(0.5, 6.0)
            ),
            f"second sessions {episodes}": label(
                simulate=partial(labelled, world=WITHIN_DAYS[episodes]), between=(0.5, 6.0)
            ),
            f"second preserving {episodes}": chunk(
                simulate=partial(driven, world=AT_MARGIN[episodes]), between=(0.05, 0.8)
            ),
        }
    return found


def solve(calibration: Calibration, pool: Pool, stores: int) -> float:
    """By a cubic through the statistics of stores of all strengths between; those that gave none count as nothing."""
    low, high = calibration.between
    strengths = np.linspace(low, high, max(stores, FEWEST))
    tasks = [(calibration, FIRST_SEED + place, strength) for place, strength in enumerate(strengths.tolist())]
    statistics = np.array(pool.starmap(_measure, tasks, chunksize=4), float)
    known = np.isfinite(statistics)
    if known.sum() < FEWEST / 2:
        return float("nan")
    fine = np.linspace(low, high, 1001)
    course = np.polynomial.Polynomial.fit(strengths[known], statistics[known], 3)(fine)
    return float(fine[np.abs(course - calibration.margin).argmin()])


def _measure(calibration: Calibration, seed: int, strength: float) -> float:
    found = calibration.simulate(seed, strength=strength).intervals.get("statistic")
    return float("nan") if found is None else found.estimate
