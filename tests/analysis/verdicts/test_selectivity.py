"""A control task that can only be memorised: not learnt where contexts hold the label, learnt where they hold types."""

import numpy as np
import pytest

from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.verdicts.discriminative.selectivity import add_selectivity, make_controls, measure_selectivity
from mobile_vla.analysis.verdicts.discriminative.verdict import judge_discriminative
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.verdicts.planted_sample import plant_asked

RIGOUR = Rigour(permutations=199, spikes=60)


def test_a_planted_label_is_selective_and_the_control_task_is_not_learnt():
    found = measure_selectivity(*plant_asked(World(episodes=60, label=6.0)), seed=0)
    assert found["target"] > 0.9
    assert found["selectivity"] == pytest.approx(found["target"] - found["control"])
    assert found["control"] < 0.75


def test_contexts_that_hold_their_type_and_nothing_else_are_not_selective():
    """One dimension a type: any function of the types is as easy as the label."""
    sample, _, target = plant_asked(World(episodes=40, label=0.0))
    told = np.unique(sample.instruction, return_inverse=True)[1]
    types = sample.bin * 4 + 2 * told[sample.episode] + target.codes[sample.episode]
    vectors = np.eye(20)[types] + 0.01 * np.random.default_rng(0).standard_normal((200, 20))
    found = measure_selectivity(sample, vectors, target, seed=0)
    assert found["control"] > 0.95
    assert found["selectivity"] < 0.05
    verdict, _ = judge_discriminative(sample, vectors, target, RIGOUR)
    noted = add_selectivity(verdict, sample, vectors, target, RIGOUR)
    assert noted.details["selectivity"] == found
    assert any("random functions" in note for note in noted.notes) == (found["selectivity"] <= 0)


def test_a_control_is_a_function_of_the_type_with_equal_classes():
    types = np.random.default_rng(0).integers(0, 10, 500)
    for control in make_controls(types, 2, seed=0):
        values = [set(control[types == number].tolist()) for number in range(10)]
        assert all(len(value) == 1 for value in values)
        assert sum(value == {0} for value in values) == 5
