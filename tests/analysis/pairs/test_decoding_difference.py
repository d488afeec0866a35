"""The paired difference against plain computations, and how often its words are right."""

import numpy as np
import pytest
from scipy import stats

from mobile_vla.analysis.pairs.decoding_difference import compare_accuracy, compare_r2, summarize


def errors(seed: int, episodes: int = 60, left: float = 0.5, right: float = 0.5) -> tuple[np.ndarray, ...]:
    """Squared errors of left and right, which share what makes an episode hard, and of the baseline."""
    rng = np.random.default_rng(seed)
    hard = rng.gamma(5, 1, episodes)
    own = [hard * share * rng.gamma(40, 1 / 40, episodes) for share in (left, right)]
    return own[0], own[1], hard, hard


def test_the_interval_of_r2_with_two_baselines():
    left, right, base, other = errors(0, 40)
    other = other * 1.1
    found = compare_r2(left, right, base, other)
    adds = (base - left) / base.mean() - (other - right) / other.mean()
    assert (
        found.value == pytest.approx(right.sum() / other.sum() - left.sum() / base.sum()) == pytest.approx(adds.mean())
    )
    assert found.ci[1] - found.value == pytest.approx(stats.t.ppf(0.95, 39) * 1.5 * adds.std(ddof=1) / np.sqrt(40))
    assert found.left - found.right == pytest.approx(found.value)


def test_of_one_baseline_it_is_the_widened_t_test_of_the_paired_errors():
    left, right, _, _ = errors(1, 30, left=0.48)
    base = np.full(30, 5.0)
    found = compare_r2(left, right, base, base)
    plain = stats.ttest_rel(right, left)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(plain.statistic) / 1.5, 29))
    low, high = plain.confidence_interval(0.90)
    middle = (low + high) / 2
    assert found.ci == pytest.approx(((middle + 1.5 * (low - middle)) / 5, (middle + 1.5 * (high - middle)) / 5))


def test_exchanging_the_sides_mirrors_everything():
    left, right, base, other = errors(0, left=0.45)
    one, two = compare_r2(left, right, base, other), compare_r2(right, left, other, base)
    assert one.value == pytest.approx(-two.value)
    assert one.ci[0] == pytest.approx(-two.ci[1])
    assert (one.verdict, two.verdict) == ("left better", "right better")
    assert one.p == two.p < 0.05


def test_p_and_interval_agree():
    """p <= .10 exactly where the 90 % interval excludes 0."""
    found = [compare_r2(*errors(seed, 20, left=0.45)) for seed in range(60)]
    assert [one.p <= 0.10 for one in found] == [not one.ci[0] <= 0 <= one.ci[1] for one in found]
    assert 5 < sum(one.p <= 0.10 for one in found) < 55


def test_models_that_are_equal_are_rarely_told_apart():
    found = [compare_r2(*errors(seed)) for seed in range(200)]
    assert np.mean([one.verdict in ("left better", "right better") for one in found]) <= 0.06
    assert np.mean([one.p <= 0.05 for one in found]) < 0.02  # 1.5 is for errors that share their training episodes
    alike = [compare_r2(*errors(seed, episodes=200)).verdict == "alike" for seed in range(50)]
    assert np.mean(alike) > 0.9


def test_few_and_noisy_episodes_leave_it_open_and_say_how_many_would_do():
    rng = np.random.default_rng(0)
    left, right = rng.gamma(1, 1, 10), rng.gamma(1, 1, 10)
    found = compare_r2(left, right, np.full(10, 2.0), np.full(10, 2.0))
    assert found.verdict == "undecided"
    assert found.n_needed > 100
    assert found.needs is None
    assert "not shown by these 10 episodes" in found.why
    assert compare_r2(*(side[:7] for side in errors(0))).why.startswith("both probes were scored on 7 episodes")


