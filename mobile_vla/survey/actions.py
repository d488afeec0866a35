"""What was commanded: each component of the actions by itself, and the bounds that training would give it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mobile_vla.core.actions import MIN_RANGE
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig, fit_actions
from mobile_vla.sources.schema import Episode

FEW = 12  # distinct values that are still commands, and not a continuous quantity
BINS = 41  # odd, so that zero has a bin of its own where the range is symmetric
SAME_ACTION = 1e-3  # velocities that differ by less are the same command
DECIMALS = 4  # velocities nearer than this are one command (float32 of a keyboard's 1.15)


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """`counts[i]` values lie from `edges[i]` to `edges[i + 1]`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Component:
    """One component over all known actions, as recorded.

    chosen      whether it is one of `data.components`
    zero_share  share of the actions where it is zero
    values      command -> share of the actions, where there are few distinct ones; else empty
    """

    chosen: bool
    min: float
    max: float
    mean: float
    std: float
    p1: float
    p99: float
    zero_share: float
    values: Mapping[str, float]
    histogram: Histogram

    @property
    def varies(self) -> bool:
        """Whether it carries a command, by the rule by which training refuses one that does not."""
        return self.max - self.min >= MIN_RANGE


@dataclass(frozen=True, kw_only=True)
class Actions:
    """frames  known actions;  bounds  component -> [low, high] for those of `data.components`, over all episodes;
    refused  why training would not take these bounds, None where it does."""

    frames: int
    components: Mapping[str, Component]
    bounds: Mapping[str, tuple[float, float]]
    refused: str | None


def shared_names(episodes: Sequence[Episode]) -> tuple[str, ...]:
    """The action components that every episode has."""
    return tuple(name for name in episodes[0].action_names if all(name in e.action_names for e in episodes))


def columns(episode: Episode, names: tuple[str, ...]) -> Float[np.ndarray, "N A"]:
    """The named components of one episode's actions."""
    return episode.actions if names == episode.action_names else episode.components(names)


def known_actions(episodes: Sequence[Episode], names: tuple[str, ...]) -> Float[np.ndarray, "frames A"]:
    """The actions of all episodes, where a frame has one."""
    return np.concatenate([columns(episode, names)[episode.action_known] for episode in episodes])


def describe_actions(config: DataConfig, episodes: Sequence[Episode]) -> Actions:
    """All components that the episodes share; with no known action at all, none of them."""
    names = shared_names(episodes)
    actions = known_actions(episodes, names).astype(np.float64)
    try:
        fit_actions(config, list(episodes))
        refused = None
    except UserError as error:
        refused = str(error)
    parts = {}
    if len(actions):
        parts = {name: _describe(actions[:, i], name in config.components) for i, name in enumerate(names)}
    observed = {name: (part.min, part.max) for name, part in parts.items() if part.chosen}
    given = {name: (float(low), float(high)) for name, (low, high) in config.bounds.items()}
    return Actions(frames=len(actions), components=parts, bounds={**observed, **given}, refused=refused)


def _describe(values: Float[np.ndarray, " frames"], chosen: bool) -> Component:
    rounded, counts = np.unique(values.round(DECIMALS) + 0.0, return_counts=True)  # + 0.0: no minus zero
    bins, edges = np.histogram(values, BINS)
    return Component(
        chosen=chosen,
        min=float(values.min()),
        max=float(values.max()),
        mean=float(values.mean()),
        std=float(values.std()),
        p1=float(np.quantile(values, 0.01)),
        p99=float(np.quantile(values, 0.99)),
        zero_share=float((np.abs(values) < 10.0**-DECIMALS / 2).mean()),
        values={f"{v:g}": float(n / len(values)) for v, n in zip(rounded, counts)} if len(rounded) <= FEW else {},
        histogram=Histogram(edges=tuple(map(float, edges)), counts=tuple(map(int, bins))),
    )
