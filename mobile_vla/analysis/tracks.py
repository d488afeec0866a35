"""Episodes whose vectors run along one track: one recording, stored again with noise, later begun or cut short.

In: the rows of each episode in their order, as vectors and perhaps recorded actions. Out: links between episodes.

With every dimension scaled by its standard deviation over all rows, each row of the shorter of two episodes is matched
with the nearest row of the other, and

    n_ij  the smaller of the two directed medians, over the rows of one, of the distance to the other's nearest row
    m_ij  the length of the mean difference of matched rows
    s_i   the median step from one row of episode i to its next
    r_i   the median, over the rows of episode i, of the distance to its nearest row that is no neighbour, beyond a
          straight course

i and j are one recording where m_ij < .25 median(distance of two episodes' means), n_ij < min(s_i, s_j) and n_ij < .9
max(r_i, r_j). Episodes are linked one by one (single linkage).

 - m is of matched rows: with all rows, a recording that is begun three frames later or cut by 30 % has another mean as
   soon as its contexts follow progress (simulated: 10 x 4 copies found in 31 and 46 of 60, not in all).
 - n below r asks for the same details, not only for the same place: of contexts that hold a text or a scene and little
   else, all episodes of one text would otherwise be one recording (simulated: 86 of 192 stores, with it 0 of 60). Noise
   of 10 % can hide the details of a true copy, too: where no actions are recorded, which would differ between
   recordings, the bound is 1.05, and such a copy is found at the price of recordings whose rows are white noise.
 - In fewer than three effective dimensions of the means, (sum l)^2 / sum l^2, strangers come near by chance. There
   links count only if wider bounds find the same ones, as they do where few recordings are stored often.
 - Episodes whose contents are known are not looked at: equal ones are linked by that, and others are not one file.
 - Where actions are recorded, most matched rows must hold the same chunk: a recording that is stored again has its own
   actions, and contexts alone do not tell two drives of one scene apart (of 40 validation episodes of a fine-tuned
   policy they left 17).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from mobile_vla.analysis.copies import Clusters
from mobile_vla.contexts.vectors import spread

NEAR_MEANS, NEAR_STEP = 0.25, 1.0  # bounds of m and n / s
NEAR_DETAIL, NEAR_DETAIL_ALONE = 0.9, 1.05  # bound of n / r; where no actions are recorded
WIDER = (2.0, 1.25, 1.25)  # times these, for links that must not depend on them
CANDIDATE = 0.75  # of the median distance of means: pairs farther apart are not looked at
LEAST_EFFECTIVE = 3.0  # dimensions of the means
SAME_ACTIONS, ROUNDING = 0.5, 1e-2  # share of matched rows with the same chunk; standard deviations of an action
MOST_LATER = 4  # frames that a copy may be begun later by: a chunk is compared with what it overlaps
APART = 0.3  # of an episode's rows: those of it that are no neighbours
MOST_DIMENSIONS, MOST_ROWS, LEAST_ROWS = 2048, 40, 5  # rows of an episode
LEAST_WIDTH = 128  # dimensions that distances are measured in, however many pairs there are
MOST_VALUES = 2**25  # that are held at once
MOST_EPISODES, MOST_PAIRS = 10_000, 5_000  # more episodes are not looked at; of more pairs the nearest are
MOST_STEPS = 5e9  # multiplications, about, of screening and of measuring pairs

Read = Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n D"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """vectors  (N, d) scaled, sorted by episode and frame;  means  (E, d);  bounds  (E + 1,) of each episode's rows
    actions  (N, C, A) in standard deviations, NaN where unknown
    """

    vectors: Float[np.ndarray, "N d"]
    means: Float[np.ndarray, "E d"]
    bounds: Int[np.ndarray, " E_and_1"]
    actions: Float[np.ndarray, "N C A"] | None

    @cached_property
    def squares(self) -> Float[np.ndarray, " N"]:
        return np.einsum("nd,nd->n", self.vectors, self.vectors)

    @cached_property
    def step(self) -> Float[np.ndarray, " E"]:
        """s: 0 where there is one row only."""
        return np.array([_median_step(self.vectors[self.rows(episode)]) for episode in range(len(self.means))])

    @cached_property
    def detail(self) -> Float[np.ndarray, " E"]:
        """r: 0 where a straight course goes through all rows."""
        return np.array([_detail(self.vectors[self.rows(episode)]) for episode in range(len(self.means))])

    def thin(self, most: float) -> "Tracks":
        """With so many dimensions at most, an even sample."""
        width = self.vectors.shape[1]
        if width <= most:
            return self
        return replace(self, vectors=self.vectors[:, spread(width, max(int(most), LEAST_WIDTH))])

    def rows(self, episode: int) -> slice:
        return slice(self.bounds[episode], self.bounds[episode + 1])


def link_one_track(
    clusters: Clusters,
    read: Read,
    width: int,
    rows: Sequence[np.ndarray],
    actions: Float[np.ndarray, "N C A"] | None,
    contents: Sequence[str | None],
) -> None:
    """Link episodes that are one recording.

    read  gives the vectors of rows of the store;  width  of a vector;  rows  of the store, of each episode in order
    actions  of all rows of the store;  contents  fingerprint of each episode's frames and actions, where it is known
    """
    if not 2 < len(rows) <= MOST_EPISODES:
        return
    tracks = _lay_tracks(read, width, rows, actions)
    if not tracks.vectors.size:
        return
    usual, near = _list_near_means(tracks.means)
    pairs = [(one, other) for one, other in near if contents[one] is None or contents[other] is None]
    tracks = tracks.thin(MOST_STEPS / max(len(pairs) * (len(tracks.vectors) / len(rows)) ** 2, 1))
    usual *= math.sqrt(tracks.vectors.shape[1] / tracks.means.shape[1])
    found = _link(tracks, pairs, usual)
    if (
        _count_effective(tracks.means) < LEAST_EFFECTIVE
        and found.members() != _link(tracks, pairs, usual, WIDER).members()
    ):
        return
    for members in found.members():
        for other in members[1:]:
            clusters.link(members[0], other)


def _link(
    tracks: Tracks, pairs: Sequence[tuple[int, int]], usual: float, wider: Sequence[float] = (1, 1, 1)
) -> Clusters:
    found = Clusters(len(tracks.means))
    for one, other in pairs:
        if found.first(one) != found.first(other) and _are_one(tracks, one, other, usual, wider):
            found.link(one, other)
    return found


def _lay_tracks(read: Read, width: int, rows: Sequence[np.ndarray], actions: np.ndarray | None) -> Tracks:
    number = len(rows)
    most = int(np.clip(MOST_VALUES // (number * min(width, MOST_DIMENSIONS)), LEAST_ROWS, MOST_ROWS))
    thin = [of[spread(len(of), most)] for of in rows]
    bounds = np.concatenate([[0], np.cumsum([len(of) for of in thin])])
    columns = spread(width, max(min(MOST_DIMENSIONS, MOST_VALUES // int(bounds[-1])), 1))
    flat = np.concatenate(thin)
    vectors = np.empty((len(flat), len(columns)), np.float32)
    at_once = max(1, MOST_VALUES // 8 // width)
    for start in range(0, len(flat), at_once):
        vectors[start : start + at_once] = read(flat[start : start + at_once])[:, columns]
    middle = vectors.mean(axis=0, dtype=np.float64)
    vectors -= middle.astype(np.float32)
    sd = np.sqrt(np.einsum("nd,nd->d", vectors, vectors) / len(flat))
    vectors = vectors[:, sd > 0] / sd[sd > 0]
    means = np.add.reduceat(vectors, bounds[:-1], axis=0) / np.diff(bounds)[:, None]
    return Tracks(
        vectors=vectors,
        means=means,
        bounds=bounds,
        actions=None if actions is None else _scale_actions(actions[flat]),
    )


def _scale_actions(chunks: Float[np.ndarray, "N C A"]) -> Float[np.ndarray, "N C A"] | None:
    flat = chunks.reshape(len(chunks), -1).astype(np.float64)
    known = np.isfinite(flat)
    count = np.maximum(known.sum(axis=0), 1)
    middle = np.where(known, flat, 0).sum(axis=0) / count
    sd = np.sqrt((np.where(known, flat - middle, 0) ** 2).sum(axis=0) / count)
    scaled = (flat - middle) / np.where(sd > 0, sd, 1)
    return scaled.reshape(chunks.shape) if (sd > 0).any() else None


def _count_effective(means: Float[np.ndarray, "E d"]) -> float:
    few = means[spread(len(means), 500)]
    centred = (few - few.mean(axis=0)).astype(np.float64)
    gram = centred @ centred.T
    power = float((gram**2).sum())
    return float(np.trace(gram) ** 2 / power) if power > 0 else 0.0


def _list_near_means(means: Float[np.ndarray, "E d"]) -> tuple[float, list[tuple[int, int]]]:
    """The median distance of two, and pairs of episodes that are nearer, the nearest first."""
    number, width = means.shape
    few = means[:, spread(width, int(np.clip(MOST_STEPS / number**2, min(LEAST_WIDTH, width), width)))]
    some = few[spread(number, 500)]
    usual = float(np.median(_distances(some, some)[np.triu_indices(len(some), k=1)]))
    near, place = np.empty(0), np.empty((0, 2), int)
    for start in range(0, number, 512):
        apart = _distances(few[start : start + 512], few)
        found = np.argwhere(np.triu(apart < CANDIDATE * usual, k=start + 1))
        near = np.concatenate([near, apart[found[:, 0], found[:, 1]]])
        place = np.concatenate([place, found + np.array([start, 0])])
        kept = np.argsort(near, kind="stable")[:MOST_PAIRS]
        near, place = near[kept], place[kept]
    return usual * math.sqrt(width / few.shape[1]), [(one, other) for one, other in place.tolist()]


def _distances(left: Float[np.ndarray, "n d"], right: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    return np.sqrt(np.maximum(squares, 0))


def _are_one(tracks: Tracks, one: int, other: int, usual: float, wider: Sequence[float]) -> bool:
    """wider: times the bounds of m, n / s and n / r"""
    detail = NEAR_DETAIL_ALONE if tracks.actions is None else NEAR_DETAIL
    limit = min(
        NEAR_STEP * wider[1] * min(tracks.step[one], tracks.step[other]),
        detail * wider[2] * max(tracks.detail[one], tracks.detail[other]),
    )
    if not limit > 0:
        return False
    here, there = tracks.rows(one), tracks.rows(other)
    squares = tracks.squares[here][:, None] + tracks.squares[there][None, :]
    apart = np.sqrt(np.maximum(squares - 2 * tracks.vectors[here] @ tracks.vectors[there].T, 0))
    nearest = apart.min(axis=1), apart.min(axis=0)
    if not min(np.median(nearest[0]), np.median(nearest[1])) < limit:
        return False
    rows = np.arange(here.start, here.stop), np.arange(there.start, there.stop)
    if nearest[0].mean() <= nearest[1].mean():
        matched = rows[0], rows[1][apart.argmin(axis=1)]
    else:
        matched = rows[0][apart.argmin(axis=0)], rows[1]
    off = (tracks.vectors[matched[0]] - tracks.vectors[matched[1]]).mean(axis=0)
    return bool(np.linalg.norm(off) < NEAR_MEANS * wider[0] * usual) and _act_alike(tracks, matched)


def _act_alike(tracks: Tracks, matched: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether most matched rows hold the same chunk, up to the frames that one copy was begun later. True too where no
    actions are known of the two."""
    if tracks.actions is None:
        return True
    here, there = tracks.actions[matched[0]], tracks.actions[matched[1]]
    known = np.isfinite(here).any(axis=(1, 2)) & np.isfinite(there).any(axis=(1, 2))
    if not known.any():
        return True
    here, there = here[known], there[known]
    away = range(min(MOST_LATER, here.shape[1] - 1) + 1)
    aligned = [(here[:, by:], there[:, : there.shape[1] - by]) for by in away]
    aligned += [(one[:, : one.shape[1] - by], other[:, by:]) for by in away for one, other in [(here, there)]]
    same = np.stack([_are_same(one, other) for one, other in aligned]).any(axis=0)
    return bool(same.mean() >= SAME_ACTIONS)


def _are_same(left: Float[np.ndarray, "n C A"], right: Float[np.ndarray, "n C A"]) -> Bool[np.ndarray, " n"]:
    """Of each row, whether all that is known of both is the same."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(left - right)
    known = np.isfinite(apart)
    return known.any(axis=(1, 2)) & (np.where(known, apart, 0) < ROUNDING).all(axis=(1, 2))


def _median_step(track: Float[np.ndarray, "n d"]) -> float:
    return float(np.median(np.sqrt((np.diff(track, axis=0) ** 2).sum(axis=1)))) if len(track) > 1 else 0.0


def _detail(track: Float[np.ndarray, "n d"]) -> float:
    number = len(track)
    if number < 4:
        return 0.0
    at = np.linspace(-1, 1, number, dtype=np.float32)
    left = track - track.mean(axis=0)
    left -= at[:, None] * (at @ left / (at @ at))
    apart = _distances(left, left)
    apart[np.abs(np.subtract.outer(np.arange(number), np.arange(number))) < max(1, round(APART * number))] = np.inf
    nearest = apart.min(axis=1)
    return float(np.median(nearest[np.isfinite(nearest)])) * math.sqrt((number - 1) / (number - 2))
