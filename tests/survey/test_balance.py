"""Evenness of labels and what goes with what, against plain formulas."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from mobile_vla.survey.balance import cramers_v, cross_table, weigh


def test_the_balance_of_a_label_counts_known_values_only(make_episode):
    episodes = [make_episode(str(i), boxes="1box") for i in range(6)]
    episodes += [make_episode("6", boxes="2box"), make_episode("7", boxes="2box"), make_episode("8")]
    found = weigh(episodes).labels["boxes"]
    assert (found.episodes, found.values, found.rarest, found.rarest_count) == (8, 2, "2box", 2)
    assert found.ratio == 3
    assert found.evenness == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))


def test_cramers_v_against_the_formula_step_by_step():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 60).astype(str), rng.integers(0, 3, 60).astype(str)
    b = np.where(rng.random(60) < 0.5, a, b)
    table = np.array([[((a == x) & (b == y)).sum() for y in sorted(set(b))] for x in sorted(set(a))])
    n, (r, c) = table.sum(), table.shape
    phi2 = chi2_contingency(table, correction=False).statistic / n
    phi2 = max(0, phi2 - (r - 1) * (c - 1) / (n - 1))
    r, c = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    assert cramers_v(list(a), list(b)) == pytest.approx(np.sqrt(phi2 / min(r - 1, c - 1)))


def test_independent_labels_are_near_0_and_equal_ones_at_1():
    a = list("lr" * 20)
    assert cramers_v(a, a) == pytest.approx(1.0)
    assert cramers_v(a, list("xxyy" * 10)) == pytest.approx(0.0, abs=0.01)
    many = [str(i // 2) for i in range(40)]  # a value for two episodes each: by chance alone, V would be large
    assert cramers_v(list(np.random.default_rng(0).permutation(a)), many) < 0.4
    assert cramers_v(a, ["x"] * 40) is None
    assert cramers_v([], []) is None


def test_pairs_are_sorted_and_leave_unknown_out(make_episode):
    sides = ["left", "right"] * 10
    episodes = [
        make_episode(str(i), direction=side, session=f"day {side}", boxes=str(i % 3)) for i, side in enumerate(sides)
    ]
    episodes.append(make_episode("x", direction="left"))
    first = weigh(episodes).associations[0]
    assert ({first.a, first.b}, first.episodes) == ({"direction", "session"}, 20)
    assert first.cramers_v == pytest.approx(1.0)


def test_a_cross_table_has_its_zeros():
    assert cross_table("aab", "xyx") == {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 0}}
