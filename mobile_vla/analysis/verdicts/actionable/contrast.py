"""Where an expert would go when told something else, and how far a policy moves that way: sums over all episodes.

In: mean chunks of each episode by progress bin, what each was asked for, and how the policy's chunks moved when it was
told something else. Out: for each way from one meaning to another, numerator and denominator of F, of all episodes or
without some of them.

With D_e how the chunk of episode e moved, and d_-e the mean chunk of those asked for the other meaning less the mean
chunk of those asked for the same, without e:

    numerator    mean over e of <D_e, d_-e>
    denominator  sum over both meanings of the mean over i != j of <x_i, x_j>, less 2 <mean x_0, mean x_1>

Both products are of different episodes, so that what one driver happened to do is in neither twice: the denominator's
mean is |d|^2 of the true means, where |d_-e|^2 would be too large by the experts' errors, and F too small.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

FEWEST_KNOWN = 3  # episodes of a meaning that have a number: with one left out, two still make a pair


@dataclass(frozen=True, kw_only=True, eq=False)
class Moves:
    """How the policy's mean chunk by bin moved, NaN where unknown: of an episode towards another meaning."""

    episode: Int[np.ndarray, " L"]
    there: Int[np.ndarray, " L"]
    moved: Float[np.ndarray, "L M"]

    def __len__(self) -> int:
        return len(self.episode)


class Contrast:
    """courses  (E, M) what experts did by bin, NaN where unknown;  asked  (E,) code of what each was asked for
    ways        (from, to) of each way that moves take and for which episodes are known;  weights  moves of each
    """

    def __init__(self, courses: Float[np.ndarray, "E M"], asked: Int[np.ndarray, " E"], moves: Moves):
        self.asked, self.moves = asked, moves
        self.known = np.isfinite(courses)
        self.courses = np.where(self.known, courses, 0.0)
        self.moved_known = np.isfinite(moves.moved)
        self.moved = np.where(self.moved_known, moves.moved, 0.0)
        self.entries: dict[tuple[int, int], Bool[np.ndarray, " M"]] = {}
        self.taking: dict[tuple[int, int], Bool[np.ndarray, " L"]] = {}
        here = asked[moves.episode]
        for way in sorted(set(zip(here.tolist(), moves.there.tolist(), strict=True))):
            if way[0] == way[1] or way[1] < 0:
                continue
            enough = [self.known[asked == code].sum(axis=0) >= FEWEST_KNOWN for code in way]
            taking = (here == way[0]) & (moves.there == way[1])
            entries = enough[0] & enough[1] & (self.moved_known[taking].sum(axis=0) >= 2)
            if entries.any():
                self.entries[way], self.taking[way] = entries, taking
        self.ways = list(self.entries)
        self.weights = np.array([self.taking[way].sum() for way in self.ways], float)

    @property
    def episodes(self) -> Int[np.ndarray, " n"]:
        """Indices of those whose moves count."""
        taken = [self.moves.episode[self.taking[way]] for way in self.ways]
        return np.unique(np.concatenate(taken)) if taken else np.array([], int)

    @property
    def relevant(self) -> Int[np.ndarray, " n"]:
        """Indices of episodes that F depends on: whose moves count, or who were experts of a meaning on a way."""
        return np.flatnonzero(np.isin(self.asked, np.array(self.ways, int).reshape(-1)))

    def towards(self, code: int) -> Int[np.ndarray, " n"]:
        """Indices of the ways to this meaning."""
        return np.array([place for place, way in enumerate(self.ways) if way[1] == code], int)

    def sums(self, keep: Bool[np.ndarray, " E"]) -> Float[np.ndarray, "ways 2"]:
        """Numerator and denominator of each way, times its weight, of the episodes that are kept."""
        return np.array([self._way(way, keep) for way in self.ways]).reshape(-1, 2) * self.weights[:, None]

    def _way(self, way: tuple[int, int], keep: Bool[np.ndarray, " E"]) -> tuple[float, float]:
        entries = self.entries[way]
        totals, counts, squares = [], [], []
        for code in way:
            members = (self.asked == code) & keep
            values = self.courses[members][:, entries]
            totals.append(values.sum(axis=0))
            counts.append(self.known[members][:, entries].sum(axis=0))
            squares.append((values**2).sum(axis=0))
        taking = self.taking[way] & keep[self.moves.episode]
        who = self.moves.episode[taking]
        own, count = (part[who][:, entries] for part in (self.courses, self.known))
        other = totals[1] / np.maximum(counts[1], 1) - (totals[0] - own) / np.maximum(counts[0] - count, 1)
        along = (self.moved[taking][:, entries] * other).sum(axis=0)
        moved = self.moved_known[taking][:, entries].sum(axis=0)
        between = sum((t**2 - s) / np.maximum(n * (n - 1), 1) for t, s, n in zip(totals, squares, counts, strict=True))
        means = [total / np.maximum(count, 1) for total, count in zip(totals, counts, strict=True)]
        length = between - 2 * means[0] * means[1]
        return float((along / np.maximum(moved, 1)).sum()), float(length.sum())
