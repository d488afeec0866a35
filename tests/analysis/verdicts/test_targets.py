"""Which labels are asked for, and why the others are not: told by labels and instructions alone."""

import numpy as np
import pytest

from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.discriminative.targets import declare_targets, list_unused, make_target
from mobile_vla.core.errors import UserError
from tests.analysis.conftest import write_store


@pytest.fixture
def sampled(tmp_path):
    """labels, instructions (one an episode) -> a sample of one frame an episode."""

    def make(labels: dict, instruction="go"):
        num = len(next(iter(labels.values())))
        vectors = np.random.default_rng(0).standard_normal((num, 2))
        names = [f"e{index:03d}" for index in range(num)]
        return take_sample(
            write_store(
                tmp_path / "s",
                {"context": vectors},
                names,
                [0] * num,
                [0.0] * num,
                labels=labels,
                instruction=instruction,
            )
        )

    return make


def test_the_first_that_can_be_asked_for_is_primary(sampled):
    labels = {"scenario": ["a"] * 40, "pattern": ["x", "y"] * 20, "my_label": ["u", "v"] * 20}
    found = declare_targets(sampled(labels))
    assert [target.name for target in found] == ["my_label", "pattern", "scenario"]
    assert found[-1].why_not == "scenario is a in all 40 episodes: there is nothing to tell apart"


def test_a_label_of_a_table_is_a_target_numbers_too(sampled):
    (found,) = declare_targets(sampled({"num_cups": [1.0, 2.0, None, 2.0] * 10}), ["num_cups"])
    assert found.classes == ("1", "2")
    assert found.counts == {"1": 10, "2": 20}
    assert len(found.asked) == 30
    assert found.codes[2] == -1


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["a"] * 33 + ["b"] * 7, "7 episodes of scenario = b; 8 of each class are needed"),
        ([f"v{index % 9}" for index in range(90)], "scenario has 9 values, more than 8"),
    ],
)
def test_too_few_or_too_many_are_not_asked_for(sampled, values, why):
    assert make_target(sampled({"scenario": values}), "scenario").why_not == why


def test_eight_of_each_class_are_enough(sampled):
    assert make_target(sampled({"scenario": ["a"] * 8 + ["b"] * 8}), "scenario").why_not is None


def test_what_the_instruction_tells_is_not_asked_for(sampled):
    sample = sampled({"direction": ["l", "r"] * 20, "scenario": ["a", "a", "b", "b"] * 10}, ["left", "right"] * 20)
    found = make_target(sample, "direction")
    assert found.given_away
    assert "can be read off the text" in (found.why_not or "")
    assert [target.name for target in declare_targets(sample)] == ["scenario", "direction"]
    assert not make_target(sample, "scenario").given_away


def test_it_is_asked_for_among_episodes_of_equal_instruction(sampled):
    """20 episodes are told the direction, 40 are told `go` and go either way."""
    texts = ["left", "right"] * 10 + ["go"] * 40
    found = make_target(sampled({"direction": ["l", "r"] * 30}, texts), "direction")
    assert found.given_away
    assert found.why_not is None
    assert found.asked.tolist() == list(range(20, 60))


def test_the_direction_is_held_against_equal_texts_even_where_texts_hardly_tell_it(sampled):
    texts = ["go", "please go"] * 20
    sample = sampled({"direction": ["l", "l", "r", "r"] * 10, "scenario": ["a", "a", "b", "b"] * 10}, texts)
    assert make_target(sample, "direction").given_away
    assert not make_target(sample, "scenario").given_away


def test_a_label_that_is_the_session_cannot_be_told_from_it(sampled):
    days = ["mon"] * 20 + ["tue"] * 20
    sample = sampled({"scenario": ["a"] * 20 + ["b"] * 20, "pattern": ["x", "y"] * 20, "session": days})
    assert "hardly differs within a session" in (make_target(sample, "scenario").why_not or "")
    assert declare_targets(sample)[0].name == "pattern"


@pytest.mark.parametrize(("others", "enough"), [(2, False), (4, True)])
def test_few_episodes_that_differ_within_sessions_are_too_few_for_an_accuracy(sampled, others, enough):
    """Two of each day's twenty are of the other class: 4 * 18 * 2 / 20 a day, 14.4 in all, where 16 are needed."""
    days = ["mon"] * 20 + ["tue"] * 20
    values = ["a"] * (20 - others) + ["b"] * 20 + ["a"] * others
    why_not = make_target(sampled({"scenario": values, "session": days}), "scenario").why_not
    if enough:
        assert why_not is None
    else:
        assert "40 episodes count as 14.4 when compared within each session, and 16 are needed" in (why_not or "")


def test_a_misspelt_name_is_told_what_is_near(sampled):
    with pytest.raises(UserError, match=r"targets: scenari is no label .* there are scenario; did you mean scenario\?"):
        declare_targets(sampled({"scenario": ["a", "b"] * 20}), ["scenari"])


def test_the_margin_is_as_far_from_chance_for_more_classes(sampled):
    two = make_target(sampled({"scenario": ["a", "b"] * 20}), "scenario")
    assert two.margin == pytest.approx(0.70)
    assert two.chance == 0.5


def test_four_classes_have_a_lower_margin(sampled):
    four = make_target(sampled({"scenario": list("abcd") * 10}), "scenario")
    assert (four.chance, four.margin) == (0.25, pytest.approx(0.55))


@pytest.fixture
def varying(tmp_path):
    """A store of 20 episodes x 12 rows; changes: to the scenario's values."""

    def make(change):
        scenario = np.repeat(["box", "basket"] * 10, 12).astype(object)
        change(scenario)
        labels = {"scenario": scenario, "difficulty": np.repeat(["easy", "easy", "hard", "hard"] * 5, 12)}
        names, frames = np.repeat([f"e{index}" for index in range(20)], 12), np.tile(np.arange(12), 20)
        vectors = np.random.default_rng(0).standard_normal((240, 2))
        return take_sample(write_store(tmp_path / "s", {"context": vectors}, names, frames, frames / 11, labels=labels))

    return make


def test_a_stray_row_does_not_change_the_primary_target(varying):
    def change(scenario):
        scenario[77] = "odd"

    first = declare_targets(varying(change))[0]
    assert (first.name, first.classes) == ("scenario", ("basket", "box"))
    assert any("1 of 12 rows of episode e6 says 'odd'" in note for note in first.notes)


def test_a_scenario_that_changes_by_frame_gives_its_place_to_another_and_it_is_said(varying):
    def change(scenario):
        scenario[::2] = "odd"

    sample = varying(change)
    first = declare_targets(sample)[0]
    assert first.name == "difficulty"
    assert any("scenario, which would come first, is no target: scenario changes within 20" in n for n in first.notes)
    assert "scenario" in list_unused(sample)
    with pytest.raises(UserError, match=r"targets: scenario changes within 20 .* can be asked for: difficulty"):
        declare_targets(sample, ["scenario"])


def test_what_says_when_it_was_recorded_is_listed_as_unused(sampled):
    sample = sampled({"scenario": ["a", "b"] * 20, "time_period": ["morning", "evening"] * 20})
    assert [target.name for target in declare_targets(sample)] == ["scenario"]
    assert "when or how" in list_unused(sample)["time_period"]
    assert declare_targets(sample, ["time_period"])[0].why_not is None  # unless it is asked for by name
