"""The simulator by itself: it moves as told, stops at what is solid, and draws what is there."""

import math
import time

import numpy as np
import pytest

from mobile_vla.sources.synthetic.camera import Camera
from mobile_vla.sources.synthetic.episode import make_task, record
from mobile_vla.sources.synthetic.scene import ROBOT_HALF_M, STEP_M, Box, Scene, sample_scene
from mobile_vla.sources.synthetic.world import World

RESOLUTION = (90, 160)


def is_red(frame):
    red, green, blue = np.moveaxis(frame.astype(int), -1, 0)
    return (red > 210) & (green < 60) & (blue < 80)  # not the carpet, which is darker


def is_blue(frame):
    red, _, blue = np.moveaxis(frame.astype(int), -1, 0)
    return blue > 2 * red


def bare_hall(**changes):
    far = Box(x=50.0, y=0.0, depth=0.3, width=0.8, height=2.4, colour=(230, 25, 40))
    block = Box(x=4.0, y=0.0, depth=0.5, width=1.0, height=0.7, colour=(35, 75, 190))
    settings = {"boxes": (block,), "target": far, "hall_x": (-1.5, 60.0), "hall_y": (-3.0, 3.0)}
    return Scene(**(settings | changes))


@pytest.mark.parametrize("world", ["full", "image_blind"])
def test_replaying_the_actions_gives_the_recorded_frames(world):
    for index in range(3):
        task = make_task(1, index, world)
        recording = record(task, num_frames=18, resolution=RESOLUTION, noise=3.0)
        simulator = World(resolution=RESOLUTION, noise=3.0)
        frame = simulator.reset(task.scene)
        for i, action in enumerate(recording.actions):
            np.testing.assert_array_equal(frame, recording.frames[i])
            assert simulator.pose == pytest.approx(tuple(recording.poses[i]))
            frame = simulator.step(action)


def test_reset_with_a_seed_is_the_scene_of_that_seed():
    simulator = World(resolution=RESOLUTION)
    first = simulator.reset(3)
    simulator.step(np.array([1.15, 1.15, 0.0]))
    np.testing.assert_array_equal(simulator.reset(3), first)
    np.testing.assert_array_equal(simulator.reset(sample_scene(np.random.default_rng(3))), first)
    assert not np.array_equal(simulator.reset(4), first)


def test_moves_in_its_own_frame():
    simulator = World(resolution=(16, 16))
    simulator.reset(bare_hall())
    simulator.step(np.array([1.15, -1.15, 0.0]))
    assert simulator.pose == pytest.approx((STEP_M, -STEP_M, 0.0))
    simulator.step(np.array([0.0, 0.0, math.pi / 2 / 0.4]))
    simulator.step(np.array([1.15, 0.0, 0.0]))
    assert simulator.pose == pytest.approx((STEP_M, 0.0, math.pi / 2))


def test_never_enters_a_box_or_leaves_the_hall():
    rng = np.random.default_rng(0)
    simulator = World(resolution=(16, 16))
    blocked = 0
    for seed in range(15):
        simulator.reset(seed)
        scene = simulator.scene
        for _ in range(60):
            simulator.step(np.append([rng.choice([-1.15, 1.15, 1.15]), rng.choice([-1.15, 0.0, 1.15])], rng.normal()))
            x, y, _ = simulator.pose
            blocked += simulator.blocked
            for box in scene.solids:
                apart_x = max(box.front - x, x - box.back)
                apart_y = max(box.right - y, y - box.left)
                assert max(apart_x, apart_y) >= ROBOT_HALF_M - 1e-9
            assert scene.hall_x[0] + ROBOT_HALF_M <= x <= scene.hall_x[1] - ROBOT_HALF_M
            assert scene.hall_y[0] + ROBOT_HALF_M <= y <= scene.hall_y[1] - ROBOT_HALF_M
    assert blocked > 20


def test_a_wall_stops_the_robot_near_to_contact():
    simulator = World(resolution=(16, 16))
    simulator.reset(bare_hall())
    for _ in range(10):
        simulator.step(np.array([0.0, 1.15, 0.0]))
    assert 0 <= 3.0 - ROBOT_HALF_M - simulator.pose[1] < 0.06
    assert simulator.blocked


def test_target_is_seen_from_start_to_end():
    for index in range(12):
        recording = record(make_task(2, index), num_frames=18, resolution=RESOLUTION)
        seen = np.array([is_red(frame).mean() for frame in recording.frames])
        assert seen.min() > 0.002
        assert seen[-1] > 3 * seen[0]


def test_boxes_are_seen_at_the_start_on_the_side_where_they_are():
    for index in range(12):
        task = make_task(2, index)
        frame = World(resolution=RESOLUTION).reset(task.scene)
        columns = np.flatnonzero(is_blue(frame).any(axis=0))
        middle = (columns.min() + columns.max()) / 2 / frame.shape[1]
        if abs(task.scene.obstacle.y) > 0.3:
            assert (middle < 0.5) == (task.scene.obstacle.y > 0)  # left is +y, and the left half of the image


def test_perspective_is_a_pinhole():
    """The front of a box appears where the formula of a pinhole camera says, to a pixel."""
    scene = bare_hall()
    frame = Camera((720, 1280)).draw(scene, (0.0, 0.0, 0.0))
    front = np.abs(frame.astype(int) - (35, 75, 190)).max(axis=-1) == 0
    rows, columns = np.nonzero(front)
    focal, pitch = 640 / math.tan(math.radians(50)), math.radians(12)
    ahead, up = 3.75 + 0.35, -1.1
    depth = ahead * math.cos(pitch) - up * math.sin(pitch)
    bottom = 360 - focal * (ahead * math.sin(pitch) + up * math.cos(pitch)) / depth
    assert rows.max() == pytest.approx(bottom, abs=1.5)
    at_bottom = columns[rows == rows.max() - 1]
    assert at_bottom.min() == pytest.approx(640 - focal * 0.5 / depth, abs=1.5)
    assert at_bottom.max() == pytest.approx(640 + focal * 0.5 / depth, abs=1.5)


def test_turning_left_moves_the_view_right():
    camera = Camera(RESOLUTION)
    ahead, turned = (is_blue(camera.draw(bare_hall(), (0.0, 0.0, yaw))) for yaw in (0.0, 0.3))
    assert np.nonzero(turned)[1].mean() > np.nonzero(ahead)[1].mean() + 10


def test_floor_shows_motion():
    camera = Camera(RESOLUTION)
    here, there = (camera.draw(bare_hall(), (x, 0.0, 0.0)).astype(int) for x in (0.0, STEP_M))
    floor = slice(2 * RESOLUTION[0] // 3, None)
    assert (np.abs(here - there)[floor].max(axis=-1) > 10).mean() > 0.2


def test_noise_has_the_given_spread_and_repeats():
    plain, noisy = World(resolution=RESOLUTION), World(resolution=RESOLUTION, noise=5.0)
    clean, first, second = plain.reset(0), noisy.reset(0), noisy.step(np.zeros(3))
    inside = (clean > 30) & (clean < 225)
    assert np.std((first.astype(int) - clean)[inside]) == pytest.approx(5.0, rel=0.05)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(noisy.reset(0), first)


def test_drawing_a_full_size_frame_is_fast():
    camera, scene = Camera((720, 1280)), sample_scene(np.random.default_rng(0))
    spent = []
    for _ in range(5):
        start = time.process_time()
        camera.draw(scene, (0.0, 0.0, 0.0))
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05  # about 5 ms; the margin is for busy machines
