"""Which rows are looked at: one an episode and bin, no recording twice, labels that are one per episode."""

import numpy as np
import pytest

from mobile_vla.analysis import sample as sampling
from mobile_vla.analysis.sample import BINS, bin_of, count_scripts, take_sample
from mobile_vla.core.errors import UserError
from tests.analysis.conftest import write_store


def make(tmp_path, episodes=3, frames=11, labels=None, vectors=None, **more):
    """Every frame of every episode; by default each vector is (episode, frame)."""
    names = np.repeat([f"e{index}" for index in range(episodes)], frames)
    frame = np.tile(np.arange(frames), episodes)
    if vectors is None:
        vectors = np.stack([np.repeat(np.arange(episodes), frames), frame], axis=1)
    progress = frame / (frames - 1)
    return write_store(tmp_path / "store", {"context": vectors}, names, frame, progress, labels=labels, **more)


def test_one_row_an_episode_and_bin_the_nearest_to_its_middle(tmp_path):
    sample = take_sample(make(tmp_path))
    assert sample.num_episodes == 3
    assert sample.bin.tolist() == list(range(BINS)) * 3
    assert sample.vectors("context")[:, 1].tolist() == [0, 2, 5, 7, 10] * 3  # of .2 and .3, equally near, the first
    assert sample.episode.tolist() == np.repeat([0, 1, 2], BINS).tolist()
    np.testing.assert_allclose(sample.progress, [0, 0.2, 0.5, 0.7, 1] * 3)


def test_rows_come_from_anywhere_in_the_store(tmp_path):
    """Order of arrival means nothing: a store of shuffled rows gives the same sample."""
    order = np.random.default_rng(0).permutation(33)
    names, frame = np.repeat(["e0", "e1", "e2"], 11)[order], np.tile(np.arange(11), 3)[order]
    vectors = np.stack([np.repeat(np.arange(3), 11)[order], frame], axis=1)
    store = write_store(tmp_path / "store", {"context": vectors}, names, frame, frame / 10)
    sample = take_sample(store)
    assert sample.vectors("context").tolist() == [[e, f] for e in range(3) for f in (0, 2, 5, 7, 10)]


def test_bins_without_a_row_are_missing_not_filled(tmp_path):
    names, frame = ["a", "a", "b", "b", "b"], [0, 9, 0, 5, 10]
    store = write_store(
        tmp_path / "store", {"context": np.arange(10).reshape(5, 2)}, names, frame, np.array(frame) / 10
    )
    sample = take_sample(store)
    assert (sample.episode.tolist(), sample.bin.tolist()) == ([0, 0, 1, 1, 1], [0, 4, 0, 2, 4])
    np.testing.assert_allclose(sample.means(sample.vectors("context")), [[1, 2], [6, 7]])


def test_only_rows_as_recorded_count(tmp_path):
    variants = ["own", "swap", "donor", "own"]
    store = write_store(
        tmp_path / "s", {"context": np.eye(4)}, ["a", "a", "a", "b"], [0, 0, 0, 0], [0.0] * 4, variant=variants
    )
    assert take_sample(store).rows.tolist() == [0, 3]
    none = write_store(tmp_path / "t", {"context": np.eye(2)}, ["a", "b"], [0, 0], [0.0] * 2, variant="swap")
    with pytest.raises(UserError, match="no row is as recorded"):
        take_sample(none)


