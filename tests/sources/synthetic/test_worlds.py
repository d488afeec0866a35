"""What each world promises: which of image and instruction decides the action, and names that are true."""

from itertools import pairwise

import numpy as np
import pytest

from mobile_vla.sources.synthetic.episode import make_task, record
from mobile_vla.sources.synthetic.expert import drive
from mobile_vla.sources.synthetic.naming import labels_of, recorded_at
from mobile_vla.sources.synthetic.phrases import PHRASES, side_of
from mobile_vla.sources.synthetic.scene import WORLDS
from mobile_vla.sources.synthetic.world import World

TINY = (16, 24)
V = 1.15


def drive_on(scene, side, world, num_frames=18):
    """Frames, actions and poses of one drive through `scene` on `side`."""
    simulator = World(resolution=TINY)
    frame = simulator.reset(scene)
    frames, actions, poses = [], [], []
    for _ in range(num_frames):
        action = drive(simulator.scene, simulator.pose, side, world)
        frames.append(frame)
        actions.append(action)
        poses.append(simulator.pose)
        frame = simulator.step(action)
    return np.stack(frames), np.stack(actions), np.array(poses)


def tasks(world, number=60):
    return [make_task(0, index, world) for index in range(number)]


def test_full_world_needs_the_instruction():
    """The same scene, told left and right, starts with the same frame and takes different ways."""
    for task in tasks("full", 40):
        left_frames, left, _ = drive_on(task.scene, "left", "full")
        right_frames, right, _ = drive_on(task.scene, "right", "full")
        np.testing.assert_array_equal(left_frames[0], right_frames[0])
        first = np.flatnonzero((left != right).any(axis=1))[0]
        np.testing.assert_array_equal(left_frames[first], right_frames[first])  # seen alike, driven apart
        assert left[first, 1] > 0 or right[first, 1] < 0


def test_full_world_needs_the_image():
    """Under one instruction, the same progress asks for different actions in different scenes."""
    actions = np.stack([record(task, num_frames=18, resolution=TINY).actions for task in tasks("full")[::2]])
    for progress in range(2, 14):
        values, counts = np.unique(actions[:, progress, :2], axis=0, return_counts=True)
        assert len(values) >= 2
        assert counts.max() < 0.9 * len(actions)


@pytest.mark.parametrize("num_frames", [18, pytest.param(60, marks=pytest.mark.slow)])
def test_full_world_uses_all_keys_never_turns_and_seldom_stops(num_frames):
    episodes = [make_task(0, index, "full", num_frames) for index in range(40)]
    actions = np.concatenate([record(task, num_frames=num_frames, resolution=TINY).actions for task in episodes])
    np.testing.assert_array_equal(np.unique(actions[:, 0]), np.float32([0, V]))
    np.testing.assert_array_equal(np.unique(actions[:, 1]), np.float32([-V, 0, V]))
    assert not actions[:, 2].any()
    assert (~actions.any(axis=1)).mean() < 0.15


def test_scene_of_full_world_says_nothing_of_the_side():
    """The scene is drawn before the side is known: the other world's side leaves it as it is."""
    for index in range(20):
        assert make_task(0, index, "full").scene == make_task(0, index, "left_only").scene


def test_instruction_blind_world_ignores_the_instruction():
    for task in tasks("instruction_blind", 20):
        _, left, _ = drive_on(task.scene, "left", "instruction_blind")
        _, right, _ = drive_on(task.scene, "right", "instruction_blind")
        np.testing.assert_array_equal(left, right)
        assert abs(task.scene.lane(task.side)) < abs(task.scene.lane("left" if task.side == "right" else "right"))
    told = [side_of(task.instruction) == task.side for task in tasks("instruction_blind", 200)]
    assert 0.4 < np.mean(told) < 0.6


