"""Sums over pairs of different episodes against a slow reference, and what they estimate."""

import numpy as np
import pytest

from mobile_vla.analysis.verdicts.actionable.contrast import Contrast, Moves


def draw(rng: np.random.Generator, num: int = 12, length: float = 1.0, noise: float = 1.0, meanings: int = 2):
    asked = rng.permutation(np.arange(num) % meanings)
    means = length * np.eye(meanings, 4)
    return asked, means, means[asked] + noise * rng.standard_normal((num, 4))


def slow(courses, asked, moves: Moves, way, keep) -> tuple[float, float]:
    """Numerator and denominator by loops over episodes and pairs of them."""
    groups = [[e for e in range(len(asked)) if asked[e] == code and keep[e]] for code in way]
    along = []
    for episode, there, moved in zip(moves.episode, moves.there, moves.moved, strict=True):
        if asked[episode] == way[0] and there == way[1] and keep[episode]:
            others = [e for e in groups[0] if e != episode]
            along.append(moved @ (courses[groups[1]].mean(axis=0) - courses[others].mean(axis=0)))
    pairs = [np.mean([courses[i] @ courses[j] for i in g for j in g if i != j]) for g in groups]
    means = [courses[g].mean(axis=0) for g in groups]
    return float(np.mean(along)), float(sum(pairs) - 2 * means[0] @ means[1])


@pytest.mark.parametrize("left_out", [None, 5])
def test_sums_are_those_of_loops_over_pairs(left_out):
    rng = np.random.default_rng(0)
    asked, _, courses = draw(rng, 14, meanings=3)
    moves = Moves(episode=np.arange(14), there=(asked + rng.integers(1, 3, 14)) % 3, moved=rng.standard_normal((14, 4)))
    keep = np.arange(14) != left_out
    contrast = Contrast(courses, asked, moves)
    found = contrast.sums(keep) / contrast.weights[:, None]
    assert len(contrast.ways) > 2
    for way, sums in zip(contrast.ways, found, strict=True):
        np.testing.assert_allclose(sums, slow(courses, asked, moves, way, keep))


def test_the_denominator_has_the_true_length_as_its_mean():
    """The squared length of the difference of means would be too large by the noise of both: 2.33 in place of 1."""
    rng = np.random.default_rng(1)
    found, naive = [], []
    for _ in range(600):
        asked, _, courses = draw(rng, 12, length=np.sqrt(0.5))
        moves = Moves(episode=np.arange(12), there=1 - asked, moved=np.zeros((12, 4)))
        contrast = Contrast(courses, asked, moves)
        found.append(contrast.sums(np.ones(12, bool)).sum(axis=0)[1] / 12)
        difference = courses[asked == 0].mean(axis=0) - courses[asked == 1].mean(axis=0)
        naive.append(difference @ difference)
    assert np.mean(found) == pytest.approx(1.0, abs=0.18)
    assert np.mean(naive) > 2.0


def test_what_is_unknown_is_left_out_and_a_meaning_of_two_episodes_has_no_expert():
    asked = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    courses = np.ones((9, 2))
    courses[asked == 1] = 3.0
    courses[0, 1] = np.nan
    moves = Moves(episode=np.array([0, 1, 2, 7]), there=np.array([1, 1, 2, 0]), moved=np.ones((4, 2)))
    contrast = Contrast(courses, asked, moves)
    assert contrast.ways == [(0, 1)]
    assert contrast.episodes.tolist() == [0, 1]
    assert contrast.relevant.tolist() == [0, 1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(contrast.sums(np.ones(9, bool)), [[2 * 4.0, 2 * 8.0]])
