"""The simulator: holds the robot in a scene, moves it by one action a step, and draws what it sees.

In: a scene (or a seed that gives one), then actions. Out: frames. An omniwheel robot moves sideways without turning;
walls, boxes, rails and the target stop it, and along an obstacle it slides.
"""

import math

import numpy as np

from mobile_vla.sources.synthetic.camera import Camera, add_noise
from mobile_vla.sources.synthetic.scene import ROBOT_HALF_M, STEP_S, Scene, WorldName, sample_scene

NUM_SUBSTEPS = 8  # of one step; contact is found to 6 cm


class World:
    """A robot in a hall.

    resolution  (height, width) of the frames in pixels
    noise       standard deviation of the camera's noise, grey levels
    world       which world a seed's scene is sampled from

    `pose` is (x [m], y [m], yaw [rad]), `scene` is the scene as it is now, `blocked` tells whether something stopped
    the robot in the last step.
    """

    def __init__(self, *, resolution: tuple[int, int] = (720, 1280), noise: float = 0.0, world: WorldName = "full"):
        self.camera = Camera(resolution)
        self.noise = noise
        self.world: WorldName = world
        self.pose = (0.0, 0.0, 0.0)
        self.blocked = False

    def reset(self, scene: Scene | int) -> np.ndarray:
        """Put the robot at the start of a scene, or of the scene of a seed; returns the first frame."""
        self.place(scene)
        return self._look()

    def place(self, scene: Scene | int) -> None:
        """`reset` without a look."""
        self.scene = scene if isinstance(scene, Scene) else sample_scene(np.random.default_rng(scene), self.world)
        self.pose = (0.0, 0.0, 0.0)
        self.blocked = False
        self._noise = np.random.default_rng(self.scene.noise_seed)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Hold one command for 0.4 s; returns the next frame, (height, width, 3) uint8.

        action  (3,) forward [m/s], left [m/s], counter-clockwise [rad/s], in the robot's own frame
        """
        self.move(action)
        return self._look()

    def move(self, action: np.ndarray) -> None:
        """`step` without a look."""
        forward, left, turn = (float(value) * STEP_S / NUM_SUBSTEPS for value in action)
        self.blocked = False
        for _ in range(NUM_SUBSTEPS):
            x, y, yaw = self.pose
            dx = math.cos(yaw) * forward - math.sin(yaw) * left
            dy = math.sin(yaw) * forward + math.cos(yaw) * left
            x = self._move(x, dx, lambda there, y=y: (there, y))
            y = self._move(y, dy, lambda there, x=x: (x, there))
            self.pose = (x, y, yaw + turn)
        self.scene = self.scene.rolled()

    def _move(self, here: float, by: float, place) -> float:
        if by and not self.free(*place(here + by)):
            self.blocked = True
            return here
        return here + by

    def free(self, x: float, y: float) -> bool:
        """Whether the robot's square fits there: inside the walls and outside everything solid."""
        reach = ROBOT_HALF_M
        (back, front), (right, left) = self.scene.hall_x, self.scene.hall_y
        if not (back + reach <= x <= front - reach and right + reach <= y <= left - reach):
            return False
        return not any(
            box.front - reach < x < box.back + reach and box.right - reach < y < box.left + reach
            for box in self.scene.solids
        )

    def _look(self) -> np.ndarray:
        frame = self.camera.draw(self.scene, self.pose)
        return add_noise(frame, self._noise, self.noise) if self.noise else frame
