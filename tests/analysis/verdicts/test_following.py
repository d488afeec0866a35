"""F by instruction: its estimate, by the way that the policy is sent, and without the experts' noise."""

import numpy as np
import pytest

from mobile_vla.analysis.planted.store import Policy, plant_store
from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.actionable.experts import Experts
from mobile_vla.analysis.verdicts.actionable.following import match_variant, measure_instruction

NARROW = World(episodes=40, width=16)


def measure(policy: Policy, world: World = NARROW, seed: int = 0):
    sample = take_sample(plant_store(world, seed, policy))
    found = match_variant(sample, "swap")
    return measure_instruction(sample, Experts.of(sample), found.own, found.changed, found.own)


def test_the_estimate_is_how_far_the_policy_follows():
    for strength in (0.0, 0.8):
        found = [measure(Policy(instruction=strength), seed=seed).ratio.estimate for seed in range(4)]
        assert np.mean(found) == pytest.approx(strength, abs=0.1)


def test_each_way_is_measured_by_itself():
    found = measure(Policy(instruction=0.8, to_left=0.0))
    assert found.episodes == 40
    assert {meaning: count for meaning, (_, count) in found.towards.items()} == {"left": 20, "right": 20}
    assert found.towards["left"][0].estimate == pytest.approx(0.0, abs=0.05)
    assert found.towards["right"][0].estimate > 0.5


def test_texts_that_nobody_was_given_have_no_expert():
    store = plant_store(NARROW, 0, Policy(instruction=0.8))
    texts, variants = store.column("instruction").copy(), store.column("variant")
    texts[variants == "swap"] = "turn around"
    own = store.column
    store.column = lambda name: texts if name == "instruction" else own(name)
    sample = take_sample(store)
    found = match_variant(sample, "swap")
    assert measure_instruction(sample, Experts.of(sample), found.own, found.changed, found.own) is None


def test_one_episode_more_in_the_table_counts_its_rows_once():
    """F weighs episodes, not rows: the rows of one episode doubled change nothing."""
    sample = take_sample(plant_store(NARROW, 0, Policy(instruction=0.8)))
    found = match_variant(sample, "swap")
    experts = Experts.of(sample)
    twice = np.concatenate([np.arange(len(found.own)), np.arange(5)])
    once, doubled = (
        measure_instruction(sample, experts, found.own[rows], found.changed[rows], found.own[rows])
        for rows in (np.arange(len(found.own)), twice)
    )
    assert doubled.ratio.estimate == pytest.approx(once.ratio.estimate)
    np.testing.assert_allclose(doubled.ratio.covariance, once.ratio.covariance)
