"""Which labels of frames make groups, and who is in them."""

import numpy as np
import pytest

from mobile_vla.evaluation.frame_groups import FrameGroups


def labelled(lab, *columns, name="visible"):
    return [
        lab.make_episode(f"e{i}", len(column), frame_labels={name: np.array(column)})
        for i, column in enumerate(columns)
    ]


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ([["yes", "no", "no"], ["no", "no"]], ["no", "yes"]),
        ([["yes", "unknown"], ["no"]], ["no", "unknown", "yes"]),
        ([[1.0, np.nan], [0.25]], ["0.25", "1", "unknown"]),
        ([np.arange(8.0), [3.0]], ["0", "1", "2", "3", "4", "5", "6", "7"]),
        ([np.arange(9.0)], []),  # too many
        ([["yes", "yes"], ["yes"]], []),  # constant, as a label that was once taken for a feature
        ([[1.0, np.nan], [1.0]], []),  # known or not is no contrast
        ([np.zeros((3, 4)), np.ones((2, 4))], []),  # boxes
    ],
)
def test_labels_worth_a_table(lab, columns, values):
    assert FrameGroups(labelled(lab, *columns)).names == [("visible", value) for value in values]


def test_an_episode_without_the_label_is_unknown(lab):
    episodes = [*labelled(lab, ["yes", "no"]), lab.make_episode("other", 3)]
    assert ("visible", "unknown") in FrameGroups(episodes).names


def test_each_position_of_a_window_is_in_its_frames_group_and_padding_in_none(lab):
    episodes = labelled(lab, ["a", "b", "b", "a", "b", "b"], ["b", "a"])
    assembler = lab.make_data(episodes, num_validation=2).assembler(episodes, with_frames=False)
    plan = lab.make_data(episodes, num_validation=2).plan("validation")
    batch = assembler(assembler.requests(next(plan.batches(0))))
    groups = FrameGroups(episodes)
    found = groups.of(batch)
    a, b = (groups.names.index(("visible", value)) for value in "ab")
    shown = [["a" if row[a] else "b" if row[b] else "" for row in found[s].tolist()] for s in range(batch.num_windows)]
    assert shown == [list("abba"), list("bbab"), list("babb"), ["b", "a", "", ""]]
    assert (found.sum(-1) == (batch.windows >= 0)).all()