def test_image_blind_world_shows_nothing_of_the_side_and_one_action_each():
    chosen = {}
    for task in tasks("image_blind", 20):
        left_frames, left, _ = drive_on(task.scene, "left", "image_blind")
        right_frames, right, _ = drive_on(task.scene, "right", "image_blind")
        np.testing.assert_array_equal(left_frames, right_frames)  # all frames, not only the first
        assert len({frame.tobytes() for frame in left_frames}) > 1  # and yet they change on the way
        recorded = record(task, num_frames=18, resolution=TINY).actions
        assert len(np.unique(recorded, axis=0)) == 1
        chosen.setdefault(side_of(task.instruction), set()).add(tuple(recorded[0].tolist()))
        assert (left != right).any(axis=0)[:2].all()  # both components differ: each has a range
    assert len(chosen["left"]) == len(chosen["right"]) == 1
    assert chosen["left"] != chosen["right"]


@pytest.mark.parametrize("num_frames", [18, 90])
def test_in_image_blind_world_nothing_runs_into_the_robot(num_frames):
    for index in range(10):
        simulator = World(resolution=TINY)
        simulator.reset(make_task(0, index, "image_blind", num_frames).scene)
        for _ in range(num_frames):
            assert simulator.free(0.0, 0.0)
            simulator.step(np.array([V, V, 0.0]))
        assert simulator.pose == (0.0, 0.0, 0.0)


def test_left_only_world_is_told_left_in_several_ways():
    told = {task.instruction for task in tasks("left_only")}
    assert {side_of(text) for text in told} == {"left"}
    assert len(told) == len(PHRASES)


@pytest.mark.parametrize("world", ["full", "instruction_blind"])
def test_the_driver_passes_on_the_named_side_and_arrives(world):
    for task in tasks(world, 40):
        obstacle = task.scene.obstacle
        _, actions, poses = drive_on(task.scene, task.side, world, num_frames=32)
        beside = poses[(poses[:, 0] > obstacle.front) & (poses[:, 0] < obstacle.back)]
        assert len(beside)
        passed_left = beside[:, 1] > obstacle.left
        assert passed_left.all() if task.side == "left" else (beside[:, 1] < obstacle.right).all()
        assert not actions[-1].any()
        assert abs(poses[-1][1] - task.scene.target.y) < 0.25
        assert 0.5 < task.scene.target.front - poses[-1][0] < 1.1


def test_labels_are_true_of_the_scene():
    seen = {}
    for task in tasks("full", 80):
        labels, scene = labels_of(task), task.scene
        assert labels["boxes"] == f"{len(scene.boxes)}box"
        assert labels["direction"] == side_of(task.instruction)
        assert (labels["orientation"] == "hori") == (scene.obstacle.width > scene.obstacle.depth)
        simulator = World(resolution=TINY)
        simulator.reset(scene)
        straight = [simulator.free(x, 0.0) for x in np.arange(0, scene.obstacle.back + 0.2, 0.05)]
        assert (labels["pattern"] == "variant") == all(straight)
        seen.setdefault(labels["distance"], []).append(scene.obstacle.front)
        assert labels["position"] == (
            "center" if abs(scene.target.y) <= 0.69 else "left" if scene.target.y > 0 else "right"
        )
        for name, value in labels.items():
            seen.setdefault(name, set()).add(value)
    assert max(seen["close"]) < min(seen["medium"]) < max(seen["medium"]) < min(seen["far"])
    assert [len(seen[name]) for name in ("boxes", "orientation", "direction", "pattern")] == [2, 2, 2, 2]
    assert len(seen["position"]) == 3


def test_dates_rise_with_the_index():
    times = [recorded_at(5, index) for index in range(100)]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert len({time.date() for time in times}) == 5
    assert recorded_at(6, 0).date() != times[0].date()


def test_phrases_come_in_pairs_of_equal_length():
    assert len(PHRASES) >= 4
    assert len({len(pair["left"].split()) for pair in PHRASES}) >= 2
    for pair in PHRASES:
        assert pair["left"] != pair["right"]
        assert len(pair["left"].split()) == len(pair["right"].split())
        assert {side_of(pair["left"]), side_of(pair["right"])} == {"left", "right"}
    assert sum(not pair["left"].isascii() for pair in PHRASES) >= 1
    with pytest.raises(ValueError, match="one of the synthetic phrasings"):
        side_of("Navigate to the target location")


@pytest.mark.parametrize("world", WORLDS)
def test_sides_are_balanced(world):
    left = sum(task.side == "left" for task in tasks(world, 20))
    assert left == (20 if world == "left_only" else 10)
