"""R^2 of fits without the held-out episodes: what counts, and for what."""

from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.analysis.planted.store import Policy
from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.sample import BINS
from mobile_vla.analysis.verdicts.preserving.chunk_fit import fit, jackknife_spread
from mobile_vla.analysis.verdicts.preserving.chunks import make_chunks
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.verdicts.planted_sample import plant_sample, with_actions

RIGOUR = Rigour(permutations=99, spikes=60, deals=4)


def test_the_errors_by_episode_are_those_of_the_r2():
    sample, vectors = plant_sample(World(episodes=20, width=30, action=2.0))
    actions = np.asarray(sample.actions).copy()
    actions[sample.bin == BINS - 1, :, 1] = np.nan  # chunks that end
    sample = with_actions(sample, actions)
    found = fit(sample, vectors, make_chunks(sample), RIGOUR, permute=False)
    assert found.r2 == pytest.approx(1 - found.sse.sum() / found.base.sum())
    assert found.scored.all()
    assert found.ci[0] < found.r2 < found.ci[1]


def test_episodes_whose_text_no_other_has_are_not_scored():
    sample, vectors = plant_sample(World(episodes=20, width=30, action=2.0))
    sample = replace(sample, instruction=("alone", *sample.instruction[1:]))
    found = fit(sample, vectors, make_chunks(sample), RIGOUR, permute=False)
    assert found.scored.tolist() == [False] + [True] * 19
    assert found.sse[0] == 0


def test_a_bound_near_the_margin_takes_twice_as_many_deals():
    sample, vectors = plant_sample(World(episodes=20, width=30, action=1.0))
    few = Rigour(permutations=19, spikes=60, deals=2)
    found = fit(sample, vectors, make_chunks(sample), few, permute=False)
    assert found.deals == 2
    near = fit(sample, vectors, make_chunks(sample), few, permute=False, margin=found.ci[0] - 0.1 * found.error)
    assert near.deals == 4
    far = fit(sample, vectors, make_chunks(sample), few, permute=False, margin=found.ci[0] - 0.5 * found.error)
    assert far.deals == 2


def test_components_are_told_apart():
    sample, vectors = plant_sample(World(episodes=40, width=256))
    actions = np.asarray(sample.actions)
    rng = np.random.default_rng(0)
    vectors = vectors + 40 * actions[:, 0, :1] * rng.standard_normal(vectors.shape[1])
    first, second = fit(sample, vectors, make_chunks(sample), RIGOUR, permute=False).by_component
    assert first > 0.5
    assert second < 0.1


def test_chunks_that_end_change_nothing_of_what_is_known():
    """The last steps of a chunk are unknown near the end; filling them with anything at all gives the same."""
    sample, vectors = plant_sample(World(episodes=40, width=128, action=2.0), policy=Policy(steps=3))
    actions = np.asarray(sample.actions).copy()
    actions[sample.bin == BINS - 1, 1:] = np.nan
    found = fit(with_actions(sample, actions), vectors, make_chunks(with_actions(sample, actions)), RIGOUR)
    assert found.r2 > 0.3
    assert found.p_yes <= 0.05
    whole = fit(sample, vectors, make_chunks(sample), RIGOUR, permute=False)
    assert found.r2 == pytest.approx(whole.r2, abs=0.1)
    gone = actions.copy()
    gone[:, 2] = np.nan
    assert np.isnan(
        fit(with_actions(sample, gone), vectors, make_chunks(with_actions(sample, gone)), RIGOUR).by_step[2]
    )


def test_the_jackknife_is_plain_leave_one_out():
    rng = np.random.default_rng(0)
    sse, base = rng.random(30), 1 + rng.random(30)
    left_out = np.array([1 - np.delete(sse, index).sum() / np.delete(base, index).sum() for index in range(30)])
    plain = np.sqrt(29 / 30 * ((left_out - left_out.mean()) ** 2).sum())
    assert jackknife_spread(sse, base) / np.sqrt(30) == pytest.approx(plain)
