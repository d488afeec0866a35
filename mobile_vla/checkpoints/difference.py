"""What differs between two checkpoints, and how far the weights moved from the first to the second.

In: two opened files, taken apart. Out: by part, what is only in one of them and the distance of the rest: the norm of
the difference relative to the norm of the first, and the largest difference of any single weight.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mobile_vla.checkpoints.opened import Weights
from mobile_vla.checkpoints.parts import PARTS, Parts
from mobile_vla.core.errors import UserError

LISTED = 10


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One tensor, or all of a part. relative: norm of the difference / norm of the first, None where that is zero."""

    squares: float
    base_squares: float
    max: float

    @property
    def relative(self) -> float | None:
        return math.sqrt(self.squares / self.base_squares) if self.base_squares else None


@dataclass(frozen=True, kw_only=True)
class PartDifference:
    """Numbers of tensors, and the names of those that are not in both. moved: over the tensors that are compared."""

    equal: int
    changed: int
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]
    other_shape: tuple[str, ...]
    moved: Moved | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """most_moved: the tensors with the largest relative distance, the farthest first."""

    parts: Mapping[str, PartDifference]
    most_moved: tuple[tuple[str, Moved], ...]


def compare(
    here: tuple[Weights, Parts],
    there: tuple[Weights, Parts],
    progress: Callable[[str, int, int], None] | None = None,
) -> Difference:
    """From `here` to `there`; each distinct tensor once, matched by our name for it, or else by its own."""
    (weights, parts), (others, other_parts) = here, there
    names, other_names = _by_meaning(parts), _by_meaning(other_parts)
    both = [key for key in names if key in other_names]
    if not both:
        raise UserError("the two files share no name of a tensor, so there is nothing to compare", argument="against")
    moved: dict[str, Moved] = {}
    shape_differs = set()
    for index, key in enumerate(both):
        if weights.specs[names[key]].shape != others.specs[other_names[key]].shape:
            shape_differs.add(key)
        else:
            moved[key] = _measure(weights, names[key], others, other_names[key])
        if progress is not None:
            progress("tensors compared", index + 1, len(both))
    by_part: dict[str, list[str]] = defaultdict(list)
    for key in dict.fromkeys([*names, *other_names]):
        by_part[parts.of[names[key]] if key in names else other_parts.of[other_names[key]]].append(key)
    found = {}
    for part in PARTS:
        keys = by_part.get(part, [])
        compared = [moved[key] for key in keys if key in moved]
        if keys:
            found[part] = PartDifference(
                equal=sum(one.squares == 0 and one.max == 0 for one in compared),
                changed=sum(one.squares != 0 or one.max != 0 for one in compared),
                only_here=tuple(key for key in keys if key not in other_names),
                only_there=tuple(key for key in keys if key not in names),
                other_shape=tuple(key for key in keys if key in shape_differs),
                moved=_join(compared) if compared else None,
            )
    far = sorted(moved.items(), key=lambda item: (item[1].relative or 0.0, item[1].max), reverse=True)
    return Difference(parts=found, most_moved=tuple((key, one) for key, one in far[:LISTED] if one.max))


def _by_meaning(parts: Parts) -> dict[str, str]:
    """The name of each distinct tensor, by what it means."""
    return {parts.own[name] or name: name for name in parts.first}


def _measure(weights: Weights, name: str, others: Weights, other: str) -> Moved:
    squares = base = largest = 0.0
    for mine, theirs in zip(weights.chunks(name), others.chunks(other), strict=True):
        delta = theirs.double() - mine.double()
        squares += float(delta.square().sum())
        base += float(mine.double().square().sum())
        largest = max(largest, float(delta.abs().max()))
    return Moved(squares=squares, base_squares=base, max=largest)


def _join(moved: list[Moved]) -> Moved:
    return Moved(
        squares=math.fsum(one.squares for one in moved),
        base_squares=math.fsum(one.base_squares for one in moved),
        max=max(one.max for one in moved),
    )
