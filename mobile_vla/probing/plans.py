"""Sampling plans: which frames of which episodes are worth storing. Made by `sampling`, stored with the result.

In: a `PlanConfig`, as an experimenter sets it. Out: a `SamplingPlan`, which describes itself before anything runs, and
whose fingerprint tells whether two stores hold the same frames. Imports no torch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mobile_vla.contexts.manifest import TapSpec
from mobile_vla.core.errors import UserError
from mobile_vla.core.plural import plural

DEFAULT_LABEL = "direction"
BINS = 5  # of progress


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """kind: `all` frames, `every_n`-th frame of every episode, or `stratified`: some frames of some episodes.

    For `stratified`:
    episodes   how many, dealt to the strata in proportion to their sizes, or evenly where `balanced`
    progress   which frames of each: the nearest to these shares of the way (0 the first, 1 the last)
    by         labels whose combinations are the strata
    minimum, maximum  episodes that a stratum gets at least (if it has them) and at most (null: as many as it has)
    n          for `every_n`

    of         a store, or a probe's folder: exactly its rows again, as recorded; all of the above but `by` is not asked
    """

    kind: Literal["all", "stratified", "every_n"] = "stratified"
    episodes: int = 100
    progress: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    by: tuple[str, ...] = (DEFAULT_LABEL,)
    balanced: bool = False
    minimum: int = 1
    maximum: int | None = None
    n: int = 4
    seed: int = 0
    of: str | None = None

    def __post_init__(self):
        if self.episodes < 1 or self.n < 1:
            name = "n" if self.episodes >= 1 else "episodes"
            raise UserError(f"must be at least 1, got {getattr(self, name)}", argument=name)
        if not self.progress or not all(0 <= share <= 1 for share in self.progress):
            raise UserError(f"must be shares in [0, 1], at least one, got {list(self.progress)}", argument="progress")
        if self.minimum < 0 or (self.maximum is not None and self.maximum < max(self.minimum, 1)):
            raise UserError(
                f"expected 0 <= minimum <= maximum, and a maximum of at least 1, got minimum={self.minimum} and "
                f"maximum={self.maximum}",
                argument="minimum",
            )


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """name: `direction=left`;  available: its episodes and their frames;  asked, taken: episodes;  rows: frames."""

    name: str
    available: int
    available_frames: int
    asked: int
    taken: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """frames: of each episode, by id, the wanted frames, both ascending;  by_progress: rows in each fifth of the way.

    warnings  what a reader of the result has to know: strata that are too small, episodes that are too short
    """

    config: PlanConfig
    frames: Mapping[str, tuple[int, ...]]
    strata: tuple[Stratum, ...]
    by_progress: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        return sum(map(len, self.frames.values()))

    @property
    def fingerprint(self) -> str:
        """Of the rows alone: plans that come to the same rows are the same."""
        rows = json.dumps(list(self.frames.items())).encode()
        return hashlib.sha256(rows).hexdigest()[:16]

    def describe(self, taps: Mapping[str, TapSpec] | None = None, variants: int = 1) -> list[str]:
        """What will be stored, for a user to read before it is; the warnings last."""
        available = sum(stratum.available for stratum in self.strata)
        frames = sum(stratum.available_frames for stratum in self.strata)
        times = f" x {variants} variants" if variants > 1 else ""
        lines = [
            f"plan {self._called()}: {plural(self.num_rows, 'row')}{times} of {plural(len(self.frames), 'episode')} "
            f"(there are {available} with {frames} frames)"
        ]
        for stratum in self.strata:
            asked = f", {stratum.asked} asked for" if stratum.asked != stratum.taken else ""
            lines.append(
                f"  {stratum.name}: {stratum.taken} of {plural(stratum.available, 'episode')}{asked}, "
                f"{plural(stratum.rows, 'row')}"
            )
        bins = [f"{name_bin(i)}: {count}" for i, count in enumerate(self.by_progress)]
        lines.append(f"  rows by progress: {', '.join(bins)}")
        if taps is not None:
            sizes = {name: self.num_rows * variants * tap.row_bytes / 1e6 for name, tap in taps.items()}
            each = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items())
            lines.append(f"  on disk: {sum(sizes.values()):.1f} MB ({each})")
        return [*lines, *(f"  warning: {warning}" for warning in self.warnings)]

    def to_plain(self) -> dict[str, Any]:
        """Plain values, stored with the result."""
        return {
            "config": asdict(self.config),
            "fingerprint": self.fingerprint,
            "rows": self.num_rows,
            "strata": [asdict(stratum) for stratum in self.strata],
            "by_progress": list(self.by_progress),
            "warnings": list(self.warnings),
            "frames": {episode: list(frames) for episode, frames in self.frames.items()},
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "SamplingPlan":
        config = plain["config"]
        return cls(
            config=PlanConfig(**{**config, "progress": tuple(config["progress"]), "by": tuple(config["by"])}),
            frames={episode: tuple(frames) for episode, frames in plain["frames"].items()},
            strata=tuple(Stratum(**stratum) for stratum in plain["strata"]),
            by_progress=tuple(plain["by_progress"]),
            warnings=tuple(plain["warnings"]),
        )

    def _called(self) -> str:
        if self.config.of is not None:
            return f"of the rows of {self.config.of}"
        if self.config.kind == "stratified":
            return f"stratified by {', '.join(self.config.by) or 'nothing'}, seed {self.config.seed}"
        return "all" if self.config.kind == "all" else f"every {self.config.n} frames"


def name_bin(index: int) -> str:
    """`20-40 %`, of the way."""
    return f"{100 * index // BINS}-{100 * (index + 1) // BINS} %"
