"""Whether actions follow the instruction, and how much of them, on data where the answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.data.dataset import DataConfig
from mobile_vla.survey.actions import describe_actions
from mobile_vla.survey.dependence import BINS, examine_dependence

CONFIG = DataConfig(root="x")


def drive(make_episode, rng, index, follow):
    """An episode whose sideways velocity follows its text, or not."""
    side = ("left", "right")[index % 2]
    actions = rng.normal(0, 0.3, (24, 3))
    actions[:, 1] += (1 if side == "left" else -1) * follow
    return make_episode(str(index), actions, instruction=f"go {side}", direction=side)


def examine(config, episodes):
    return examine_dependence(config, episodes, describe_actions(config, episodes))


def test_actions_that_follow(make_episode):
    rng = np.random.default_rng(0)
    episodes = [drive(make_episode, rng, i, follow=1.0) for i in range(20)]
    found, course = examine(CONFIG, episodes)
    assert found.depends
    assert found.predicts_label
    assert found.table == {"go left": {"left": 10, "right": 0}, "go right": {"left": 0, "right": 10}}
    assert course.names == ("left", "right")
    assert course.mean[0, :, 1].min() > 0.5 > -0.5 > course.mean[1, :, 1].max()

    # The share, one frame at a time.
    around_common = around_own = 0.0
    for a in (0, 1):
        for b in range(BINS):
            rows = {
                s: np.concatenate([e.actions[2 * b : 2 * b + 2, a] for e in episodes if e.instruction.endswith(s)])
                for s in ("left", "right")
            }
            both = np.concatenate(list(rows.values()))
            std = np.concatenate([e.actions[:, a] for e in episodes]).std()
            around_common += (((both - both.mean()) / std) ** 2).sum()
            around_own += sum((((part - part.mean()) / std) ** 2).sum() for part in rows.values())
    assert found.share == pytest.approx(1 - around_own / around_common, rel=1e-4)
    assert found.share > 0.4 > 0.1 > found.share_by_chance


def test_actions_that_do_not_follow(make_episode):
    rng = np.random.default_rng(0)
    found, _ = examine(CONFIG, [drive(make_episode, rng, i, follow=0.0) for i in range(20)])
    assert not found.depends
    assert found.sentence.startswith("that the recorded actions depend on the instruction is not shown by these 20")
    assert found.share == pytest.approx(found.share_by_chance, abs=0.05)


def test_one_instruction_can_show_nothing(make_episode):
    found, _ = examine(CONFIG, [make_episode(str(i), 18) for i in range(8)])
    assert (found.depends, found.share) == (False, 0)
    assert found.sentence == "every episode has the same instruction"


def test_a_component_without_a_range_is_left_out_of_the_question(make_episode):
    """Training refuses it; whether the others follow can still be said."""
    rng = np.random.default_rng(0)
    episodes = [drive(make_episode, rng, i, follow=1.0) for i in range(20)]
    for episode in episodes:
        episode.actions[:, 0] = 0
    found, course = examine(replace(CONFIG, bounds={"linear_x": (0.0, 1.0)}), episodes)
    assert found.depends
    assert course.components == ("linear_y",)


def test_nothing_that_varies_is_said(make_episode):
    found, course = examine(CONFIG, [make_episode(str(i), np.zeros((9, 3))) for i in range(3)])
    assert (found.depends, found.share, course.components) == (False, None, ())
    assert found.sentence == "no component of the action varies"
