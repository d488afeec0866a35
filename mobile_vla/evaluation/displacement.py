"""Where a chunk of velocities takes the robot: the displacement at the chunk's end, and the error in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mobile_vla.core.actions import ActionSpace
from mobile_vla.sources.schema import Episode


@dataclass(frozen=True, kw_only=True)
class Odometry:
    """How velocities add up.

    unit  `m` where every episode's step duration and speed scale are known; else `steps`: one step is the distance
          covered at the largest linear speed of the action bounds in one step, and turning is left out, since its
          angle is not known
    """

    components: tuple[str, ...]
    unit: Literal["m", "steps"]
    step_s: float
    scale: float

    @classmethod
    def of(cls, space: ActionSpace, episodes: Sequence[Episode]) -> "Odometry":
        known = {(episode.step_s, episode.speed_scale) for episode in episodes}
        step_s, scale = next(iter(known)) if len(known) == 1 else (None, None)
        if step_s is not None and scale is not None:
            return cls(components=space.components, unit="m", step_s=step_s, scale=scale)
        linear = [i for i, name in enumerate(space.components) if name.startswith("linear")]
        fastest = max((max(abs(space.low[i]), abs(space.high[i])) for i in linear), default=1.0)
        return cls(components=space.components, unit="steps", step_s=1.0, scale=1 / fastest)

    @property
    def moves(self) -> bool:
        """Whether an action can displace the robot at all: one that only turns cannot."""
        return any(name.startswith("linear") for name in self.components)

    def displacement(self, velocities: Float[Tensor, "*chunks C A"]) -> Float[Tensor, "*chunks 2"]:
        """(x, y) of the robot behind the chunk, in its frame at the chunk's begin; forward Euler, turn after move."""
        still = torch.zeros_like(velocities[..., 0])
        forward, left, turn = (
            velocities[..., self.components.index(name)] if name in self.components else still
            for name in ("linear_x", "linear_y", "angular_z")
        )
        if self.unit == "steps":
            turn = still
        heading = torch.cumsum(turn * self.step_s, dim=-1) - turn * self.step_s  # before each step
        x = forward * heading.cos() - left * heading.sin()
        y = forward * heading.sin() + left * heading.cos()
        return torch.stack([x.sum(-1), y.sum(-1)], dim=-1) * self.step_s * self.scale

    def error(
        self, predicted: Float[Tensor, "*chunks C A"], target: Float[Tensor, "*chunks C A"]
    ) -> Float[Tensor, "*chunks"]:
        """Distance between where the two chunks end, in `unit`."""
        return (self.displacement(predicted) - self.displacement(target)).norm(dim=-1)
