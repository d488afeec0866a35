"""Recipes that are equal are rarely told apart, also where seeds differ much."""

import numpy as np
import pytest

from mobile_vla.analysis.pairs.decoding_difference import compare_r2
from mobile_vla.analysis.pairs.recipes import combine, compare_recipes, find_recipes

EPISODES = 40


def runs_of(rng: np.random.Generator, count: int, seed_sd: float, level: float = 10.0) -> list[np.ndarray]:
    """(E,) squared errors of each run: its own level, and episodes of their own."""
    return [level + seed_sd * rng.standard_normal() + rng.standard_normal(EPISODES) for _ in range(count)]


def compare(left: list[np.ndarray], right: list[np.ndarray]):
    base = np.full(EPISODES, 20.0)
    return compare_recipes([[compare_r2(a, b, base, base) for b in right] for a in left], ("x", "y"))


def test_equal_recipes_whose_seeds_differ_are_rarely_told_apart():
    rng = np.random.default_rng(0)
    found = [compare(runs_of(rng, 3, 1.0), runs_of(rng, 3, 1.0)) for _ in range(60)]
    assert np.mean([one.p <= 0.05 for one in found]) <= 0.08
    single = [compare_r2(*(runs_of(rng, 1, 1.0)[0] for _ in "ab"), *[np.full(EPISODES, 20.0)] * 2) for _ in range(60)]
    assert np.mean([one.p <= 0.05 for one in single]) > 0.3  # of these runs, and not of the recipes


def test_a_difference_that_all_seeds_show_is_found():
    rng = np.random.default_rng(1)
    found = compare(runs_of(rng, 4, 0.3), runs_of(rng, 4, 0.3, level=13.0))
    assert found.verdict == "left better"
    assert found.words == "x better"
    assert found.value == pytest.approx(3 / 20, abs=0.04)


def test_error_and_degrees_are_those_of_the_formula():
    theta = np.array([[1.0, 2.0], [4.0, 6.0], [0.0, 0.5]])
    first, second = theta.mean(axis=1).var(ddof=1) / 3, theta.mean(axis=0).var(ddof=1) / 2
    error, freedom = combine(theta, 0.09, 39)
    total = first + second + 0.09
    assert error == pytest.approx(np.sqrt(total))
    assert freedom == pytest.approx(total**2 / (first**2 / 2 + second**2 / 1 + 0.09**2 / 39))


def test_runs_on_other_episodes_are_not_put_together():
    rng = np.random.default_rng(2)
    left, right = runs_of(rng, 2, 1.0), runs_of(rng, 2, 1.0)
    left[1][3] = np.nan
    assert compare(left, right) == "the runs were not probed on the same episodes"


def test_what_is_known_of_the_runs_makes_the_groups():
    known = {"a": ("x", 0), "b": ("x", 1), "c": ("y", 0), "d": None, "e": ("x", 1)}
    assert find_recipes(known) == {"x": ["a", "b"]}
