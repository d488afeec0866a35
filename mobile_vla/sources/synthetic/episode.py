"""One episode: what the robot is asked to do, and the recording of the driver doing it.

Episode i is a pure function of (seed, i, world, number of frames): no other episode, process or date counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mobile_vla.sources.synthetic.camera import Camera, add_noise
from mobile_vla.sources.synthetic.expert import drive
from mobile_vla.sources.synthetic.phrases import phrase
from mobile_vla.sources.synthetic.scene import REFERENCE_FRAMES, Scene, Side, WorldName, sample_scene
from mobile_vla.sources.synthetic.world import World

SIDES: tuple[Side, Side] = ("left", "right")
SCENE, TEXT, CLOCK = range(3)  # independent random streams of one episode


@dataclass(frozen=True, kw_only=True)
class Task:
    """A scene, the side on which its boxes are passed, and the instruction (which names it, save where blind)."""

    scene: Scene
    side: Side
    instruction: str
    world: WorldName


@dataclass(frozen=True, kw_only=True)
class Recording:
    """frames (N, height, width, 3) uint8; actions (N, 3) float32 in m/s and rad/s; poses (N, 3) in m and rad.

    Action i is what was commanded on seeing frame i, at poses[i].
    """

    task: Task
    frames: np.ndarray
    actions: np.ndarray
    poses: np.ndarray


def stream(seed: int, index: int, which: int) -> np.random.Generator:
    """The random generator of one of the streams of episode `index`."""
    return np.random.default_rng([seed, index, which])


def make_task(seed: int, index: int, world: WorldName = "full", num_frames: int = REFERENCE_FRAMES) -> Task:
    """The task of episode `index`; sides alternate, except in `left_only`.

    The scene is drawn without a look at the side, save in `instruction_blind`, where the scene decides the side (the
    shorter way round) and scenes are drawn until it is the wanted one; there the instruction is drawn by itself.
    """
    side: Side = "left" if world == "left_only" else SIDES[(index + seed) % 2]
    scenes, texts = stream(seed, index, SCENE), stream(seed, index, TEXT)
    scene = sample_scene(scenes, world, num_frames)
    told = side
    if world == "instruction_blind":
        while scene.shorter_side != side or _nearly_equal(scene):
            scene = sample_scene(scenes, world, num_frames)
        told = SIDES[int(texts.integers(2))]
    return Task(scene=scene, side=side, instruction=phrase(told, texts), world=world)


def _nearly_equal(scene: Scene) -> bool:
    """Whether both ways round are equally long within half a step, so that the eye could not tell."""
    return abs(abs(scene.lane("left")) - abs(scene.lane("right"))) < 0.3


@dataclass(frozen=True, kw_only=True)
class Drive:
    """A task driven, not yet filmed: scenes (N) and poses (N, 3) as each frame shows them, and the actions (N, 3)."""

    task: Task
    scenes: tuple[Scene, ...]
    actions: np.ndarray
    poses: np.ndarray


def drive_task(task: Task, num_frames: int) -> Drive:
    """`num_frames` frames' worth, each with the action that is taken on seeing it."""
    world = World(world=task.world)
    world.place(task.scene)
    scenes: list[Scene] = []
    actions, poses = np.empty((num_frames, 3), dtype=np.float32), np.empty((num_frames, 3))
    for i in range(num_frames):
        scenes.append(world.scene)
        poses[i] = world.pose
        actions[i] = drive(world.scene, world.pose, task.side, task.world)
        if i + 1 < num_frames:
            world.move(actions[i])
    return Drive(task=task, scenes=tuple(scenes), actions=actions, poses=poses)


def film(
    driven: Drive, low: int, high: int, *, resolution: tuple[int, int], noise: float = 0.0
) -> Iterator[np.ndarray]:
    """Frames low ... high - 1, each (height, width, 3) uint8; the noise of a frame is the same whatever is filmed."""
    camera, rng = Camera(resolution), np.random.default_rng(driven.task.scene.noise_seed)
    for i in range(high):
        if i < low:
            if noise:  # of the frames before
                rng.standard_normal((*resolution, 3), dtype=np.float32)
            continue
        x, y, yaw = driven.poses[i]
        frame = camera.draw(driven.scenes[i], (float(x), float(y), float(yaw)))
        yield add_noise(frame, rng, noise) if noise else frame


def record(task: Task, *, num_frames: int, resolution: tuple[int, int], noise: float = 0.0) -> Recording:
    """Drive the task, and film all of it."""
    driven = drive_task(task, num_frames)
    frames = np.empty((num_frames, *resolution, 3), dtype=np.uint8)
    for i, frame in enumerate(film(driven, 0, num_frames, resolution=resolution, noise=noise)):
        frames[i] = frame
    return Recording(task=task, frames=frames, actions=driven.actions, poses=driven.poses)
