"""Where an episode's commands take the robot: dead reckoning from the actions, since nothing else says it.

In metres where step duration and speed scale are known; else in steps, one being the distance at the largest linear
speed, and turning is left out, since its angle is not known (the same rule as for the displacement of a chunk). Actions
that are no velocities in the plane take the robot nowhere that is known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from mobile_vla.core.actions import COMPONENTS
from mobile_vla.sources.schema import Episode
from mobile_vla.survey.actions import columns, known_actions, shared_names
from mobile_vla.survey.counts import Spread


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """unit          `m` or `steps`
    path_length   of each episode;  distance  from its begin to its end
    ends          label value -> mean (forward, left) of where its episodes end
    """

    unit: Literal["m", "steps"]
    path_length: Spread
    distance: Spread
    ends: Mapping[str, tuple[float, float]]


def reckon(
    actions: Float[np.ndarray, "N 3"], step_s: float, scale: float, turns: bool
) -> Float[np.ndarray, "positions 2"]:
    """(N + 1, 2): forward and left of the start, before the first step and after each; the turn comes after the move.

    step_s  seconds an action is held;  scale  metres per second per unit;  turns  whether angular_z is in rad/s
    """
    turn = actions[:, 2] * step_s if turns else np.zeros(len(actions))
    heading = np.cumsum(turn) - turn  # before each step
    forward = actions[:, 0] * np.cos(heading) - actions[:, 1] * np.sin(heading)
    left = actions[:, 0] * np.sin(heading) + actions[:, 1] * np.cos(heading)
    steps = np.stack([forward, left], axis=1) * step_s * scale
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def reckon_all(
    episodes: Sequence[Episode],
) -> tuple[Literal["m", "steps"], list[Float[np.ndarray, "positions 2"]]] | None:
    """The unit that all episodes share, and each one's positions; frames without an action do not move.

    None where actions are no velocities.
    """
    if not set(COMPONENTS) <= set(shared_names(episodes)):
        return None
    if all(episode.step_s is not None and episode.speed_scale is not None for episode in episodes):
        return "m", [
            reckon(columns(e, COMPONENTS), e.step_s or 0.0, e.speed_scale or 0.0, turns=True) for e in episodes
        ]
    fastest = float(np.abs(known_actions(episodes, COMPONENTS)[:, :2]).max(initial=0.0)) or 1.0
    return "steps", [reckon(columns(episode, COMPONENTS), 1.0, 1 / fastest, turns=False) for episode in episodes]


def describe_trajectories(episodes: Sequence[Episode], label: str) -> Trajectories | None:
    """Lengths of all of them, and where those of each value of `label` end; None where nothing can be reckoned."""
    if (reckoned := reckon_all(episodes)) is None:
        return None
    unit, paths = reckoned
    ends: dict[str, list[np.ndarray]] = {}
    for episode, path in zip(episodes, paths, strict=True):
        ends.setdefault(episode.label(label), []).append(path[-1])
    means = {value: np.mean(points, axis=0) for value, points in sorted(ends.items())}
    return Trajectories(
        unit=unit,
        path_length=Spread.of(float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum()) for path in paths),
        distance=Spread.of(float(np.linalg.norm(path[-1])) for path in paths),
        ends={value: (float(mean[0]), float(mean[1])) for value, mean in means.items()},
    )
