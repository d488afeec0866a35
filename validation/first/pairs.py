"""Two models on the same episodes, of which it is known what they share; and what a comparison calls them.

In: a seed, and what is shared. Out: the answer of `analysis/pairs/reading.py`. The models share a part of what varies
between and within the episodes, in other axes; nothing but the course of progress; one massive dimension; or all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Float

from mobile_vla.analysis.pairs.comparison import Comparison, compare_pair
from mobile_vla.analysis.pairs.reading import NOTHING, ONLY_PROGRESS, PARTLY, SAME, SINGLE, UNDECIDED
from mobile_vla.analysis.planted.store import PlantedStore, Policy, as_store
from mobile_vla.analysis.planted.worlds import MASSIVE, MASSIVE_DIMENSION, World, plant
from validation.case import Case
from validation.first.stores import TARGET
from validation.outcome import Outcome, happened
from validation.rates import ALWAYS, HIGH_POWER, SIZE, Bound
from validation.studies import find_better, study

ANSWERS = (SAME, PARTLY, SINGLE, ONLY_PROGRESS, NOTHING, UNDECIDED)
REFUSED, BETTER, ALIKE = "drift refused", "one is called better", "neither is called better"
NOT_COMPARABLE = Comparison.answer
WIDTH, PERMUTATIONS, STORES = 256, 199, 40
OTHER = 500_000  # between the seeds of two models
POLICY = Policy(told=False)  # rows hold true actions, and the instruction says nothing of them


@dataclass(frozen=True, kw_only=True)
class Shared:
    """share    of the variance that both models have in common, 1: all;  turned  whether right's axes are others
    massive  whether one dimension of both, louder than all others together, holds the same
    """

    world: World
    share: float = 0.0
    turned: bool = True
    massive: bool = False


def plant_two(seed: int, shared: Shared) -> tuple[PlantedStore, PlantedStore]:
    both, *alone = (plant(shared.world, seed + number * OTHER) for number in range(3))
    vectors = [np.sqrt(shared.share) * both.vectors + np.sqrt(1 - shared.share) * own.vectors for own in alone]
    if shared.turned:
        vectors[1] = _turn(vectors[1], seed)
    if shared.massive:
        loud = np.random.default_rng([seed, 9]).standard_normal((shared.world.episodes, 1))
        for one in vectors:
            one[:, :, MASSIVE_DIMENSION] = 2 * MASSIVE * loud
    left, right = (as_store(replace(both, vectors=one), seed, POLICY) for one in vectors)
    return left, right


def answer(seed: int, shared: Shared) -> Outcome:
    return happened(_compare(*plant_two(seed, shared), seed).answer)


def drift(seed: int, shared: Shared) -> Outcome:
    found = _compare(*plant_two(seed, shared), seed)
    return happened(REFUSED if "drift" in found.reasons and "drift" not in found.measures else "drift told")


def decoding(seed: int, shared: Shared) -> Outcome:
    """Whether the probes find more in one of the two."""
    left, right = plant_two(seed, shared)
    found = find_better(study({"A": left, "B": right}, seed, targets=(TARGET,)))
    return happened(BETTER if found else ALIKE)


def misaligned(seed: int, episodes: int) -> Outcome:
    """The rows of right under the names of other episodes."""
    world = World(episodes=episodes, width=WIDTH)
    planted = plant(world, seed)
    exchanged = {name: np.roll(getattr(planted, name), 1, axis=0) for name in ("vectors", "label", "actions", "course")}
    stores = as_store(planted, seed, POLICY), as_store(replace(planted, **exchanged), seed, POLICY)
    return happened(_compare(*stores, seed).answer)


def make_pair_cases() -> list[Case]:
    unlike = {SAME: SIZE, PARTLY: SIZE, SINGLE: SIZE}
    found = []
    for episodes in (20, 40, 100):
        bare = World(episodes=episodes, width=WIDTH, progress=False, massive=False)
        progress = World(episodes=episodes, width=WIDTH, nuisance=False, massive=False, episode_sd=0.1)
        told: dict[str, tuple[Shared, Mapping[str, Bound]]] = {
            "all, in other axes": (Shared(world=bare, share=1.0), {SAME: HIGH_POWER}),
            "95 % of the variance": (Shared(world=bare, share=0.95), {}),
            "90 % of the variance": (Shared(world=bare, share=0.9), {SAME: SIZE}),
            "75 % of the variance": (Shared(world=bare, share=0.75), {SAME: SIZE, PARTLY: HIGH_POWER}),
            "50 % of the variance": (Shared(world=bare, share=0.5), {SAME: SIZE}),
            "25 % of the variance": (Shared(world=bare, share=0.25), {SAME: SIZE}),
            "nothing": (Shared(world=bare), unlike),
            "progress alone": (Shared(world=progress), unlike),
            "one massive dimension": (
                Shared(world=bare, massive=True),
                {SAME: SIZE, PARTLY: SIZE, SINGLE: HIGH_POWER},
            ),
        }
        found += [
            Case(
                name=f"{episodes} episodes, shared: {what}",
                group="two stores",
                simulate=partial(answer, shared=shared),
                stores=STORES,
                asks=bounds,
                answers=ANSWERS,
                seconds=0.02 * episodes,
            )
            for what, (shared, bounds) in told.items()
        ]
    turned = Shared(world=World(episodes=60, width=WIDTH, label=4.0, action=2.0), share=1.0)
    others: dict[str, tuple[Callable[[int], Outcome], Mapping[str, Bound]]] = {
        "a copy in other axes, base weights unknown: drift": (partial(drift, shared=turned), {REFUSED: ALWAYS}),
        "a copy in other axes: decoding": (partial(decoding, shared=turned), {BETTER: SIZE}),
        "rows under the names of other episodes": (partial(misaligned, episodes=60), {NOT_COMPARABLE: ALWAYS}),
    }
    found += [
        Case(
            name=f"60 episodes, {what}",
            group="two stores",
            simulate=simulate,
            stores=80,
            asks=bounds,
            answers=(),
            seconds=2.0,
        )
        for what, (simulate, bounds) in others.items()
    ]
    return found


def _turn(vectors: Float[np.ndarray, "E T D"], seed: int) -> Float[np.ndarray, "E T D"]:
    rng = np.random.default_rng([seed, 8])
    return vectors @ np.linalg.qr(rng.standard_normal((vectors.shape[-1],) * 2))[0].astype(np.float32)


def _compare(left: PlantedStore, right: PlantedStore, seed: int) -> Comparison:
    return compare_pair(left, right, permutations=PERMUTATIONS, seed=seed % 1000)
