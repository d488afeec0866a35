"""The driver who recorded the episodes: from what the robot faces, and the side it was told, to the keys held down.

Closed loop: an action is a function of the scene, the pose and the side alone, so it can be asked anywhere on the way,
also where a policy has gone astray. Up to the box, sidestep to the lane of the given side, past the box, across to
the target's line (the last step of it while driving on), up to the target, stop.
"""

import numpy as np

from mobile_vla.sources.synthetic.scene import (
    PAST_M,
    SPEED_M_S,
    START_GAP_M,
    STEP_M,
    STOP_M,
    Scene,
    Side,
    WorldName,
)

HALF_STEP_M = STEP_M / 2
NEAR_LINE_M = 1.5 * STEP_M  # this near to the target's line the robot drives on while it crosses


def drive(scene: Scene, pose: tuple[float, float, float], side: Side, world: WorldName = "full") -> np.ndarray:
    """The keys as velocities, (3,) float32: forward and left in m/s (-1.15, 0 or 1.15), turning in rad/s (always 0).

    In `instruction_blind` the side is the scene's shorter one, whatever is given; in `image_blind` the action is the
    side's and nothing else counts. There the two differ in both components, so that both can be normalised.
    """
    if world == "image_blind":
        forward, left = (1, 1) if side == "left" else (0, -1)
    else:
        forward, left = _keys(scene, pose, scene.shorter_side if world == "instruction_blind" else side)
    return np.array([forward * SPEED_M_S, left * SPEED_M_S, 0.0], dtype=np.float32)


def _keys(scene: Scene, pose: tuple[float, float, float], side: Side) -> tuple[int, int]:
    """(forward, left), each -1, 0 or 1. Thresholds lie half a step from the lattice on which scenes are laid."""
    x, y, _ = pose
    obstacle, target = scene.obstacle, scene.target
    if x < obstacle.back + PAST_M - HALF_STEP_M:
        if obstacle.front - x > START_GAP_M + HALF_STEP_M:
            return 1, 0
        missing = scene.lane(side) - y
        if side == "left" and missing > HALF_STEP_M:
            return 0, 1
        if side == "right" and missing < -HALF_STEP_M:
            return 0, -1
        return 1, 0
    missing = target.y - y
    left = int(np.sign(missing)) if abs(missing) > HALF_STEP_M else 0
    near = abs(missing) < NEAR_LINE_M
    return int(near and target.front - STOP_M - x > HALF_STEP_M), left
