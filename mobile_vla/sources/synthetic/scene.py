"""What stands in the hall: boxes, the target, walls; and how a scene is drawn at random.

Metres throughout: x forward, y left, z up; the robot starts at (0, 0) and looks along +x. Distances are laid on the
lattice of the robot's steps (0.46 m), so that every decision of the driver has a margin of about half a step and can
be seen in the frame. In: a random generator. Out: a `Scene`. A scene knows nothing of the instruction.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

Colour = tuple[int, int, int]  # RGB in grey levels
Rectangle = tuple[float, float, float, float]  # on the floor: back and front in x, right and left in y, metres
WorldName = Literal["full", "instruction_blind", "image_blind", "left_only"]
Side = Literal["left", "right"]
WORLDS: tuple[WorldName, ...] = get_args(WorldName)

SPEED_M_S = 1.15  # one key held down
STEP_S = 0.4  # how long one command is held
STEP_M = SPEED_M_S * STEP_S
ROBOT_HALF_M = 0.2  # the robot fills a square of 0.4 m
CLEARANCE_M = 0.73  # from the robot's centre to the side of a box that it passes
START_GAP_M = 0.6  # from the robot's centre to the front of the box, where the sidestep happens
PAST_M = 0.33  # the robot's centre beyond the back of the box, where it may turn to the target's line
STOP_M = 0.8  # from the robot's centre to the target, where the way ends
REFERENCE_FRAMES = 18  # the distances below fit into so many frames; longer episodes get a longer hall
BESIDE_STEPS = 10  # spent on sidesteps and beside the box, whatever the hall's length
APPROACH_STEPS = (2, 4, 6)  # to the place of the sidestep; steps of two tell apart well from afar
FINAL_STEPS = 4  # from beside the box to the target; the same in every scene, so the target's size tells the phase

WIDTH_STEPS = {(1, "hori"): 6, (1, "vert"): 6, (2, "hori"): 8, (2, "vert"): 6}  # from one passing lane to the other
DEPTH_STEPS = {(1, "hori"): 3, (1, "vert"): 5, (2, "hori"): 3, (2, "vert"): 5}  # from the sidestep to past the box


@dataclass(frozen=True, kw_only=True)
class Box:
    """An upright block: its footprint's centre and sizes in metres, its colour as RGB in grey levels."""

    x: float
    y: float
    depth: float  # along x
    width: float  # along y
    height: float
    colour: Colour

    @property
    def front(self) -> float:
        return self.x - self.depth / 2

    @property
    def back(self) -> float:
        return self.x + self.depth / 2

    @property
    def left(self) -> float:
        return self.y + self.width / 2

    @property
    def right(self) -> float:
        return self.y - self.width / 2


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One hall with one or two boxes, a target, and in `image_blind` the rails that hold the robot.

    hall         (back, front) in x and (right, left) in y: where the walls are, metres
    floor        where the corner of one floor tile lies, metres; it moves with a belt
    wall_grey    brightness of the walls, grey levels
    belt_m       how far boxes, target and floor roll towards the robot in one step, metres
    noise_seed   of the camera's noise
    """

    boxes: tuple[Box, ...]
    target: Box
    hall_x: tuple[float, float]
    hall_y: tuple[float, float]
    floor: tuple[float, float] = (0.0, 0.0)
    wall_grey: int = 212
    rails: tuple[Box, ...] = ()
    belt_m: float = 0.0
    noise_seed: int = 0

    @property
    def solids(self) -> Iterator[Box]:
        """Everything that stops the robot, walls aside."""
        yield from (*self.boxes, *self.rails, self.target)

    @property
    def obstacle(self) -> Box:
        """The block that holds all boxes; two boxes stand too near to each other to be passed between."""
        front, back = min(b.front for b in self.boxes), max(b.back for b in self.boxes)
        right, left = min(b.right for b in self.boxes), max(b.left for b in self.boxes)
        middle = {"x": (front + back) / 2, "y": (right + left) / 2}
        return replace(self.boxes[0], **middle, depth=back - front, width=left - right)

    @property
    def markings(self) -> tuple[tuple[Rectangle, Colour], ...]:
        """What is painted on the floor: a dark zone around the boxes, and a red carpet from there to the target.

        They make where the way bends visible in 112 x 112 pixels, also when a box has left the view.
        """
        obstacle, target = self.obstacle, self.target
        zone = (obstacle.front - 1.0, obstacle.back + 0.2, obstacle.right - 0.45, obstacle.left + 0.45)
        carpet = (obstacle.back + 0.2, target.front, target.y - 0.7, target.y + 0.7)
        return (carpet, (190, 40, 50)), (zone, (45, 45, 55))

    def lane(self, side: Side) -> float:
        """The y on which the robot's centre passes the boxes on that side, metres."""
        obstacle = self.obstacle
        return obstacle.left + CLEARANCE_M if side == "left" else obstacle.right - CLEARANCE_M

    @property
    def shorter_side(self) -> Side:
        """The side on which the way round the boxes is shorter from the start."""
        return "left" if abs(self.lane("left")) < abs(self.lane("right")) else "right"

    def rolled(self) -> "Scene":
        """The scene one step later: what lies on the belt has come nearer."""
        if not self.belt_m:
            return self
        boxes = tuple(replace(box, x=box.x - self.belt_m) for box in self.boxes)
        target = replace(self.target, x=self.target.x - self.belt_m)
        return replace(self, boxes=boxes, target=target, floor=(self.floor[0] - self.belt_m, self.floor[1]))


