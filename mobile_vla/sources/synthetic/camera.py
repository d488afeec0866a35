"""The camera on the robot: draws a scene in perspective, with polygons, in a few milliseconds.

In: a `Scene` and the robot's pose. Out: one frame, uint8 RGB. The camera sits on a mast at the robot's rear, so that
a box which is being passed stays in view; its field of view is wide. The floor has tiles and the walls have pilasters,
so that motion can be seen; both are pale, so that boxes, target and floor markings fill what a small vision tower
tells apart.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from mobile_vla.sources.synthetic.scene import STEP_M, Box, Scene

BEHIND_M = 0.35  # from the robot's centre back to the mast
HEIGHT_M = 1.1  # above the floor
PITCH_RAD = math.radians(12)  # looking down
VIEW_RAD = math.radians(100)  # horizontal field of view
NEAR_M = 0.05  # what is nearer than this is cut off
FAR_M = 16.0  # floor tiles and pilasters are not drawn beyond
TILE_M = 2 * STEP_M
WALL_M = 3.0  # height of the walls
CEILING, FLOOR, TILE = (222, 224, 228), (190, 186, 178), (172, 168, 160)


class Camera:
    """Perspective without lens distortion; square pixels, whatever the resolution (height, width)."""

    def __init__(self, resolution: tuple[int, int]):
        self.height, self.width = resolution
        self.focal_px = self.width / 2 / math.tan(VIEW_RAD / 2)

    def draw(self, scene: Scene, pose: tuple[float, float, float]) -> np.ndarray:
        """One frame, (height, width, 3) uint8, as seen from `pose` = (x [m], y [m], yaw [rad])."""
        image = Image.new("RGB", (self.width, self.height), CEILING)
        pen = ImageDraw.Draw(image)
        x, y, yaw = pose
        eye = np.array([x - BEHIND_M * math.cos(yaw), y - BEHIND_M * math.sin(yaw), HEIGHT_M])
        self._paint(pen, _floor(scene), FLOOR, eye, yaw)
        self._paint(pen, _tiles(scene, eye), TILE, eye, yaw)
        for (back, front, right, left), colour in scene.markings:
            quad = np.array([[(back, right, 0), (front, right, 0), (front, left, 0), (back, left, 0)]], dtype=float)
            self._paint(pen, quad, colour, eye, yaw)
        for walls, grey in _walls(scene, eye):
            self._paint(pen, walls, (grey, grey, min(255, grey + 6)), eye, yaw)
        ahead = np.array([math.cos(yaw), math.sin(yaw)])
        for box in sorted(scene.solids, key=lambda b: -float(ahead @ (b.x - eye[0], b.y - eye[1]))):
            for face, shade in _faces(box, eye):
                colour = tuple(min(255, int(level * shade)) for level in box.colour)
                self._paint(pen, face[None], colour, eye, yaw)
        return np.asarray(image)

    def _paint(self, pen: ImageDraw.ImageDraw, quads: np.ndarray, colour, eye: np.ndarray, yaw: float) -> None:
        """Fill quads (n, 4, 3) of world points, after cutting off what is behind the lens."""
        ahead, left, up = np.moveaxis(quads - eye, -1, 0)  # each (n, 4)
        ahead, left = (
            math.cos(yaw) * ahead + math.sin(yaw) * left,
            math.cos(yaw) * left - math.sin(yaw) * ahead,
        )
        depth = math.cos(PITCH_RAD) * ahead - math.sin(PITCH_RAD) * up
        up = math.sin(PITCH_RAD) * ahead + math.cos(PITCH_RAD) * up
        for corners in np.stack([depth, left, up], axis=-1):  # (4, 3)
            if corners[:, 0].min() < NEAR_M:
                corners = _cut(corners)
            if len(corners) >= 3:
                shown = corners[:, 1:] / corners[:, :1] * -self.focal_px
                shown += (self.width / 2, self.height / 2)
                pen.polygon(shown.ravel().tolist(), fill=colour)


def add_noise(frame: np.ndarray, rng: np.random.Generator, noise: float) -> np.ndarray:
    """The frame with normal noise of that standard deviation in grey levels, the next of the generator's."""
    drawn = rng.standard_normal(frame.shape, dtype=np.float32) * np.float32(noise)
    return np.clip(np.rint(frame + drawn), 0, 255).astype(np.uint8)


