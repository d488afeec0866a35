"""Which text and which frames replace an episode's own, what the ratio's interval is, and what is said about it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.core.batch import OWN
from mobile_vla.data.assemble import WindowRequest
from mobile_vla.data.meaning import Meanings, find_meanings
from mobile_vla.evaluation.effects import Effect, EffectPlan, warnings
from mobile_vla.evaluation.intervals import ratio_with_interval
from mobile_vla.interventions.drawing import DONOR, PARAPHRASE, SWAP

MEANING = {
    "go left": "left",
    "pass left": "left",
    "keep to the left side": "left",
    "go right": "right",
    "stay on the right": "right",
}


def words(text: str) -> int:
    return len(text.split())


def plan_for(lab, texts, *, meanings=None, seed=0, no_dependence=None, length=words) -> EffectPlan:
    episodes = [lab.make_episode(f"e{i:02d}", 9, text, seed=i) for i, text in enumerate(texts)]
    meanings = meanings or Meanings(MEANING, known=True)
    return EffectPlan(episodes, meanings, length, no_dependence, seed=seed)


class TestTexts:
    TEXTS = ("go left", "go right", "keep to the left side", "stay on the right", "pass left") * 4

    def test_a_swap_asks_for_something_else_and_has_the_nearest_length(self, lab):
        plan = plan_for(lab, self.TEXTS)
        for own, other in zip(self.TEXTS, plan.texts[SWAP], strict=True):
            assert MEANING[own] != MEANING[other]
            gaps = [abs(words(t) - words(own)) for t in MEANING if MEANING[t] != MEANING[own]]
            assert abs(words(other) - words(own)) == min(gaps)

    def test_texts_of_the_same_length_are_all_used(self, lab):
        """`go right` has two equally near swaps: neither of them decides alone."""
        plan = plan_for(lab, self.TEXTS * 3)
        chosen = {other for own, other in zip(self.TEXTS * 3, plan.texts[SWAP], strict=True) if own == "go right"}
        assert chosen == {"go left", "pass left"}

    def test_a_paraphrase_means_the_same_in_other_words(self, lab):
        plan = plan_for(lab, self.TEXTS)
        for own, other in zip(self.TEXTS, plan.texts[PARAPHRASE], strict=True):
            assert own != other
            assert MEANING[own] == MEANING[other]

    def test_length_is_that_of_the_tokenizer_not_of_the_characters(self, lab):
        length = {"go left": 9, "pass left": 3, "keep to the left side": 4, "go right": 4, "stay on the right": 9}
        plan = plan_for(lab, ["go right"], length=length.get)
        assert plan.texts[SWAP] == ["keep to the left side"]

    def test_without_known_meanings_there_is_no_paraphrase(self, lab):
        meanings = Meanings({text: text for text in MEANING}, known=False)
        plan = plan_for(lab, self.TEXTS, meanings=meanings)
        assert plan.texts[PARAPHRASE] == [None] * len(self.TEXTS)
        assert PARAPHRASE not in plan.interventions()
        assert all(other != own for own, other in zip(self.TEXTS, plan.texts[SWAP], strict=True))

    def test_an_episode_without_another_text_is_left_out_of_that_intervention(self, lab):
        meanings = Meanings({"go left": "left", "pass left": "left", "go right": "right"}, known=True)
        plan = plan_for(lab, ["go left", "go right"], meanings=meanings)
        change = plan.interventions()[PARAPHRASE]
        assert change(WindowRequest(episode=1, start=0)) is None
        assert change(WindowRequest(episode=0, start=3)).instruction == "pass left"

    def test_an_episodes_windows_all_get_the_same_text(self, lab):
        change = plan_for(lab, self.TEXTS).interventions()[SWAP]
        for episode in range(len(self.TEXTS)):
            assert len({change(WindowRequest(episode=episode, start=s)).instruction for s in range(6)}) == 1

    def test_the_choice_is_fixed_by_the_seed(self, lab):
        texts = self.TEXTS * 3
        first, again, other = (plan_for(lab, texts, seed=seed) for seed in (1, 1, 2))
        assert first.texts == again.texts
        assert first.donors == again.donors
        assert first.donors != other.donors


class TestDonors:
    @pytest.mark.parametrize("count", [2, 3, 7, 20])
    @pytest.mark.parametrize("seed", range(5))
    def test_pairs_lend_to_each_other_and_to_nobody_else(self, lab, count, seed):
        plan = plan_for(lab, ["go left"] * count, seed=seed)
        assert sorted(plan.donors) == sorted(plan.donors.values())
        assert len(plan.donors) == count // 2 * 2
        assert all(episode != donor and plan.donors[donor] == episode for episode, donor in plan.donors.items())

    def test_pairs_are_of_one_instruction_where_there_are_enough_for_an_interval(self, lab):
        texts = ["go left"] * 4 + ["go right"] * 3 + ["stay on the right"] * 2
        plan = plan_for(lab, texts)
        assert plan.same_instruction == 1
        assert all(MEANING[texts[a]] == MEANING[texts[b]] for a, b in plan.donors.items())
        few = plan_for(lab, ["go left"] * 3 + ["go right"] * 3)
        assert (len(few.donors), few.same_instruction) == (6, pytest.approx(2 / 3))

    def test_frames_come_from_the_donor_at_the_same_progress(self, lab):
        """And the text, the actions and the identity stay those of the episode."""
        episodes = [lab.make_episode("long", 11, lab.left), lab.make_episode("brief", 6, lab.right, seed=1)]
        data = lab.make_data(episodes, num_validation=2)
        assembler = data.assembler(episodes)
        plan = EffectPlan(episodes, Meanings({lab.left: "l", lab.right: "r"}, True), len, None)
        change = plan.interventions()[DONOR]
        for start in (0, 3, 7):
            own = WindowRequest(episode=0, start=start)
            shown, plain = assembler([change(own)]), assembler([own])
            frames = lab.RandomFrames().read(episodes[1], 0, 6)
            for i, pair in enumerate(shown.pair_id):
                expected = frames[round(pair.frame / 10 * 5)]
                assert (shown.frames[shown.pair_frame[i]] == expected).all()
            assert [pair.episode for pair in shown.pair_id] == ["long"] * len(shown.pair_id)
            assert (shown.chunks == plain.chunks).all()
            assert (shown.text_ids == plain.text_ids).all()

    def test_a_single_episode_has_none(self, lab):
        plan = plan_for(lab, ["go left"])
        assert DONOR not in plan.interventions()


def tables_for(lab, plan, losses: dict[str, list[float]]):
    """Tables in which each episode has one window of 10 entries, and the given loss."""
    sums = lab.make_sums(plan.episodes)
    tables = {}
    for name, by_episode in losses.items():
        table = np.zeros(tuple(sums.table.shape))
        for row, loss in enumerate(by_episode):
            if not np.isnan(loss):
                table[row, sums.columns["windows"]] = 1
                table[row, sums.columns["entries"]] = 10
                table[row, sums.columns["huber"]] = loss / 2
        tables[name] = table
    return tables, sums


class TestEffects:
    TEXTS = ("go left", "go right", "keep to the left side", "go right")

    def test_each_ratio_is_over_the_episodes_that_could_be_changed(self, lab):
        plan = plan_for(lab, self.TEXTS)
        nan = float("nan")
        tables, sums = tables_for(
            lab,
            plan,
            {OWN: [1, 2, 3, 4], SWAP: [2, 4, 6, 9], PARAPHRASE: [1, nan, 3.3, nan], DONOR: [3, 4, 5, 6]},
        )
        effects = plan.effects(tables, sums)
        assert effects["instruction"].ratio == pytest.approx(21 / 10)
        assert effects["paraphrase"].ratio == pytest.approx(4.3 / 4)
        assert effects["image"].ratio == pytest.approx(18 / 10)
        assert [effects[n].episodes for n in ("instruction", "paraphrase", "image")] == [4, 2, 4]
        assert [effects[n].windows for n in ("instruction", "paraphrase", "image")] == [4, 2, 4]
        matched = np.mean([words(a) == words(b) for a, b in zip(self.TEXTS, plan.texts[SWAP], strict=True)])
        assert effects["instruction"].length_matched == matched
        assert 0 < matched < 1
        assert effects["image"].length_matched is None

    @pytest.mark.parametrize("seed", range(3))
    def test_the_pair_is_the_unit_of_the_images_interval(self, lab, seed):
        """How different two scenes are hits both episodes of the pair: the interval is that of the pairs' sums."""
        plan = plan_for(lab, ["go left"] * 20, seed=seed)
        rng = np.random.default_rng(seed)
        own = rng.lognormal(0, 0.4, 20)
        changed = own * np.array([1 + 0.1 * min(i, plan.donors[i]) for i in range(20)])
        tables, sums = tables_for(lab, plan, {OWN: own, DONOR: changed})
        found = plan.effects(tables, sums)["image"]
        pairs = [(i, j) for i, j in plan.donors.items() if i < j]
        expected = ratio_with_interval(*(np.array([x[i] + x[j] for i, j in pairs]) for x in (changed, own)))
        assert (found.unit, found.units, found.episodes, found.level) == ("pairs of episodes", 10, 20, 0.95)
        assert found.ratio == pytest.approx(expected[0], rel=1e-4)
        assert found.ci == pytest.approx(expected[1], rel=1e-3)

    def test_withheld_where_the_data_cannot_show_it(self, lab):
        plan = plan_for(lab, self.TEXTS, no_dependence="every episode has the same instruction")
        assert plan.interventions().keys() == {DONOR}
        tables, sums = tables_for(lab, plan, {OWN: [1, 2, 3, 4], DONOR: [1, 2, 3, 4]})
        effects = plan.effects(tables, sums)
        for name in ("instruction", "paraphrase"):
            assert effects[name].ratio is None
            assert effects[name].reason == "every episode has the same instruction"
        assert effects["image"].ratio == 1

    def test_withheld_for_a_single_episode(self, lab):
        plan = plan_for(lab, ["go left"])
        tables, sums = tables_for(lab, plan, {OWN: [1]})
        assert plan.effects(tables, sums)["image"].reason == "a single episode has no other episode's image"

    def test_a_perfect_policy_has_finite_effects_that_are_told_apart(self, lab):
        """No loss at all: what is read changes it a thousandfold, what is not read by a factor of exactly one."""
        plan = plan_for(lab, self.TEXTS)
        tables, sums = tables_for(lab, plan, {OWN: [0, 0, 0, 0], SWAP: [1, 1, 1, 1], DONOR: [0, 0, 0, 0]})
        effects = plan.effects(tables, sums)
        assert 1e3 < effects["instruction"].ratio < np.inf
        assert effects["instruction"].shown
        assert (effects["image"].ratio, effects["image"].shown) == (1.0, False)

    def test_the_meanings_of_a_dataset_are_found_from_its_labels(self, lab):
        meanings = find_meanings(lab.make_episodes(12), "direction")
        assert meanings.known
        assert meanings.of == {lab.left: "left", lab.left_too: "left", lab.right: "right"}


