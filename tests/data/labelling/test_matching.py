"""Which episode and frame a row is about, under every name that a user may write."""

from dataclasses import replace
from pathlib import Path

import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.data.labelling.files import Row
from mobile_vla.data.labelling.matching import match_rows

FILE = Path("labels.csv")


@pytest.fixture
def episodes(make_episode):
    """Two days with a file of the same name, one of which stands again in a folder of its own."""
    ids = ("day1/run", "day2/run", "day2/walk", "walk", "day2/stop")
    return [replace(make_episode(id, 6), path=Path(f"/data/{id}.h5")) for id in ids]


def match(episodes, *rows):
    return match_rows([Row(f"line {i}", values) for i, values in enumerate(rows, start=2)], episodes, FILE)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("day1/run", "day1/run"),
        ("day1/run.h5", "day1/run"),
        ("/data/day2/run.h5", "day2/run"),
        ("stop", "day2/stop"),
        ("stop.h5", "day2/stop"),
        ("walk", "walk"),  # an id comes before a file's name, which day2/walk has too
        ("walk.h5", "walk"),
    ],
)
def test_names_of_an_episode(episodes, name, id):
    assert match(episodes, {"episode": name, "x": "1"}).said == {(id, None): {"x": "1"}}


@pytest.mark.parametrize("name", ["run", "run.h5"])
def test_a_name_of_several_is_refused_with_their_ids(episodes, name):
    with pytest.raises(UserError, match=f"line 2: several episodes are called '{name}': day1/run, day2/run; write"):
        match(episodes, {"episode": name})


def test_names_that_nobody_has_are_kept(episodes):
    found = match(episodes, {"episode": "gone"}, {"episode": "walk", "x": "1"}, {"episode": "Walk"})
    assert found.unknown == ["gone", "Walk"]
    assert list(found.said) == [("walk", None)]


@pytest.mark.parametrize(("text", "frame"), [("0", 0), ("5", 5), ("05", 5), ("3.0", 3)])
def test_frames_count_from_zero(episodes, text, frame):
    assert list(match(episodes, {"episode": "walk", "frame": text}).said) == [("walk", frame)]


@pytest.mark.parametrize("text", ["6", "-1", "2.5", "first", "1e0"])
def test_a_frame_that_is_none_of_the_episodes(episodes, text):
    with pytest.raises(UserError, match=f"line 2: frame '{text}' of walk is not one of 0 to 5"):
        match(episodes, {"episode": "walk", "frame": text, "x": "1"})


def test_rows_under_two_names_are_of_one_episode(episodes):
    found = match(episodes, {"episode": "stop", "x": "1"}, {"episode": "day2/stop", "x": "1", "y": "2"})
    assert found.said == {("day2/stop", None): {"x": "1", "y": "2"}}
    assert found.duplicates == ["day2/stop"]


def test_an_episode_and_its_frames_are_different_places(episodes):
    rows = [{"episode": "walk", "x": "1"}, {"episode": "walk", "x": "2", "frame": "0"}]
    rows.append({**rows[1], "frame": "1", "x": "3"})
    assert match(episodes, *rows).duplicates == []
    assert match(episodes, *rows, rows[2]).duplicates == ["walk frame 1"]


def test_rows_that_disagree_are_refused_by_place(episodes):
    with pytest.raises(UserError, match="line 2 and line 4 contradict each other about walk: x is '1' and '2'; remove"):
        match(episodes, {"episode": "walk", "x": "1"}, {"episode": "stop"}, {"episode": "walk.h5", "x": "2"})


def test_a_list_needs_a_frame(episodes):
    with pytest.raises(UserError, match="line 2: the list 'box' needs a frame"):
        match(episodes, {"episode": "walk", "box": (0.0, 1.0)})


def test_an_instruction_has_no_frame(episodes):
    with pytest.raises(UserError, match="line 2: an instruction belongs to a whole episode"):
        match(episodes, {"episode": "walk", "frame": "1", "instruction": "go"})
