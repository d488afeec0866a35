"""One store of each kind of the first generator, judged: what the simulations repeat.

In: a seed, and what is planted. Out: an `Outcome`. Every function goes the whole way from a store's rows to a verdict,
with as many permutations as the tests take.
"""

from dataclasses import replace

import numpy as np

from mobile_vla.analysis.planted.store import PlantedStore, Policy, as_store, plant_store
from mobile_vla.analysis.planted.worlds import PROGRESS_SCALE, World, plant
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.actionable.verdict import judge_actionable
from mobile_vla.analysis.verdicts.judgement import judge
from validation.outcome import Outcome
from validation.strip import FEW, rigour_of, without

TARGET = "scenario"
DIRECTION = "direction"


def discriminative(seed: int, world: World, strength: float | None = None) -> Outcome:
    """strength  of the label, in place of the world's"""
    world = world if strength is None else replace(world, label=strength)
    return _discriminative(plant_store(world, seed), seed)


def _discriminative(store: PlantedStore, seed: int) -> Outcome:
    without(store, labels=(DIRECTION,), actions=True)
    return Outcome.of(judge(store, targets=(TARGET,), rigour=rigour_of(seed)).discriminative)


def preserving(seed: int, world: World, strength: float | None = None) -> Outcome:
    """strength  of the actions, in place of the world's"""
    world = world if strength is None else replace(world, action=strength)
    return _preserving(plant_store(world, seed, pixels=True), seed)


def _preserving(store: PlantedStore, seed: int) -> Outcome:
    return Outcome.of(judge(without(store, labels=(TARGET, DIRECTION)), rigour=rigour_of(seed)).preserving)


def actionable(seed: int, episodes: int, part: str, policy: Policy) -> Outcome:
    """Its contexts are narrow, and hold what the scene calls for: F by image is measured along it."""
    store = plant_store(World(episodes=episodes, width=32, action=3.0), seed, policy)
    sample = take_sample(without(store, labels=(TARGET,)), "context")
    return Outcome.of(judge_actionable(sample, rigour=rigour_of(seed, FEW)).parts[part])


def judged(seed: int, verdict: str, world: World, policy: Policy) -> Outcome:
    """The whole judgement of a store, of which one verdict is counted."""
    return Outcome.of(judge(plant_store(world, seed, policy), rigour=rigour_of(seed)).verdicts[verdict])


def only_progress(seed: int, episodes: int, differ: bool) -> Outcome:
    """Contexts that hold progress and nothing else, and actions that follow from it up to a little noise of their own.
    differ: episodes are of different lengths, so that their frames do not lie at the same progress."""
    rng = np.random.default_rng([seed, 7])
    planted = plant(World(episodes=episodes, width=512, nuisance=False, episode_sd=0.05), seed)
    shift = differ * rng.uniform(-0.1, 0.1, (episodes, 1)) * np.sin(np.pi * planted.progress)
    progress = planted.progress + shift
    noise = 0.02 * rng.standard_normal(planted.actions.shape)
    direction = rng.standard_normal(planted.vectors.shape[-1]).astype(np.float32)
    planted = replace(
        planted,
        vectors=planted.vectors + PROGRESS_SCALE * shift[..., None].astype(np.float32) * direction,
        actions=np.stack([progress, 1 - progress], axis=-1) + noise,
    )
    return _preserving(as_store(planted, seed, Policy(told=False), progress, pixels=True), seed)


def one_class(seed: int, episodes: int) -> Outcome:
    """All episodes of one scenario."""
    planted = plant(World(episodes=episodes, width=512, label=6.0), seed)
    return _discriminative(as_store(replace(planted, label=np.zeros_like(planted.label)), seed), seed)


def copied_episodes(seed: int, episodes: int, copies: int) -> Outcome:
    """Few recordings, each stored several times under other names."""
    planted = plant(World(episodes=episodes, width=512, label=6.0), seed)
    again = {
        name: np.repeat(getattr(planted, name), copies, axis=0) for name in ("vectors", "label", "actions", "course")
    }
    return _discriminative(as_store(replace(planted, **again), seed), seed)
