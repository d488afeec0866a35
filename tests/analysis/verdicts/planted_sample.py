"""Planted contexts as a sample, with the vectors that are judged."""

from dataclasses import replace

import numpy as np

from mobile_vla.analysis.planted.store import Policy, as_store, plant_store
from mobile_vla.analysis.planted.worlds import World, plant
from mobile_vla.analysis.sample import Sample, take_sample
from mobile_vla.analysis.verdicts.discriminative.targets import Target, make_target


def plant_sample(world: World, seed: int = 0, policy: Policy | None = None) -> tuple[Sample, np.ndarray]:
    sample = take_sample(plant_store(world, seed, policy))
    return sample, sample.vectors("context")


def with_actions(sample: Sample, actions: np.ndarray | None) -> Sample:
    changed = replace(sample)
    changed.__dict__["actions"] = actions
    return changed


def plant_asked(world: World, seed: int = 0, **changes) -> tuple[Sample, np.ndarray, Target]:
    """Asked for the planted label; changes: of the planted arrays."""
    sample = take_sample(as_store(replace(plant(world, seed), **changes), seed))
    return sample, sample.vectors("context"), make_target(sample, "scenario")