def test_copies_of_an_episode_are_dropped_by_name(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((33, 4))
    vectors[22:] = vectors[:11]
    sample = take_sample(make(tmp_path, vectors=vectors))
    assert (sample.episodes, sample.copies, sample.total) == (("e0", "e1"), ("e2",), 3)
    assert sample.episode.max() == 1


def test_labels_are_those_that_are_one_per_episode(tmp_path):
    labels = {
        "scenario": np.repeat(["box", None, "basket"], 11),
        "phase": np.tile(np.arange(11), 3).astype(float),  # changes within an episode
        "boxes": np.repeat([1.0, 2.0, 2.0], 11),
        "session": np.repeat(["monday", "tuesday", "monday"], 11),
        "now_and_then": [None if index % 2 else "yes" for index in range(33)],
        "outline": [[0.0, 1.0]] * 33,
    }
    sample = take_sample(make(tmp_path, labels=labels))
    assert set(sample.labels) == {"scenario", "boxes", "now_and_then"}
    assert sample.labels["scenario"].tolist() == ["box", None, "basket"]
    assert sample.labels["boxes"].tolist() == ["1", "2", "2"]
    assert sample.session[0] == sample.session[2] != sample.session[1]
    assert set(sample.label_notes) == {"scenario", "phase", "session", "outline"}
    assert "2 of 3 episodes" in sample.label_notes["scenario"]
    assert "changes within 3 of the 3 episodes" in sample.label_notes["phase"]
    assert "lists of numbers" in sample.label_notes["outline"]


@pytest.mark.parametrize("frames", [6, 30])
def test_one_stray_value_is_outvoted_and_said(tmp_path, frames):
    """Of 240 rows, in an episode of a few rows too."""
    episodes = 240 // frames
    values = np.repeat(["box", "basket"] * (episodes // 2), frames).astype(object)
    values[frames + 2] = "box"
    sample = take_sample(make(tmp_path, episodes=episodes, frames=frames, labels={"scenario": values}))
    names = [f"e{index}" for index in range(episodes)]
    assert dict(zip(sample.episodes, sample.labels["scenario"], strict=True)) == dict(
        zip(names, ["box", "basket"] * (episodes // 2), strict=True)
    )
    assert f"1 of {frames} rows of episode e1 says 'box'" in sample.label_notes["scenario"]
    assert "the episode's value is 'basket'" in sample.label_notes["scenario"]


def test_a_label_with_one_odd_row_in_every_short_episode_changes_within_them(tmp_path):
    values = np.tile(["open"] * 4 + ["shut"], 20)
    sample = take_sample(make(tmp_path, episodes=20, frames=5, labels={"gripper": values}))
    assert "gripper" not in sample.labels
    assert "changes within 20 of the 20 episodes" in sample.label_notes["gripper"]


def test_an_episode_in_which_a_label_changes_is_unknown_and_named(tmp_path):
    values = np.repeat(["box", "basket"] * 10, 11).astype(object)
    values[:5] = "basket"
    sample = take_sample(make(tmp_path, episodes=20, labels={"scenario": values}))
    assert dict(zip(sample.episodes, sample.labels["scenario"], strict=True))["e0"] is None
    assert sum(value is not None for value in sample.labels["scenario"]) == 19
    assert "changes within 1 episode (e0)" in sample.label_notes["scenario"]


def test_who_was_trained_on_is_known_and_can_be_left_out(tmp_path):
    parts = np.repeat(["train"] * 3 + [None] + ["validation"] * 8, 11)
    sample = take_sample(make(tmp_path, episodes=12, part=parts))
    assert [name for name, was in zip(sample.episodes, sample.trained, strict=True) if was] == ["e0", "e1", "e2"]
    assert sample.num_trained == 3
    left = sample.without_trained()
    assert left is not None
    assert (left.num_episodes, left.num_trained) == (9, 0)
    assert sample.keep(range(10)).without_trained() is None  # e0, e1, e10, e11, e2, ... e7: 7 are left


def test_copies_count_once_whatever_their_instruction_and_labels(tmp_path):
    """The same frames and actions; the one with most rows is kept, and is trained on where one of them is."""
    rng = np.random.default_rng(0)
    names = np.repeat(["a", "b", "c", "d"], [3, 4, 3, 3])
    frame = np.concatenate([np.arange(n) for n in (3, 4, 3, 3)])
    sample = take_sample(
        write_store(
            tmp_path / "store",
            {"context": rng.standard_normal((13, 4))},
            names,
            frame,
            frame / 3,
            instruction=np.where(names == "a", "left", "right").tolist(),
            episode_fingerprint=np.where(names < "c", "same", names).tolist(),
            part=np.where(names == "a", "train", "validation").tolist(),
            labels={"scenario": np.where(names == "a", "box", "basket").tolist()},
        )
    )
    assert (sample.episodes, sample.copies, sample.clusters) == (("b", "c", "d"), ("a",), (("b", "a"),))
    assert sample.trained.tolist() == [True, False, False]
    assert sample.labels["scenario"].tolist() == [None, "basket", "basket"]
    assert "contradict each other on scenario" in sample.label_notes["scenario"]


def test_one_fingerprint_for_all_is_not_that_of_an_episode(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((33, 4))
    assert take_sample(make(tmp_path, vectors=vectors, episode_fingerprint="of the model")).copies == ()


def test_noisy_copies_without_actions_are_found_in_a_store(tmp_path):
    rng = np.random.default_rng(0)
    drives = rng.standard_normal((10, 1, 48)) + 0.3 * np.cumsum(rng.standard_normal((10, 14, 48)), axis=1)
    again = [drives[e // 4, e % 4 : e % 4 + 11] + 0.02 * rng.standard_normal((11, 48)) for e in range(40)]
    sample = take_sample(make(tmp_path, episodes=40, vectors=np.concatenate(again)))
    assert sample.num_episodes == len(sample.clusters) == 10
    assert len(sample.copies) == 30
    assert {len({int(name[1:]) // 4 for name in cluster}) for cluster in sample.clusters} == {1}


def test_of_many_episodes_an_even_sample_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "MOST_EPISODES", 4)
    labels = {"scenario": np.repeat([str(index) for index in range(9)], 11)}
    sample = take_sample(make(tmp_path, episodes=9, labels=labels), most=4)
    assert sample.total == 9
    assert sample.labels["scenario"].tolist() == [name[1:] for name in sample.episodes]
    assert sample.vectors("context")[::BINS, 0].tolist() == [int(name[1:]) for name in sample.episodes]
    assert (sample.episodes[0], sample.episodes[-1], sample.num_episodes) == ("e0", "e8", 4)


def test_keeping_some_episodes_keeps_all_that_is_known_of_them(tmp_path):
    labels = {"scenario": np.repeat(["a", "b", "c"], 11)}
    sample = take_sample(make(tmp_path, labels=labels, instruction=[f"go {i // 11}" for i in range(33)])).keep([2, 0])
    assert (sample.episodes, sample.instruction) == (("e0", "e2"), ("go 0", "go 2"))
    assert sample.labels["scenario"].tolist() == ["a", "c"]
    assert sample.vectors("context")[:, 0].tolist() == [0] * BINS + [2] * BINS


@pytest.mark.parametrize(
    ("texts", "directions", "meaning"),
    [
        (["go", "geh", "ga"], ["left", "left", "right"], ("left", "left", "right")),  # several texts, one meaning
        (["go", "go", "ga"], ["left", "right", "right"], ("go", "go", "ga")),  # the text does not tell it
        (["go", "geh", "ga"], ["left", None, "right"], ("go", "geh", "ga")),
    ],
)
def test_texts_mean_the_direction_where_each_goes_with_one(tmp_path, texts, directions, meaning):
    labels = {"direction": np.repeat(np.array(directions, object), 11)}
    sample = take_sample(make(tmp_path, labels=labels, instruction=np.repeat(texts, 11)))
    assert sample.meaning == meaning


def test_bins_are_centred_on_the_quarters():
    assert bin_of(np.array([0, 0.12, 0.13, 0.5, 0.87, 0.88, 1])).tolist() == [0, 0, 1, 2, 3, 4, 4]


def test_episodes_with_the_same_commands_are_one_script(tmp_path):
    actions = np.repeat(np.array([1.0, 2.0, 1.0]), 11)[:, None, None] * np.ones((33, 2, 2))
    actions[10, 1] = actions[21, 1] = actions[32, 1] = np.nan
    sample = take_sample(make(tmp_path, actions=actions))
    assert count_scripts(sample) == 2
