"""Labels that are there are found, those that are not are not, and every sentence says what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mobile_vla.analysis.planted.store import as_store
from mobile_vla.analysis.planted.worlds import World, plant
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.discriminative.targets import Target
from mobile_vla.analysis.verdicts.discriminative.verdict import MISSED, judge_discriminative, score_interval
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.verdicts.planted_sample import plant_asked

RIGOUR = Rigour(permutations=199, spikes=60)


def test_a_label_that_is_there_is_a_yes():
    verdict, decoding = judge_discriminative(*plant_asked(World(episodes=60, label=6.0)), RIGOUR)
    assert verdict.verdict == verdict.at_half == "yes"
    assert (verdict.target, verdict.n, verdict.margin) == ("scenario", 60, pytest.approx(0.7))
    assert verdict.p_yes == 1 / 200
    assert "above 0.70 (p = 0.005)" in verdict.why
    assert decoding is not None
    assert verdict.baselines["majority"] == pytest.approx(0.5)
    assert verdict.baselines["progress"] == pytest.approx(0.5)
    assert verdict.baselines["instruction"] < 0.75


def test_one_that_is_not_is_a_no_only_where_it_would_have_been_seen():
    many, _ = judge_discriminative(*plant_asked(World(episodes=100), seed=2), RIGOUR)
    assert many.verdict == "no"
    assert many.p_no is not None
    assert many.p_no <= 0.05
    assert "not shown by these 100 episodes: no linear code of 2 standard deviations along any direction" in many.why
    few, _ = judge_discriminative(*plant_asked(World(episodes=18), seed=1), RIGOUR)
    assert few.verdict == "undecided"
    assert few.n_needed is not None
    assert few.n_needed > 18


def test_a_product_of_two_axes_is_missed_by_a_line_and_that_is_said():
    verdict, _ = judge_discriminative(*plant_asked(World(episodes=100, xor=6.0)), RIGOUR)
    assert verdict.verdict == "undecided"
    assert verdict.at_double != "no"
    assert any(note.startswith(MISSED) for note in verdict.notes)
    assert MISSED in verdict.why


def test_what_the_line_finds_is_not_said_to_be_missed():
    for seed in range(3):
        verdict, _ = judge_discriminative(*plant_asked(World(episodes=40, label=2.5), seed), RIGOUR)
        if verdict.p_yes is not None and verdict.p_yes <= 0.05 and verdict.verdict == "undecided":
            assert not any(note.startswith(MISSED) for note in verdict.notes)


def test_more_than_two_classes_are_told_and_not_told():
    planted = plant(World(episodes=64, width=128), 0)
    label = np.arange(64) % 4
    axes = np.linalg.qr(np.random.default_rng(3).standard_normal((128, 4)))[0].T
    store = as_store(replace(planted, vectors=planted.vectors + 6 * axes[label][:, None].astype(np.float32)), 0)
    sample = take_sample(store)
    target = Target(name="place", classes=tuple("abcd"), codes=label)
    verdict, _ = judge_discriminative(sample, sample.vectors("context"), target, RIGOUR)
    assert verdict.verdict == "yes"
    assert verdict.margin == pytest.approx(0.55)
    nothing = Target(name="place", classes=tuple("abcd"), codes=np.random.default_rng(1).permutation(label))
    assert judge_discriminative(sample, sample.vectors("context"), nothing, RIGOUR)[0].verdict != "yes"


@pytest.mark.parametrize(("accuracy", "counts"), [(0.5, [20, 20]), (0.85, [10, 30]), (1.0, [8, 8]), (0.6, [9, 9, 9])])
def test_the_interval_holds_what_a_score_test_does_not_reject(accuracy, counts):
    """By bisection: the accuracy a at which (seen - a) / (1.2 sd(a)) is the quantile of t."""
    low, high = score_interval(accuracy, np.array(counts))
    effective = len(counts) ** 2 / sum(1 / count for count in counts) / 1.2**2
    quantile = stats.t.ppf(0.95, sum(counts) - len(counts))

    def bound(sign: int) -> float:
        inside, outside = accuracy, 0.0 if sign < 0 else 1.0
        for _ in range(60):
            middle = (inside + outside) / 2
            rejected = abs(accuracy - middle) > quantile * np.sqrt(middle * (1 - middle) / effective)
            inside, outside = (inside, middle) if rejected else (middle, outside)
        return inside

    assert (low, high) == (pytest.approx(bound(-1), abs=1e-6), pytest.approx(bound(1), abs=1e-6))
