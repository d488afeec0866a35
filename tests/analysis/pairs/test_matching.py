"""Two stores are compared over the rows that both hold, whatever their order, and nothing passes for the same row."""

import numpy as np
import pytest

from mobile_vla.analysis.pairs.matching import Matching, match_stores
from tests.analysis.conftest import write_store

EPISODES, FRAMES = 12, 9
NAMES = [f"day/{e:02d}" for e in range(EPISODES) for _ in range(FRAMES)]
PLACES = list(range(FRAMES)) * EPISODES
PROGRESS = [frame / (FRAMES - 1) for frame in PLACES]
ACTIONS = np.random.default_rng(0).normal(size=(EPISODES * FRAMES, 3, 2))
VECTORS = np.random.default_rng(1).normal(size=(EPISODES * FRAMES, 6)).astype(np.float32)
COUNT = EPISODES * FRAMES


@pytest.fixture
def make(tmp_path):
    def write(name, rows=None, *, vectors=VECTORS, actions=ACTIONS, progress=PROGRESS, **more):
        rows = np.arange(COUNT) if rows is None else np.asarray(rows)
        more = {key: [value[i] for i in rows] if isinstance(value, list) else value for key, value in more.items()}
        return write_store(
            tmp_path / name,
            {"context": vectors[rows]},
            [NAMES[i] for i in rows],
            [PLACES[i] for i in rows],
            [progress[i] for i in rows],
            actions=None if actions is None else actions[rows],
            **more,
        )

    return write


def test_rows_are_the_same_ones_in_the_same_order_one_an_episode_and_bin(make):
    order = np.random.default_rng(2).permutation(COUNT)
    found = match_stores(make("a"), make("b", order))
    assert isinstance(found, Matching)
    np.testing.assert_array_equal(found.left.vectors("context"), found.right.vectors("context"))
    assert found.left.episodes == found.right.episodes == tuple(sorted(set(NAMES)))
    assert found.left.store.column("frame")[found.left.rows].tolist() == [0, 2, 4, 6, 8] * EPISODES
    np.testing.assert_array_equal(found.right.episode, np.repeat(np.arange(EPISODES), 5))
    assert "108 of 108 rows of A and of 108 of B matched by episode, frame and instruction" in found.sentence
    assert not found.misaligned


def test_only_shared_frames_are_chosen_from(make):
    """The right store lacks the frames in the middle of bins: those next to them are taken, if they are of the bin."""
    rows = [i for i in range(COUNT) if PLACES[i] not in (2, 4)]
    found = match_stores(make("a"), make("b", rows))
    assert found.left.store.column("frame")[found.left.rows].tolist() == [0, 3, 6, 8] * EPISODES  # none at 25 %
    np.testing.assert_array_equal(found.left.vectors("context"), found.right.vectors("context"))
    assert (found.rows, found.of_left, found.of_right) == (84, 108, 84)


def test_the_same_name_is_not_yet_the_same_row(make):
    prints = [f"f{name}" for name in NAMES]
    other = [("new" if name == "day/03" else f"f{name}") for name in NAMES]
    actions = ACTIONS.copy()
    actions[10] += 0.5  # of day/01
    progress = list(PROGRESS)
    progress[20] += 0.1  # of day/02
    left = make("a", episode_fingerprint=prints)
    found = match_stores(left, make("b", actions=actions, progress=progress, episode_fingerprint=other))
    assert found.misaligned == {
        "of another recording": 9,
        "with another true action": 1,
        "at another progress": 1,
    }
    assert found.rows == COUNT - 11
    assert "11 of the same name left out as misaligned: 9 of another recording" in found.sentence
    assert "day/03" not in found.left.episodes
    texts = ["stop" if name == "day/05" else "go" for name in NAMES]
    assert match_stores(left, make("c", instruction=texts)).misaligned == {"with another instruction": 9}


def test_first_frames_that_agree_do_not_make_another_recording_the_same_episode(make):
    actions = ACTIONS.copy()
    other = [i for i in range(COUNT) if PLACES[i] > 0 and NAMES[i] < "day/04"]
    actions[other] += 0.5
    found = match_stores(make("a"), make("b", actions=actions))
    assert found.misaligned == {"with another true action": 32, "of an episode whose other rows are not the same": 4}
    assert found.left.num_episodes == EPISODES - 4
    everywhere = ACTIONS.copy()
    everywhere[np.array(PLACES) > 0] += 0.5
    why = match_stores(make("c"), make("d", actions=everywhere))
    assert "most episodes of the same name are not the same ones" in why


def test_labels_on_which_the_two_contradict_each_other_are_counted(make):
    labels = {"scenario": ["box"] * COUNT, "boxes": [1.0] * COUNT}
    other = ["basket" if name == "day/03" else None if name == "day/04" else "box" for name in NAMES]
    found = match_stores(make("a", labels=labels), make("b", labels={**labels, "scenario": other}))
    assert found.contradicted == {"scenario": 1}
    assert "contradict each other on scenario in 1 episode" in found.sentence


def test_what_rounding_or_a_shorter_chunk_changes_is_the_same_row(make):
    actions = ACTIONS.round(4)[:, :2].copy()
    actions[5] = np.nan
    found = match_stores(make("a"), make("b", actions=actions, progress=[round(value, 3) for value in PROGRESS]))
    assert found.rows == COUNT
    assert match_stores(make("c"), make("d", actions=None)).rows == COUNT
    assert match_stores(make("e"), make("f", actions=ACTIONS + 1, components=("linear_x", "angular_z"))).rows == COUNT


def test_without_a_common_instruction_episode_and_frame_decide_and_it_is_said(make):
    found = match_stores(make("a"), make("b", instruction=""))
    assert found.rows == COUNT
    assert "matched by episode and frame, as their instructions all differ" in found.sentence


def test_variants_are_no_rows_as_recorded(make):
    variants = ["own" if i % 2 else "swap" for i in range(COUNT)]
    assert match_stores(make("a"), make("b", variant=variants)).rows == COUNT // 2


def test_exact_copies_in_either_store_are_left_out_of_both(make):
    vectors = VECTORS.copy()
    vectors[9:18] = vectors[:9]
    found = match_stores(make("a"), make("b", vectors=vectors))
    assert "day/01" not in found.left.episodes
    assert found.left.episodes == found.right.episodes
    assert "1 episode left out as copies" in found.sentence


def test_a_sample_of_many_is_even(make):
    found = match_stores(make("a"), make("b"), most=9)
    assert found.left.num_episodes == 9
    assert (found.left.episodes[0], found.left.episodes[-1]) == ("day/00", "day/11")
    assert found.episodes == EPISODES


def test_too_little_in_common_says_why(make):
    left = make("a")
    assert "at least 8 episodes must be in both" in match_stores(left, make("b", range(7 * FRAMES)))
    assert "no tap 'pixels' in" in match_stores(left, left, "pixels")
    assert "no episode and frame is in both stores" in match_stores(make("c", range(9)), make("d", range(50, 60)))
