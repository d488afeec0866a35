"""Intervals over episodes against the same formulas written out, and against how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from mobile_vla.core.batch import OWN
from mobile_vla.evaluation.findings import baseline_tables
from mobile_vla.evaluation.intervals import find_intervals, loss_by_horizon, ratio_with_interval, share_with_interval
from mobile_vla.evaluation.passes import evaluate


class TestRatio:
    def test_equals_the_jackknife_written_out(self):
        rng = np.random.default_rng(0)
        own, changed = rng.gamma(2, 1, 12), rng.gamma(3, 1, 12)
        ratio, (low, high) = ratio_with_interval(changed, own, 0.9)
        logs = [
            np.log(sum(changed[j] for j in range(12) if j != i) / sum(own[j] for j in range(12) if j != i))
            for i in range(12)
        ]
        error = np.sqrt(11 / 12 * sum((log - np.mean(logs)) ** 2 for log in logs))
        half = stats.t.ppf(0.95, 11) * error
        assert ratio == pytest.approx(changed.sum() / own.sum())
        assert (low, high) == pytest.approx((ratio * np.exp(-half), ratio * np.exp(half)))

    def test_agrees_with_the_bootstrap_over_episodes(self):
        rng = np.random.default_rng(3)
        entries = rng.integers(5, 21, 80).astype(float)
        loss = entries * rng.lognormal(0, 0.3, 80)
        _, (low, high) = ratio_with_interval(loss, entries)
        found = stats.bootstrap(
            (loss, entries),
            lambda a, b, axis: a.sum(axis) / b.sum(axis),
            paired=True,
            method="percentile",
            n_resamples=2000,
            rng=np.random.default_rng(0),
        ).confidence_interval
        assert (low, high) == pytest.approx((found.low, found.high), rel=0.02)

    def test_covers_the_truth_about_as_often_as_it_says(self):
        rng = np.random.default_rng(1)
        hits = 0
        for _ in range(600):
            size = rng.gamma(4, 1, 20)
            _, (low, high) = ratio_with_interval(size * rng.lognormal(0, 0.4, 20), size)
            hits += low <= np.exp(0.08) <= high
        assert 0.91 < hits / 600 < 0.98

    def test_few_episodes_have_no_interval_and_no_loss_no_ratio(self):
        assert ratio_with_interval(np.array([2.0, 2.0]), np.array([1.0, 1.0])) == (2.0, None)
        assert ratio_with_interval(np.array([2.0, 2.0]), np.zeros(2)) == (None, None)

    def test_an_episode_without_entries_is_none_of_the_sample(self):
        own, entries = np.array([1.0, 2.0, 0.0, 4.0]), np.array([1.0, 1.0, 0.0, 2.0])
        there = entries > 0
        assert ratio_with_interval(own, entries) == ratio_with_interval(own[there], entries[there])

    def test_equal_losses_are_a_ratio_of_one(self):
        own = np.array([1.0, 2.0, 5.0])
        assert ratio_with_interval(own, own) == (1.0, (1.0, 1.0))


class TestShare:
    def test_independent_entries_give_the_exact_binomial_interval(self):
        """One entry an episode: the spread between episodes is the binomial one, up to n - 1 and t for the normal."""
        right = np.repeat([1.0, 0.0], [140, 60])
        share, (low, high) = share_with_interval(right, np.ones(200))
        exact = stats.binomtest(140, 200).proportion_ci(method="exact")
        assert share == pytest.approx(0.7)
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.002)

    def test_copies_of_an_entry_are_no_evidence(self):
        """Every entry fifty times over: the interval stays, where one that counts entries would shrink sevenfold."""
        rng = np.random.default_rng(0)
        right, counted = rng.integers(0, 2, 30).astype(float), np.ones(30)
        once = share_with_interval(right, counted)[1]
        assert share_with_interval(50 * right, 50 * counted)[1] == pytest.approx(once, abs=1e-9)

    def test_all_right_is_no_certainty(self):
        share, (low, high) = share_with_interval(np.full(8, 40.0), np.full(8, 40.0))
        assert (share, high) == (1.0, 1.0)
        assert low == pytest.approx(0.025 ** (1 / 8))  # eight episodes, none wrong
        assert share_with_interval(np.zeros(8), np.full(8, 40.0))[1] == pytest.approx((0.0, 1 - 0.025 ** (1 / 8)))

    def test_covers_the_truth_about_as_often_as_it_says(self):
        rng = np.random.default_rng(2)
        hits = 0
        for _ in range(400):
            counted = rng.integers(5, 80, 24)
            right = rng.binomial(counted, rng.beta(0.9 * 4, 0.1 * 4, 24))
            _, (low, high) = share_with_interval(right.astype(float), counted.astype(float))
            hits += low <= 0.9 <= high
        assert 0.9 < hits / 400 < 0.99

    def test_few_episodes_and_none(self):
        assert share_with_interval(np.array([1.0, 0.0]), np.array([2.0, 2.0])) == (0.25, None)
        assert share_with_interval(np.zeros(4), np.zeros(4)) == (None, None)


def test_intervals_of_a_policy_are_those_of_its_numbers(lab):
    """Each interval holds its number, and leaving an episode out by hand gives the same jackknife."""
    data = lab.make_data(lab.make_episodes(16), num_validation=8)
    sums = lab.make_sums(data.episodes("validation"))
    policy = lab.make_policy()
    assembler = data.assembler(data.episodes("validation"))
    own = evaluate(policy, assembler, assembler.batches(data.plan("validation")), sums)[OWN]
    baselines = baseline_tables(data, "validation", sums, data.episodes("train"))
    found, summary = find_intervals(sums, own, baselines), sums.summary(own)
    for name in ("loss", "rmse", "sign_accuracy", "displacement_error"):
        low, high = found["intervals"][name]
        assert low < summary[name] < high, name

    def left_out(table: np.ndarray, name: str) -> np.ndarray:
        return np.array([sums.summary(np.delete(table, i, axis=0))[name] for i in range(8)])

    def interval(estimate: float, values: np.ndarray) -> list[float]:
        logs = np.log(values)
        half = stats.t.ppf(0.975, 7) * np.sqrt(7 / 8 * ((logs - logs.mean()) ** 2).sum())
        return [estimate * np.exp(-half), estimate * np.exp(half)]

    levels = [found["intervals"]["level"], *(one["level"] for one in found["loss_over_baselines"].values())]
    assert levels == [0.95] * (1 + len(baselines))
    assert found["intervals"]["rmse"] == pytest.approx(interval(summary["rmse"], left_out(own, "rmse")))
    for name, table in baselines.items():
        loss = sums.summary(table)["loss"]
        assert found["intervals"]["baselines"][name] == pytest.approx(interval(loss, left_out(table, "loss")))
        over = found["loss_over_baselines"][name]
        assert over["ratio"] == pytest.approx(summary["loss"] / loss)
        assert over["ci"] == pytest.approx(interval(over["ratio"], left_out(own, "loss") / left_out(table, "loss")))


def test_the_loss_by_horizon_is_that_of_the_summary(lab):
    data = lab.make_data(num_validation=4)
    sums = lab.make_sums(data.episodes("validation"))
    table = baseline_tables(data, "validation", sums, data.episodes("train"))["progress_only"]
    losses, intervals = loss_by_horizon(sums, table)
    assert losses == pytest.approx([step["loss"] for step in sums.summary(table)["by_horizon"]])
    assert all(low < loss < high for loss, (low, high) in zip(losses, intervals, strict=True))
