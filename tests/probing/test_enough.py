"""A probe of few episodes says what they are too few for, and what would help, in numbers that hold."""

import pytest

from mobile_vla.probing.enough import find_shortage
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.probing.sampling import make_plan


@pytest.fixture
def shortage(make_episode):
    def find(split="validation", dealt=None, plan=None, **counts):
        episodes = [make_episode(f"{side}/{i}", 6, direction=side) for side in counts for i in range(counts[side])]
        return find_shortage(make_plan(episodes, PlanConfig(**(plan or {}))), episodes, split, dealt)

    return find


def test_enough_is_not_mentioned(shortage):
    assert shortage(left=20, right=20) == []
    assert shortage(left=32, right=8) == []


def test_a_small_validation_part_names_its_numbers_and_the_remedies(shortage):
    told, remedy = shortage(left=6, right=6, dealt={"train": 28, "validation": 12, "test": 0})
    assert told == (
        "12 episodes are looked into (the validation part: 6 left, 6 right); with 6 left and 6 right, fewer than 8 of "
        "a class, `discriminative` stays undecided; below 40 episodes the interval of `preserving` is not calibrated"
    )
    assert "split=all takes all 40, but 28 of 40 were trained on" in remedy
    assert "recording more: 40 episodes are too few to hold out 40" in remedy


def test_where_there_are_more_episodes_a_larger_share_is_named(shortage):
    told, remedy = shortage(left=12, right=12, dealt={"train": 112, "validation": 24, "test": 24})
    assert "fewer than 8" not in told
    assert "data.split.validation=0.25 holds out 40 of the 160 episodes" in remedy
    (told,) = [shortage(left=60, right=7, dealt={"train": 93, "validation": 67})[0]]
    assert "with 7 right, fewer than 8" in told
    assert "calibrated" not in told


def test_a_plan_that_takes_fewer_than_there_are(shortage):
    _, remedy = shortage(left=40, right=40, plan={"episodes": 10}, dealt={"train": 100, "validation": 80})
    assert "plan.episodes=40 takes more of the 80 that are there" in remedy
    assert "recording" not in remedy


def test_all_episodes_or_other_data_can_only_be_more(shortage):
    for split, dealt in (("all", {"train": 20, "validation": 4}), (None, None)):
        _, remedy = shortage(split=split, dealt=dealt, left=12, right=12)
        assert remedy == "what would help: recording about 16 more episodes"
