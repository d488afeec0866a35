"""What experts did by bin; and whether the recorded actions depend on the instruction."""

from dataclasses import replace

import numpy as np

from mobile_vla.analysis.planted.store import Policy, plant_store
from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.actionable.experts import Experts, find_dependence, find_relevance
from mobile_vla.core.dependence import judge_dependence


class TestExperts:
    def test_courses_are_the_mean_chunks_of_each_episode_and_bin(self):
        sample = take_sample(plant_store(World(episodes=10, width=16), 0))
        experts = Experts.of(sample)
        actions = np.asarray(sample.actions).reshape(10, 5 * 2)
        np.testing.assert_allclose(experts.courses, actions, atol=1e-6)
        assert len({experts.codes[text] for text in sample.instruction}) == 2
        assert [experts.codes[text] for text in sample.instruction] == experts.asked.tolist()

    def test_a_bin_without_rows_is_unknown(self):
        sample = take_sample(plant_store(World(episodes=10, width=16), 0))
        store = sample.store
        variant = store.column("variant").copy()
        variant[(store.column("episode") == "episode_0003") & (store.column("progress") > 0.9)] = "other"
        own = store.column
        store.column = lambda name: variant if name == "variant" else own(name)
        store.select = lambda: np.flatnonzero(variant == "own")
        courses = Experts.of(sample).courses.reshape(10, 5, 2)
        assert np.isnan(courses[3, 4]).all()
        assert np.isfinite(np.delete(courses.reshape(50, 2), 3 * 5 + 4, axis=0)).all()


class TestDependence:
    def test_drivers_who_do_not_listen_are_not_called_independent(self):
        """p <= .05 in 5 % of cases; in the others nothing is shown, and no absence is claimed."""
        found = [
            find_dependence(take_sample(plant_store(World(episodes=20, width=16), seed, Policy(told=False))))
            for seed in range(16)
        ]
        assert np.mean([one.depends for one in found]) <= 0.2
        assert all("is not shown by these 20 episodes (p = " in one.sentence for one in found if not one.depends)

    def test_drivers_who_do_are_found(self):
        sample = take_sample(plant_store(World(episodes=20, width=16), 0))
        assert find_dependence(sample).depends
        found = find_dependence(replace(sample, instruction=("go",) * 20, labels={}))
        assert (found.answer, found.can_tell) == ("cannot be shown", False)

    def test_one_instruction_a_session_cannot_be_told_from_the_session(self):
        sample = take_sample(plant_store(World(episodes=20, width=16), 0))
        day = np.array([text == "turn left" for text in sample.instruction]).astype(int)
        found = find_dependence(replace(sample, session=day))
        assert found.answer == "cannot be shown"
        assert "permuted within recording sessions, are too few to show" in found.sentence

    def test_the_survey_of_the_same_actions_answers_alike(self):
        """One test: what training finds in the episodes, the analysis finds in their stored chunks."""
        sample = take_sample(plant_store(World(episodes=20, width=16), 0))
        profiles = np.asarray(sample.actions).reshape(20, 5, -1)
        direct = judge_dependence(profiles, sample.instruction, [0] * 20)
        assert find_dependence(sample) == direct

    def test_a_label_is_relevant_as_far_as_actions_follow_it_beyond_the_instruction(self):
        sample = take_sample(plant_store(World(episodes=40, width=16), 0))
        flat = np.asarray(sample.actions).reshape(40, 5, -1)
        told = np.array([text == "turn left" for text in sample.instruction]).astype(int)
        left = flat - np.stack([flat[told == code].mean(axis=0) for code in (0, 1)])[told]
        side = (left.sum(axis=(1, 2)) > 0).astype(int)
        rng = np.random.default_rng(0)
        by_chance = [find_relevance(sample, rng.permutation(side)) for _ in range(20)]
        assert find_relevance(sample, side) > max(by_chance)
        assert abs(np.mean(by_chance)) < 0.02
        assert abs(find_relevance(sample, told)) < 1e-9  # the instruction itself says nothing beyond itself
