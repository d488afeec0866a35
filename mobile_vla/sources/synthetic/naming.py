"""What a recording is called: the words of its file's name, each true of the scene, and its date.

In: a task. Out: labels (name -> value), a date, a file name as the lab's collectors write it. Dates are made up from
the seed: sessions of 24 episodes, one session a day, so that a split by session or by time means something.
"""

from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from mobile_vla.sources.synthetic.episode import CLOCK, Task, stream
from mobile_vla.sources.synthetic.scene import ROBOT_HALF_M, Scene

Layout = Literal["flat", "nested", "jpeg"]

EPISODES_PER_SESSION = 24
EPISODE_SLOT_S = 180
FIRST_DAY = datetime(2025, 1, 6)
CLOSE_M, MEDIUM_M = 1.98, 2.90  # from the robot's start to the front of the box: below it close, below it medium
CENTRE_M = 0.69  # a target within this of the line on which the robot starts is in the centre


def labels_of(task: Task) -> dict[str, str]:
    """What can be said of the scene, with the words of the collectors' file names.

    boxes        1box, 2box
    orientation  hori: broader than deep, vert: deeper than broad (both boxes taken together)
    direction    the side on which the boxes are passed; in `image_blind`, where nothing moves, the side commanded
    position     where the target is, as seen from the start
    pattern      core: the boxes stand in the robot's way straight ahead; variant: they do not
    distance     how far away they are at the start
    """
    scene = task.scene
    obstacle = scene.obstacle
    orientation = "hori" if obstacle.width > obstacle.depth else "vert"
    return {
        "boxes": f"{len(scene.boxes)}box",
        "orientation": orientation,
        "direction": task.side,
        "position": _position(scene),
        "pattern": "core" if obstacle.right - ROBOT_HALF_M < 0 < obstacle.left + ROBOT_HALF_M else "variant",
        "distance": "close" if obstacle.front < CLOSE_M else "medium" if obstacle.front < MEDIUM_M else "far",
    }


def _position(scene: Scene) -> str:
    if abs(scene.target.y) <= CENTRE_M:
        return "center"
    return "left" if scene.target.y > 0 else "right"


def recorded_at(seed: int, index: int) -> datetime:
    """When episode `index` was recorded: later than the one before it, the same whatever else is written."""
    session, slot = divmod(index, EPISODES_PER_SESSION)
    first_day = FIRST_DAY + timedelta(days=int(np.random.default_rng(seed).integers(300)))
    start = timedelta(days=session, hours=int(np.random.default_rng([seed, session]).integers(9, 20)))
    within = int(stream(seed, index, CLOCK).integers(EPISODE_SLOT_S))
    return first_day + start + timedelta(seconds=slot * EPISODE_SLOT_S + within)


def time_period(when: datetime) -> str:
    return "morning" if when.hour < 12 else "afternoon" if when.hour < 18 else "evening"


def file_name(labels: dict[str, str], when: datetime, layout: Layout) -> str:
    """`episode_20251204_113519_1box_hori_left_core_medium.h5`, or v5's `…_target_right_left_path_core_far.h5`."""
    if layout == "flat":
        words = [labels[name] for name in ("boxes", "orientation", "direction", "pattern", "distance")]
        return f"episode_{when:%Y%m%d_%H%M%S}_{'_'.join(words)}.h5"
    words = ["target", labels["position"], labels["direction"], "path", labels["pattern"], labels["distance"]]
    return f"episode_{when:%y%m%d_%H%M%S}_{'_'.join(words)}.h5"