def sample_scene(rng: np.random.Generator, world: WorldName = "full", num_frames: int = REFERENCE_FRAMES) -> Scene:
    """A random scene of that world; `num_frames` sets the scale of the way, which fits into 18 frames or more."""
    num_boxes, orientation = int(rng.integers(1, 3)), str(rng.choice(["hori", "vert"]))
    width_steps, depth_steps = WIDTH_STEPS[num_boxes, orientation], DEPTH_STEPS[num_boxes, orientation]
    scale = max(1.0, (num_frames - BESIDE_STEPS) / (REFERENCE_FRAMES - BESIDE_STEPS))
    approach = round(float(rng.choice(APPROACH_STEPS)) * scale)
    # Both in steps of two, to the left: from the robot to the left lane (the rest of the width lies to the right),
    # and from the right lane to the target.
    offset, target_offset = (2 * int(steps) for steps in rng.integers(0, width_steps // 2 + 1, 2))
    jitter_x, jitter_y, jitter_target = rng.uniform(-0.05, 0.05, 3)
    brightness = rng.uniform(0.9, 1.1)
    room_right, room_left = rng.uniform(3.0, 3.8, 2)
    tile_x, tile_y = rng.uniform(0.0, 2 * STEP_M, 2)
    wall_grey, noise_seed = int(rng.integers(205, 221)), int(rng.integers(2**31))

    front = START_GAP_M + approach * STEP_M + jitter_x
    depth = depth_steps * STEP_M - START_GAP_M - PAST_M
    y = (offset - width_steps / 2) * STEP_M + jitter_y
    width = width_steps * STEP_M - 2 * CLEARANCE_M
    colour = (int(45 * brightness), int(95 * brightness), int(215 * brightness))
    block = Box(x=front + depth / 2, y=y, depth=depth, width=width, height=0.9, colour=colour)
    target_x = block.back + PAST_M + round(FINAL_STEPS * scale) * STEP_M + STOP_M
    target_y = y + (target_offset - width_steps / 2) * STEP_M + jitter_target
    target = Box(x=target_x + 0.15, y=target_y, depth=0.3, width=1.2, height=2.8, colour=(230, 25, 40))
    scene = Scene(
        boxes=_split(block, orientation) if num_boxes == 2 else (block,),
        target=target,
        hall_x=(-1.5, target_x + 3.0),
        hall_y=(y - room_right, y + room_left),
        floor=(tile_x, tile_y),
        wall_grey=wall_grey,
        noise_seed=noise_seed,
    )
    return _hold(scene, STEP_M / 2 / scale) if world == "image_blind" else scene


def _split(block: Box, orientation: str) -> tuple[Box, Box]:
    """Two boxes in the place of one: side by side (`hori`) or one behind the other (`vert`), 0.2 m apart."""
    gap = 0.2
    if orientation == "hori":
        width = (block.width - gap) / 2
        shift = (width + gap) / 2
        return replace(block, width=width, y=block.y + shift), replace(block, width=width, y=block.y - shift)
    depth = (block.depth - gap) / 2
    shift = (depth + gap) / 2
    return replace(block, depth=depth, x=block.x - shift), replace(block, depth=depth, x=block.x + shift)


def _hold(scene: Scene, belt_m: float) -> Scene:
    """The scene of `image_blind`: low rails hold the robot, and the rest rolls past it on a belt.

    No command moves the robot, so the frames of an episode are the same whatever it is told. Boxes that stand in the
    robot's way are pushed aside, to the side of their own centre, where the belt can carry them past. The belt is slow
    enough that the target never reaches the robot.
    """
    near, thick = ROBOT_HALF_M + 0.02, 0.06
    kerb = Box(x=0.0, y=0.0, depth=thick, width=2 * (near + thick), height=0.1, colour=(120, 120, 120))
    along = replace(kerb, depth=2 * near, width=thick)
    rails = (
        replace(kerb, x=near + thick / 2),
        replace(kerb, x=-near - thick / 2),
        replace(along, y=near + thick / 2),
        replace(along, y=-near - thick / 2),
    )
    aside, obstacle = near + 2 * thick, scene.obstacle
    push = 0.0
    if obstacle.right < aside and obstacle.left > -aside:
        push = aside - obstacle.right if obstacle.y >= 0 else -aside - obstacle.left
    boxes = tuple(replace(box, y=box.y + push) for box in scene.boxes)
    hall_x = (scene.hall_x[0], scene.hall_x[1] + 2.0)
    return replace(scene, boxes=boxes, rails=rails, hall_x=hall_x, belt_m=belt_m)
