"""A classifier beside one fit a fold by normal equations, and p-values that sessions and instructions do not fool."""

from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.analysis.planted.store import plant_store
from mobile_vla.analysis.planted.worlds import World, plant
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.discriminative.decoding import ESTIMATE, PENALTY, decode
from mobile_vla.analysis.verdicts.discriminative.targets import Target
from mobile_vla.analysis.verdicts.folds import deal_often
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.verdicts.planted_sample import plant_asked

RIGOUR = Rigour(permutations=199, spikes=60, deals=5)


def slow_accuracy(means: np.ndarray, labels: np.ndarray, folds: np.ndarray, penalty: float) -> float:
    """Ridge regression on -1 and 1, a fit a fold, by normal equations, decided by the sign of the distance from the
    training episodes' mean; all rows for the z-scores."""
    values = (means - means.mean(axis=0)) / means.std(axis=0) / np.sqrt(means.shape[1])
    right = np.zeros(len(labels), bool)
    for fold in range(5):
        train, test = folds != fold, folds == fold
        centre, middle = values[train].mean(axis=0), (2.0 * labels[train] - 1).mean()
        gram = (values[train] - centre).T @ (values[train] - centre) + penalty * np.eye(values.shape[1])
        weights = np.linalg.solve(gram, (values[train] - centre).T @ (2.0 * labels[train] - 1 - middle))
        right[test] = ((values[test] - centre) @ weights > 0) == (labels[test] == 1)
    return float(np.mean([right[labels == code].mean() for code in (0, 1)]))


def test_the_accuracy_is_the_mean_over_deals_of_classifiers_fitted_without_the_fold():
    sample, vectors, target = plant_asked(World(episodes=41, width=64, label=1.0))
    few = replace(RIGOUR, deals=2)
    found = decode(sample.means(vectors), sample, target, few, tests=False)
    deals = deal_often(target.codes, RIGOUR.seed, 2 * ESTIMATE)
    slow = [slow_accuracy(sample.means(vectors), target.codes, folds, PENALTY) for folds in deals]
    assert found.accuracy == pytest.approx(np.mean(slow))
    assert 0.5 < found.accuracy < 1
    assert np.nanmean(found.correct) == pytest.approx(found.accuracy, abs=0.02)
    np.testing.assert_allclose(found.confusion.sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(found.confusion), list(found.of_class.values()))


def test_another_seed_hardly_changes_the_accuracy():
    """One deal of folds varies by .04 from seed to seed here."""
    sample, vectors, target = plant_asked(World(episodes=40, width=64, label=0.8))
    means = sample.means(vectors)
    found = [
        decode(means, sample, target, replace(RIGOUR, deals=20, seed=seed), tests=False).accuracy for seed in range(12)
    ]
    assert np.std(found) < 0.006


def test_frames_would_find_anything_episodes_do_not():
    """Labels of episodes at random: folds over frames hold near copies of what they are tested on."""
    found, naive = [], []
    for seed in range(8):
        sample, vectors, target = plant_asked(World(episodes=30, width=256), seed)
        found.append(decode(sample.means(vectors), sample, target, RIGOUR, tests=False).accuracy)
        labels = target.codes[sample.episode]
        frames = np.random.default_rng(seed).integers(0, 5, len(labels))
        naive.append(slow_accuracy(vectors.astype(float), labels, frames, 0.03))
    assert np.mean(naive) > 0.85
    assert abs(np.mean(found) - 0.5) < 0.1


def test_a_label_of_the_session_is_not_found_significant():
    """Sessions look different, and hold different shares of the classes: permuted over all, p would be tiny."""
    rng = np.random.default_rng(0)
    p_within, p_over = [], []
    for seed in range(6):
        world = World(episodes=60, width=64, nuisance=False)
        planted = plant(world, seed)
        session = np.repeat([0, 1], 30)
        label = (rng.random(60) < np.where(session == 1, 0.9, 0.1)).astype(int)
        vectors = planted.vectors + 3 * session[:, None, None].astype(np.float32)
        sample, vectors, target = plant_asked(world, seed, vectors=vectors, label=label)
        p_over.append(decode(sample.means(vectors), sample, target, RIGOUR).p_yes)
        within = replace(sample, session=session)
        p_within.append(decode(within.means(vectors), within, target, RIGOUR).p_yes)
    assert np.mean(np.array(p_over) <= 0.05) > 0.8
    assert np.mean(np.array(p_within) <= 0.05) <= 0.34


def test_the_instruction_is_held_constant_where_it_tells_the_label():
    """Contexts that hold the text and nothing else, and a label that goes with it nine times in ten."""
    rng = np.random.default_rng(0)
    told = np.repeat([0, 1], 50)
    label = np.where(rng.random(100) < 0.9, told, 1 - told)
    sample = take_sample(plant_store(World(episodes=100, width=64), 0))
    sample = replace(sample, instruction=tuple(f"go {side}" for side in told))
    vectors = rng.standard_normal((500, 8)) + 3 * told[sample.episode][:, None] * rng.standard_normal(8)
    target = Target(name="direction", classes=("l", "r"), codes=label, given_away=True)
    free = Target(name="direction", classes=("l", "r"), codes=label)
    assert decode(sample.means(vectors), sample, free, RIGOUR, tests=False).accuracy > 0.7
    assert decode(sample.means(vectors), sample, target, RIGOUR).p_yes > 0.05