class TestWarnings:
    NONE = Effect(ratio=None, reason="x")

    @staticmethod
    def effect(ratio, low, high):
        return Effect(ratio=ratio, ci=(low, high), episodes=9, windows=40, units=9)

    def said(self, instruction, paraphrase=NONE, image=None):
        image = image or self.effect(3, 2, 4)
        return warnings({"instruction": instruction, "paraphrase": paraphrase, "image": image})

    def test_nothing_to_say(self):
        assert self.said(self.effect(2, 1.5, 2.5), self.effect(1.1, 0.9, 1.3)) == []

    def test_an_effect_of_the_instruction_that_is_not_shown(self):
        (line,) = self.said(self.effect(1.02, 0.95, 1.1))
        assert line == (
            "That the policy uses its instruction is not shown by these 9 episodes: with another instruction its loss "
            "is 1.02 times as high (95 % interval 0.95 to 1.10)."
        )

    def test_an_effect_of_the_image_that_is_not_shown(self):
        image = replace(self.effect(1.07, 0.83, 1.39), unit="pairs of episodes")
        (line,) = self.said(self.effect(2, 1.5, 2.5), image=image)
        assert line.startswith("That the policy uses its image is not shown by these 9 pairs of episodes")
        assert "1.07 times as high (95 % interval 0.83 to 1.39)" in line

    @pytest.mark.parametrize("ratio", [0.8, 1.0, 1.07])
    @pytest.mark.parametrize("ci", [None, (0.7, 1.4)])
    def test_no_absence_is_claimed_where_nothing_is_shown(self, ratio, ci):
        weak = Effect(ratio=ratio, ci=ci, episodes=4, windows=9, units=4)
        for line in self.said(weak, weak, weak):
            assert "not shown by these" in line or line.startswith("Too few")
            assert not re.search(r"does the same|ignore|not use|no effect|do(es)? not depend", line)

    def test_a_paraphrase_that_does_as_much(self):
        (line,) = self.said(self.effect(2, 1.5, 2.5), self.effect(2.1, 1.6, 2.6))
        assert line == (
            "That the policy reads the meaning of its instruction, and not only the wording, is not shown by these 9 "
            "episodes: its loss is 2.10 times as high (95 % interval 1.60 to 2.60) with a paraphrase and 2.00 times "
            "as high (95 % interval 1.50 to 2.50) with another instruction."
        )

    def test_data_that_cannot_show_it(self):
        (line,) = self.said(Effect(ratio=None, reason="every episode has the same instruction"))
        assert line == "The effect of the instruction is not measured: every episode has the same instruction."
