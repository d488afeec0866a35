"""Which components an action has, and the bounds that map velocities to [-1, 1]. Imports only the error.

The space travels with every checkpoint: a head's output means nothing without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float

from mobile_vla.core.errors import UserError

COMPONENTS = ("linear_x", "linear_y", "angular_z")  # forward [m/s], left [m/s], counter-clockwise [rad/s]
LATERAL = ("linear_y", "angular_z")  # the component that tells left from right: the first that is there
MIN_RANGE = 1e-3  # a component that varies less carries no command, and dividing by its range blows noise up

Array = TypeVar("Array", np.ndarray, torch.Tensor)


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """Components by name, and for each the velocities that -1 and +1 stand for (m/s, or rad/s for angular_z)."""

    components: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self):
        check_components(self.components)
        if not len(self.components) == len(self.low) == len(self.high):
            raise UserError(
                f"data.bounds: one low and one high for each of {list(self.components)} expected, "
                f"got low={list(self.low)}, high={list(self.high)}"
            )
        for name, low, high in zip(self.components, self.low, self.high, strict=True):
            if not high - low >= MIN_RANGE:  # also true for NaN
                raise UserError(
                    f"action component '{name}' has (near) zero range: it spans {low:.6g} to {high:.6g}, expected at "
                    f"least {MIN_RANGE:g}; leave it out of data.components or give data.bounds.{name}=[low,high]"
                )

    @classmethod
    def fit(
        cls,
        components: tuple[str, ...],
        actions: Float[np.ndarray, "n A"],
        given: Mapping[str, tuple[float, float]] | None = None,
    ) -> "ActionSpace":
        """Bounds are those given by name, else the least and the largest velocity of the (training) actions."""
        given = given or {}
        missing = [name for name in components if name not in given]
        if missing and not len(actions):
            raise UserError(
                "no training episode has a known action to take bounds from: data.action_shift leaves none; give "
                f"data.bounds for {missing}, or another data.action_shift"
            )
        found = [
            given[name] if name in given else (float(actions[:, a].min()), float(actions[:, a].max()))
            for a, name in enumerate(components)
        ]
        return cls(components=components, low=tuple(low for low, _ in found), high=tuple(high for _, high in found))

    def normalize(self, actions: Array) -> Array:
        """(..., A) velocities -> [-1, 1] (beyond it where an action lies outside the bounds)."""
        low, high = self._like(actions)
        return (actions - low) / (high - low) * 2 - 1

    def denormalize(self, actions: Array) -> Array:
        """(..., A) in [-1, 1] -> velocities."""
        low, high = self._like(actions)
        return (actions + 1) / 2 * (high - low) + low

    def scale(self) -> np.ndarray:
        """(A,) velocity per unit of normalised action: an error in [-1, 1] times this is an error in velocity."""
        return (np.asarray(self.high) - np.asarray(self.low)) / 2

    @property
    def lateral(self) -> int | None:
        """Index of the component that tells left from right, if there is one."""
        return next((self.components.index(name) for name in LATERAL if name in self.components), None)

    def _like(self, actions: Array) -> tuple[Array, Array]:
        if isinstance(actions, torch.Tensor):
            return actions.new_tensor(self.low), actions.new_tensor(self.high)
        return np.asarray(self.low, actions.dtype), np.asarray(self.high, actions.dtype)


def check_components(components: tuple[str, ...], known: tuple[str, ...] | None = None) -> None:
    """Distinct names, at least one, out of `known` where that is given, or a `UserError` that names the wrong one."""
    for name in components:
        if known is not None and name not in known:
            raise UserError(f"data.components: unknown action component '{name}'; expected names out of {list(known)}")
    if not components or len(set(components)) != len(components):
        most = "one or more" if known is None else f"one to {len(known)}"
        raise UserError(f"data.components: {most} distinct names expected, got {list(components)}")