def test_accuracy_weighs_the_classes_alike():
    target = np.array([0] * 30 + [1] * 10)
    left, right = np.ones(40), np.ones(40)
    right[:30] = 0
    left[30:] = 0
    found = compare_accuracy(left, right, target)
    assert found.value == pytest.approx(0)  # 30 episodes one way and 10 the other
    assert (found.left, found.right) == pytest.approx((0.5, 0.5))


def test_accuracy_against_plain_computation():
    rng = np.random.default_rng(0)
    target = np.arange(50) % 2
    left, right = (rng.random(50) < share for share in (0.9, 0.5))
    found = compare_accuracy(left.astype(float), right.astype(float), target)
    apart = left.astype(float) - right
    variance = sum((((apart[target == c] - apart[target == c].mean()) ** 2).sum() + 1) / 26 / 25 / 4 for c in (0, 1))
    assert found.value == pytest.approx(np.mean([apart[target == c].mean() for c in (0, 1)]))
    assert found.ci[1] - found.value == pytest.approx(stats.t.ppf(0.95, 48) * 1.5 * np.sqrt(variance), rel=0.005)
    assert found.verdict == "left better"


def test_no_difference_at_all_is_no_proof_in_few_episodes():
    target = np.arange(20) % 2
    assert compare_accuracy(np.ones(20), np.ones(20), target).verdict == "undecided"
    target = np.arange(80) % 2
    assert compare_accuracy(np.ones(80), np.ones(80), target).verdict == "alike"


def test_episodes_that_one_probe_was_not_asked_about_are_left_out():
    target = np.arange(40) % 2
    left, right = np.ones(40), np.ones(40)
    left[:4] = np.nan
    assert compare_accuracy(left, right, target).n == 36
    sse, other, base, _ = errors(0)
    sse[3] = np.nan
    assert compare_r2(sse, other, base, base).n == 59
    assert "of the rarest class" in compare_accuracy(left, right, np.arange(40) // 36).why


def test_the_first_target_stands_for_all():
    first = compare_r2(*errors(0, left=0.45))
    second = compare_accuracy(np.ones(80), np.ones(80), np.arange(80) % 2)
    plain = summarize({"next action": first, "scenario": second})
    assert (plain["target"], plain["value"], plain["verdict"]) == ("next action", first.value, "left better")
    assert plain["parts"]["scenario"]["verdict"] == "alike"
    assert plain["ci"] == list(first.ci)
    assert plain["floor"]["p95"] < first.value
    assert summarize({}) is None


def test_sentences_use_the_names_and_json_keeps_its_words():
    found = compare_r2(*errors(0, left=0.45), names=("baseline", "adapter"))
    assert found.words == "baseline better"
    assert found.why.startswith("difference (baseline - adapter): [+")
    assert found.to_plain()["verdict"] == "left better"
    assert "left" not in found.why + compare_r2(*(side[:7] for side in errors(0))).why


def test_a_small_p_is_not_enough_for_many_questions_and_n_needed_is_more_than_there_are():
    found = next(
        one for seed in range(99) if 0.01 < (one := compare_r2(*errors(seed, 20, left=0.44), margin=0.01)).p < 0.05
    )
    assert found.verdict == "left better"
    assert (found.n_needed, found.needs) == (None, "decided by these episodes")
    many = found.decide(5 * found.p, 5)
    assert (many.verdict, many.p, many.p_raw) == ("undecided", 5 * found.p, found.p)
    assert "not enough for 5 declared questions" in many.why
    assert many.n_needed > many.n


def test_what_was_not_declared_is_never_called_better():
    found = compare_r2(*errors(0, left=0.3)).explore()
    assert found.p_raw < 0.001
    assert (found.verdict, found.exploratory, found.words) == ("undecided", True, "undecided (exploratory)")
    assert "not declared beforehand" in found.why


def test_too_few_of_one_class_says_how_many_would_do():
    target = np.array([0] * 36 + [1] * 4)
    assert compare_accuracy(np.ones(40), np.ones(40), target).n_needed == 80
    alone = compare_accuracy(np.full(9, np.nan), np.ones(9), np.zeros(9, int))
    assert alone.n_needed is None
    assert alone.needs
