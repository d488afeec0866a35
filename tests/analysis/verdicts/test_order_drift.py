"""Actions that drift with the order of recording are noticed, others seldom."""

from dataclasses import replace

import numpy as np

from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.verdicts.order_drift import find_drift
from tests.analysis.verdicts.planted_sample import plant_sample


def test_drift_is_found_in_the_order_of_recording_and_nowhere_else():
    sample, _ = plant_sample(World(episodes=40, width=16))
    rng = np.random.default_rng(0)
    order, text = rng.permutation(40), np.arange(40) % 2
    sample = replace(sample, order=order)
    noise = rng.standard_normal((len(sample.rows), 2))
    drifting = noise + 1.5 * np.sin(order / 6)[sample.episode][:, None]
    p = find_drift(sample, drifting, text, 0)
    assert p is not None
    assert p <= 0.01
    other = find_drift(replace(sample, order=rng.permutation(40)), drifting, text, 0)
    assert other is not None
    assert other > 0.05
    assert find_drift(replace(sample, order=None), drifting, text, 0) is None


def test_it_fires_on_one_in_twenty_without_drift():
    """Also where texts are told one after the other: their means are removed."""
    sample, _ = plant_sample(World(episodes=20, width=16))
    sample = replace(sample, order=np.arange(20))
    rng = np.random.default_rng(1)
    fired = [
        find_drift(sample, rng.standard_normal((len(sample.rows), 1)), np.arange(20) // 5, seed) <= 0.05
        for seed in range(60)
    ]
    assert np.mean(fired) < 0.15
