"""Whether actions depend on the instruction, on profiles whose answer is planted."""

import itertools

import numpy as np
import pytest

from mobile_vla.core.dependence import _between, _permute, _share, _standardize, explained_share, judge_dependence


def plant(seed, told, explained=0.0, days=None, bins=6, parts=2):
    """(E, bins, A): an offset of each episode's own (sd .8) and noise (sd .6), and as much of what it was told as makes
    up this share of the variance; days have profiles of their own."""
    rng = np.random.default_rng(seed)
    codes = np.unique(told, return_inverse=True)[1]
    effects = rng.normal(size=(codes.max() + 1, bins, parts))
    effects -= np.average(effects, axis=0, weights=np.bincount(codes))
    effects *= np.sqrt(explained / (1 - explained) / ((effects[codes] ** 2).mean()))
    own = rng.normal(0, 0.8, (len(codes), 1, parts)) + rng.normal(0, 0.6, (len(codes), bins, parts))
    day = 0 if days is None else rng.normal(0, 2, (max(days) + 1, bins, parts))[np.array(days)]
    return effects[codes] + own + day


class TestAnswers:
    @pytest.mark.parametrize(("num", "texts", "days"), [(12, 2, 1), (24, 8, 1), (32, 2, 4)])
    def test_where_nothing_depends_it_is_shown_in_5_percent(self, num, texts, days):
        told, day = [i % texts for i in range(num)], [i * days // num for i in range(num)]
        found = [judge_dependence(plant(seed, told, days=day), told, day) for seed in range(40)]
        assert sum(one.depends for one in found) <= 6  # 5 % of 40, and three standard errors
        for one in found:
            if not one.depends:
                assert one.answer == "not shown"
                assert f"is not shown by these {num} episodes (p = {one.p:.3f}" in one.sentence
                assert "95 % interval" in one.sentence
                assert one.ci[0] < 0.05

    @pytest.mark.parametrize("days", [1, 3])
    def test_a_planted_dependence_is_found_with_its_share(self, days):
        told, day = [i % 2 for i in range(24)], [i // 8 % days for i in range(24)]
        found = [judge_dependence(plant(seed, told, 0.3, days=day), told, day) for seed in range(30)]
        assert sum(one.depends for one in found) >= 28
        assert np.mean([one.share for one in found]) == pytest.approx(0.3, abs=0.06)
        assert sum(one.ci[0] <= 0.3 <= one.ci[1] for one in found) >= 26
        assert found[0].sentence.startswith("the recorded actions depend on the instruction (p = ")
        assert "% of their variance between episodes, 95 % interval" in found[0].sentence

    def test_days_hide_nothing_and_feign_nothing(self):
        """Most of what is told on a day is one thing, and days differ widely."""
        day = [i // 16 for i in range(32)]
        told = [int((i % 4 == 0) != (i < 16)) for i in range(32)]
        kept = [plant(seed, told, days=day) for seed in range(30)]
        assert sum(judge_dependence(one, told, [0] * 32).depends for one in kept) >= 15  # blind to days: misled
        assert sum(judge_dependence(one, told, day).depends for one in kept) <= 5
        there = [judge_dependence(plant(seed, told, 0.4, days=day), told, day).depends for seed in range(20)]
        assert sum(there) >= 17

    def test_units_mean_nothing(self):
        told = [i % 2 for i in range(16)]
        profiles = plant(0, told, 0.1)
        found = judge_dependence(profiles, told, [0] * 16)
        other = judge_dependence(profiles * [100.0, 0.01] + [5, -3], told, [0] * 16)
        assert (other.p, other.share) == pytest.approx((found.p, found.share))


class TestImpossible:
    def test_one_instruction(self):
        found = judge_dependence(plant(0, [0] * 9), ["go"] * 9, [0] * 9)
        assert (found.answer, found.can_tell, found.p) == ("cannot be shown", False, None)
        assert found.sentence == "every episode has the same instruction"

    @pytest.mark.parametrize("count", [4, 20])
    def test_texts_that_occur_once_each(self, count):
        """However episodes are dealt to texts of their own, the statistic is the same: its rank must not be chance."""
        found = judge_dependence(plant(0, range(count)), range(count), [0] * count)
        assert found.answer == "cannot be shown"
        assert f"{count} episodes with {count} different instructions are too few to show" in found.sentence
        assert "less than 1.00" in found.sentence

    def test_the_number_of_dealings_is_that_of_different_statistics(self):
        """Three texts, two episodes each: 15 ways to pair six episodes, so that p is never below 1 / 15."""
        told = [0, 0, 1, 1, 2, 2]
        found = judge_dependence(plant(0, told, 0.9), told, [0] * 6)
        assert "less than 0.07" in found.sentence
        rows = _standardize(plant(0, told), np.zeros(6, int))
        values = {round(_between(rows, np.array(dealt)), 9) for dealt in itertools.permutations(told)}
        assert len(values) == 15

    def test_one_instruction_a_day(self):
        told = [i // 10 for i in range(20)]
        assert judge_dependence(plant(0, told, 0.9), told, told).answer == "cannot be shown"
        assert judge_dependence(plant(0, told, 0.9), told, [0] * 20).depends

    def test_actions_that_never_differ(self):
        profiles = np.full((12, 6, 2), 0.1) * np.arange(6)[:, None]  # sums of such numbers are not exact
        found = judge_dependence(profiles, [i % 2 for i in range(12)], [0] * 12)
        assert (found.answer, found.sentence) == (
            "cannot be shown",
            "at equal progress all episodes hold the same actions",
        )

    def test_no_known_action(self):
        found = judge_dependence(np.full((4, 6, 2), np.nan), list("abab"), [0] * 4)
        assert (found.answer, found.sentence, found.n) == ("cannot be shown", "no action is known", 0)


@pytest.mark.parametrize("sizes", [(6,), (4, 3)])
def test_chance_is_the_mean_over_all_dealings(sizes):
    """The share is 0 on average over every way of dealing the codes within blocks, counted out."""
    blocks = np.repeat(np.arange(len(sizes)), sizes)
    codes = np.arange(len(blocks)) % 2
    rows = _standardize(plant(3, codes), blocks)
    ways = [itertools.permutations(codes[blocks == block]) for block in range(len(sizes))]
    shares = [_share(rows, np.concatenate(dealt), blocks) for dealt in itertools.product(*ways)]
    assert np.mean(shares) == pytest.approx(0, abs=1e-12)
    assert explained_share(plant(3, codes), codes, blocks) == pytest.approx(_share(rows, codes, blocks))


def test_p_is_that_of_all_dealings_within_sessions():
    """Three of four on the first day, one of four on the second: 16 dealings, counted out."""
    told, days = np.array([0, 0, 0, 1, 1, 1, 1, 0]), np.repeat([0, 1], 4)
    for seed in range(6):
        rows = _standardize(plant(seed, told), days)
        ways = (set(itertools.permutations(told[days == day].tolist())) for day in (0, 1))
        values = np.array([_between(rows, np.concatenate(dealt)) for dealt in itertools.product(*ways)])
        assert len(values) == 16
        exact = np.mean(values >= _between(rows, told) * (1 - 1e-9))
        assert _permute(rows, told, days) == pytest.approx(exact, abs=0.05)


def test_unknown_entries_are_left_out():
    told = [i % 2 for i in range(20)]
    profiles = plant(1, told, 0.5)
    gappy = profiles.copy()
    gappy[::3, 4:] = np.nan
    gappy[5] = np.nan
    found = judge_dependence(gappy, told, [0] * 20)
    assert (found.depends, found.n) == (True, 19)
    wild = gappy.copy()
    wild[np.isnan(wild)] = 1e6
    assert not judge_dependence(wild, told, [0] * 20).depends  # as numbers they would have drowned it