def _cut(corners: np.ndarray) -> np.ndarray:
    """The part of a polygon (n, 3) = (depth, left, up) that lies at least `NEAR_M` before the lens."""
    kept = []
    for here, there in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if here[0] >= NEAR_M:
            kept.append(here)
        if (here[0] >= NEAR_M) != (there[0] >= NEAR_M):
            kept.append(here + (there - here) * ((NEAR_M - here[0]) / (there[0] - here[0])))
    return np.array(kept)


def _floor(scene: Scene) -> np.ndarray:
    (back, front), (right, left) = scene.hall_x, scene.hall_y
    return np.array([[(back, right, 0), (front, right, 0), (front, left, 0), (back, left, 0)]], dtype=float)


def _tiles(scene: Scene, eye: np.ndarray) -> np.ndarray:
    """The dark tiles of the chequered floor near the eye, cut at the walls: (n, 4, 3)."""
    (back, front), (right, left) = scene.hall_x, scene.hall_y
    back, front = max(back, eye[0] - FAR_M), min(front, eye[0] + FAR_M)
    columns = np.arange(math.floor((back - scene.floor[0]) / TILE_M), math.ceil((front - scene.floor[0]) / TILE_M))
    rows = np.arange(math.floor((right - scene.floor[1]) / TILE_M), math.ceil((left - scene.floor[1]) / TILE_M))
    column, row = (grid.ravel() for grid in np.meshgrid(columns, rows))
    dark = (column + row) % 2 == 0
    x0, y0 = column[dark] * TILE_M + scene.floor[0], row[dark] * TILE_M + scene.floor[1]
    x0, x1 = np.clip(x0, back, front), np.clip(x0 + TILE_M, back, front)
    y0, y1 = np.clip(y0, right, left), np.clip(y0 + TILE_M, right, left)
    flat = np.zeros_like(x0)
    return np.stack([np.stack(c, -1) for c in ((x0, y0, flat), (x1, y0, flat), (x1, y1, flat), (x0, y1, flat))], 1)


def _walls(scene: Scene, eye: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """The four walls, and pilasters on the long ones: [(quads (n, 4, 3), grey level)]."""
    (back, front), (right, left) = scene.hall_x, scene.hall_y
    ends = np.stack([_upright((front, right), (front, left)), _upright((back, right), (back, left))])
    sides = np.stack([_upright((back, right), (front, right)), _upright((back, left), (front, left))])
    starts = np.arange(back, front - 0.3, 2.0)
    starts = starts[np.abs(starts - eye[0]) < FAR_M]
    pilasters = [_upright((x, y), (x + 0.3, y)) for x in starts for y in (right, left)]
    grey = scene.wall_grey
    walls = [(ends, grey), (sides, grey - 5)]
    return [*walls, (np.stack(pilasters), grey - 22)] if pilasters else walls


def _upright(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    return np.array([(*start, 0), (*end, 0), (*end, WALL_M), (*start, WALL_M)], dtype=float)


def _faces(box: Box, eye: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """The faces of a block that the eye sees, each (4, 3) with its shade: top bright, front plain, sides dark."""
    corners = [(box.front, box.right), (box.back, box.right), (box.back, box.left), (box.front, box.left)]

    def side(i: int, j: int) -> np.ndarray:
        (x0, y0), (x1, y1) = corners[i], corners[j]
        return np.array([(x0, y0, 0), (x1, y1, 0), (x1, y1, box.height), (x0, y0, box.height)])

    faces = []
    if eye[0] < box.front:
        faces.append((side(3, 0), 1.0))
    if eye[0] > box.back:
        faces.append((side(1, 2), 1.0))
    if eye[1] < box.right:
        faces.append((side(0, 1), 0.6))
    if eye[1] > box.left:
        faces.append((side(2, 3), 0.7))
    if eye[2] > box.height:
        faces.append((np.array([(x, y, box.height) for x, y in corners]), 1.4))
    return faces
