"""Episodes that are copies of each other: re-saved, re-encoded, brightened, or cut by a frame or two at an end.

Two copies in different parts of a split make validation look better than it is. Exact copies share the fingerprint
of their content. For the others, frames are compared at the same moments: small grey images, as gradients (which
brightness does not change), at every lag that a cut can cause. Copies agree in *every* frame; two recordings of one
scene part somewhere on the way, so the largest distance over the frames decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from mobile_vla.sources.schema import UNKNOWN, Episode
from mobile_vla.survey.actions import SAME_ACTION
from mobile_vla.survey.sketches import RUN, Sketch

# Largest 1 - correlation of gradients over the frames, measured on synthetic episodes of 18 and 60 frames (180x320,
# camera noise 1 and 2 grey levels, 8 scenes each):
#   copies: cut by up to two frames at both ends 0.0003; JPEG of quality 50 0.0015, of 30 0.004; half the size 0.0006;
#   0.7 to 1.1 times as bright 0.0005; gamma 1.3 0.003 (1.2 times as bright, where the white walls saturate: 0.02)
#   the same scene driven again: at least 0.35 from a start 0.5 degrees off at 60 frames (0.05 at 18), 0.006 from 5 or
#   10 cm away; from within 2 cm the median is 0.02, and what passes for a copy holds nothing new
#   the same scene passed on the other side, and any two other scenes: above 0.69
MAX_DISTANCE = 0.005
MAX_CUT = 2  # frames that a copy lacks at either end
BLOCK = 256  # episodes compared with all others at a time
BLANK = 0.02  # squared grey levels: what is left of a camera's noise in means of that many pixels


@dataclass(frozen=True, kw_only=True)
class Copies:
    """A group of copies.

    kind          `exact`: the same frames and actions;  `near`: frames that look the same
    episodes      their ids;  files  their files
    distance      the largest between two that were found to agree (0 for exact ones)
    same_actions  whether those hold the same actions, too
    differ_in     labels (or `instruction`) that are not the same in all of them: one must be wrong
    """

    kind: Literal["exact", "near"]
    episodes: tuple[str, ...]
    files: tuple[str, ...]
    distance: float
    same_actions: bool
    differ_in: tuple[str, ...]


@dataclass(frozen=True)
class _Match:
    """B's frame j is A's frame j + lag."""

    lag: int
    distance: float


@dataclass(frozen=True)
class _Link:
    """Two episodes that agree; `of` is the index of one of them."""

    of: int
    distance: float
    same_actions: bool


def find_copies(episodes: Sequence[Episode], sketches: Mapping[str, Sketch]) -> list[Copies]:
    """Groups of at least two, in the order of their first ids."""
    if len(episodes) < 2:
        return []
    features = [as_features(sketches[episode.id].greys) for episode in episodes]
    exact = np.unique([episode.fingerprint or f"unread {episode.id}" for episode in episodes], return_inverse=True)[1]
    links: list[_Link] = []
    first_of = list(range(len(episodes)))  # the first episode that each is known to be a copy of
    for a, b in _candidates(episodes, sketches, features, exact):
        if first_of[a] == first_of[b]:  # by way of others; else a hundred copies would cost five thousand comparisons
            continue
        link = _Link(a, 0.0, True) if exact[a] == exact[b] else _compare(episodes, sketches, features, a, b)
        if link is not None:
            links.append(link)
            merged = sorted((first_of[a], first_of[b]))
            first_of = [merged[0] if first == merged[1] else first for first in first_of]
    members_of: dict[int, list[int]] = {}
    for index, first in enumerate(first_of):
        members_of.setdefault(first, []).append(index)
    found = []
    for first, members in members_of.items():
        if len(members) < 2:
            continue
        inside = [link for link in links if first_of[link.of] == first]
        among = [episodes[i] for i in members]
        found.append(
            Copies(
                kind="exact" if len({exact[i] for i in members}) == 1 else "near",
                episodes=tuple(episode.id for episode in among),
                files=tuple(episode.place for episode in among),
                distance=max(link.distance for link in inside),
                same_actions=all(link.same_actions for link in inside),
                differ_in=_differ_in(among),
            )
        )
    return found


def _compare(
    episodes: Sequence[Episode],
    sketches: Mapping[str, Sketch],
    features: Sequence[Float[np.ndarray, "_ 450"]],
    a: int,
    b: int,
) -> _Link | None:
    match = _match(sketches[episodes[a].id], sketches[episodes[b].id], features[a], features[b])
    if match is None:
        return None
    return _Link(a, match.distance, _same_actions(episodes[a], episodes[b], match.lag))


def as_features(greys: Float[np.ndarray, "n 16 16"]) -> Float[np.ndarray, "n 450"]:
    """Gradients to the right and down, of norm 1: the product of two rows is their correlation (they average to 0).

    `BLANK` is added to the variance, so that a frame without content agrees with nothing by its noise.
    """
    grey = greys.astype(np.float32)
    down, right = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    rows = np.concatenate([down, right], axis=1).reshape(len(grey), -1)
    return rows / np.sqrt(((rows**2).mean(axis=1, keepdims=True) + BLANK) * rows.shape[1])


def _candidates(
    episodes: Sequence[Episode],
    sketches: Mapping[str, Sketch],
    features: Sequence[Float[np.ndarray, "_ 450"]],
    exact: np.ndarray,
) -> list[tuple[int, int]]:
    """Pairs that may be copies: about as long, and A's middle frame looks like one around B's middle.

    Copies always pass: a cut of up to `MAX_CUT` frames moves the middle by less than half a run.
    """
    runs = np.stack([_middle(sketches[e.id], f, e.num_frames) for e, f in zip(episodes, features, strict=True)])
    middles = runs[:, RUN // 2]  # (E, 450)
    lengths = np.array([episode.num_frames for episode in episodes])
    pairs: list[tuple[int, int]] = []
    for low in range(0, len(episodes), BLOCK):
        rows = slice(low, low + BLOCK)
        alike = (np.einsum("af,brf->abr", middles[rows], runs, optimize=True) >= 1 - MAX_DISTANCE).any(axis=2)
        alike &= np.abs(lengths[rows, None] - lengths[None]) <= 2 * MAX_CUT
        alike |= exact[rows, None] == exact[None]
        alike &= _above_diagonal(low, alike.shape)
        first, second = np.nonzero(alike)
        pairs += zip((first + low).tolist(), second.tolist(), strict=True)
    return pairs


def _above_diagonal(low: int, shape: tuple[int, ...]) -> Bool[np.ndarray, "rows E"]:
    return np.arange(shape[1])[None] > low + np.arange(shape[0])[:, None]


def _middle(sketch: Sketch, features: Float[np.ndarray, "n 450"], num_frames: int) -> Float[np.ndarray, "run 450"]:
    """The features of the run around the middle; at an end of a short episode, its last frame again."""
    wanted = (num_frames - 1) // 2 + np.arange(RUN) - RUN // 2
    at = [int(np.abs(sketch.frames - frame).argmin()) for frame in wanted]
    return features[at]


def _match(
    a: Sketch, b: Sketch, features_a: Float[np.ndarray, "n 450"], features_b: Float[np.ndarray, "m 450"]
) -> _Match | None:
    """The lag at which the two agree best, if they agree in every frame that they then share."""
    best: _Match | None = None
    for lag in range(-MAX_CUT, MAX_CUT + 1):
        _, in_a, in_b = np.intersect1d(a.frames, b.frames + lag, assume_unique=True, return_indices=True)
        if 2 * len(in_a) <= min(len(a.frames), len(b.frames)):  # too few to tell
            continue
        distance = float(1 - (features_a[in_a] * features_b[in_b]).sum(axis=1).min())
        if distance <= MAX_DISTANCE and (best is None or distance < best.distance):
            best = _Match(lag, max(distance, 0.0))
    return best


def _same_actions(a: Episode, b: Episode, lag: int) -> bool:
    low, high = max(lag, 0), min(a.num_frames, b.num_frames + lag)  # in A's frames
    return bool(np.abs(a.actions[low:high] - b.actions[low - lag : high - lag]).max() <= SAME_ACTION)


def _differ_in(among: Sequence[Episode]) -> tuple[str, ...]:
    """Among known values. `session` is no claim about the content: a copy may well bear another date."""
    names = sorted({name for episode in among for name in episode.labels} - {"session"})
    differing = [name for name in names if len({episode.label(name) for episode in among} - {UNKNOWN}) > 1]
    return (*differing, *(["instruction"] if len({episode.instruction for episode in among}) > 1 else []))
