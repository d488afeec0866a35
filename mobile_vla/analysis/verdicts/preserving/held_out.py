"""Errors of ridge fits on held-out episodes, over many deals of the folds, from a single eigendecomposition.

In: inner products of the rows, the columns that are fitted without a penalty, deals of folds. Out: squared errors by
episode, with the vectors and without them, of any number of versions of the targets.

With P the projection on the free columns, H the ridge's hat matrix and Q = I - P - H, what a fit without the rows F
leaves of them is

    e_F = Q_FF^-1 (Q Y)_F                   (Cook and Weisberg 1982, for blocks)

and e0_F, without the ridge, the same with I - P. So a deal of the folds costs the inverse of five blocks, and permuted
targets are further columns of Y. What the vectors add, d = e0 - e, is then scaled by a slope from 0 to 1: the error is
|e0 - slope d|^2. With fewer episodes than dimensions a ridge that keeps the direction of a weak code overshoots, and
one that does not overshoot loses it. In contexts of 2,048 equal dimensions, 40 episodes, a code that reaches R^2 = .11
with slopes reaches .03 without, and is found (p <= .05) in 93 % instead of 45 % of cases.

Penalty and slope of a held-out fold are those that have the least error on the episodes that are not in the fold, each
held out in its turn, over all deals: an episode's own error never chooses how it is predicted.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mobile_vla.analysis.verdicts.folds import blocks_of
from mobile_vla.analysis.verdicts.preserving.ridge import FREELY, KEPT, orthonormal

PENALTIES = (0.003, 0.02, 0.1, 0.5, 3.0)  # of the mean squared length of what is left of the vectors
NOTHING = 1e-10  # of the vectors' mean squared length: less is left by rounding
MOST_LEVERAGE = 3.0  # of a baseline's prediction: its variance, in that of a row
REMEMBERED = 24 * 2**20  # bytes of inverses that are kept: as many deals as that allows test permuted targets
FEWEST_TESTED = 2  # deals, however large the sample
TINY = np.finfo(np.float64).tiny


class Errors(NamedTuple):
    """sse, base  (E, K) sums of squared errors by episode and version, mean over the deals: with the vectors, and
    of the baseline"""

    sse: Float[np.ndarray, "E K"]
    base: Float[np.ndarray, "E K"]

    @property
    def r2(self) -> Float[np.ndarray, " K"]:
        base = self.base.sum(axis=0)
        return 1 - self.sse.sum(axis=0) / np.where(base > 0, base, np.inf)


class Products(NamedTuple):
    """Sums over the rows of an episode, (P, deals, E, K) by penalty, deal, episode and version; `base` without P.

    base  |e0|^2;  cross  <e0, d>;  gain  |d|^2
    """

    base: Float[np.ndarray, "deals E K"]
    cross: Float[np.ndarray, "P deals E K"]
    gain: Float[np.ndarray, "P deals E K"]


class Chosen(NamedTuple):
    """By fold and version: penalty, a place in `PENALTIES`, and slope."""

    penalty: Int[np.ndarray, "folds K"]
    slope: Float[np.ndarray, "folds K"]


class Held(NamedTuple):
    """Rows of one fold of a deal, with what is needed of the baseline there.

    scored  whether the baseline can be fitted to a row without the fold;  inverse  of (I - P)_FF
    firsts  where each episode's rows begin;  episodes  which these are
    """

    deal: int
    rows: Int[np.ndarray, " n"]
    scored: Bool[np.ndarray, " n"]
    inverse: Float[np.ndarray, "n n"]
    firsts: Int[np.ndarray, " e"]
    episodes: Int[np.ndarray, " e"]

    def sum(self, values: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "e ..."]:
        """By episode."""
        return np.add.reduceat(values, self.firsts, axis=0)


class HeldOut:
    """values: (N, D) vectors;  free: (N, Q) columns fitted without penalty;  episode: (N,) sorted;
    deals: folds of the episodes."""

    def __init__(
        self,
        values: Float[np.ndarray, "N D"],
        free: Float[np.ndarray, "N Q"],
        episode: Int[np.ndarray, " N"],
        deals: Sequence[Int[np.ndarray, " E"]],
    ):
        self.episode, self.num_episodes = episode, len(deals[0])
        self.basis = orthonormal(free)
        kernel = values @ values.T
        whole = max(np.trace(kernel), np.finfo(np.float64).tiny)
        kernel = self.remove_free(self.remove_free(kernel).T)
        left = np.trace(kernel)
        # Penalties are in units of what is left of the vectors: most of a context may be progress and text.
        self.scale = 1 / np.sqrt(left / len(values)) if left > NOTHING * whole else 0.0
        variances, vectors = np.linalg.eigh(self.scale**2 * (kernel + kernel.T) / 2)
        kept = variances > KEPT * max(variances[-1], np.finfo(np.float64).tiny)
        self.variances, self.vectors = variances[kept], vectors[:, kept]
        self.folds = [self._hold(deal, rows) for deal, folds in enumerate(deals) for rows in blocks_of(folds, episode)]
        self.num_deals = len(deals)
        one = 8 * len(PENALTIES) * sum(fold.inverse.size for fold in self.folds) / len(deals)  # bytes of a deal
        self.num_tested = int(np.clip(REMEMBERED / one, min(FEWEST_TESTED, len(deals)), len(deals)))
        self._inverses: dict[tuple[int, int], np.ndarray] = {}

    def remove_free(self, columns: np.ndarray) -> np.ndarray:
        """(I - P) columns."""
        return columns - self.basis @ (self.basis.T @ columns)

    @cached_property
    def plain(self) -> Float[np.ndarray, "N N"]:
        """I - P, of which a trace is left, so that it can be solved with where rows have columns of their own."""
        return np.eye(len(self.basis)) - FREELY * (self.basis @ self.basis.T)

    @cached_property
    def makers(self) -> list[Float[np.ndarray, "N N"]]:
        """Q of each penalty."""
        found = []
        for penalty in PENALTIES:
            root = self.vectors * np.sqrt(self.variances / (self.variances + penalty))
            found.append(self.plain - root @ root.T)
        return found

    def inverse(self, penalty: int, fold: int) -> Float[np.ndarray, "n n"]:
        """Of Q_FF, for the folds of the tested deals."""
        found = self._inverses.get((penalty, fold))
        if found is None:
            rows = self.folds[fold].rows
            found = self._inverses[penalty, fold] = np.linalg.inv(self.makers[penalty][np.ix_(rows, rows)])
        return found

    def solve(self, penalty: int, fold: int, left: Float[np.ndarray, "N k"]) -> Float[np.ndarray, "n k"]:
        """Q_FF^-1 (Q Y)_F;  left: Q Y."""
        rows = self.folds[fold].rows
        if self.folds[fold].deal < self.num_tested:
            return self.inverse(penalty, fold) @ left[rows]
        return np.linalg.solve(self.makers[penalty][np.ix_(rows, rows)], left[rows])

    def score(
        self,
        targets: Float[np.ndarray, "N K M"],
        known: Bool[np.ndarray, "N K M"] | None = None,
        *,
        tested: bool = False,
    ) -> tuple[Errors, Chosen]:
        """known: entries that count, None for all;  tested: over `num_tested` deals only."""
        flat = targets.reshape(len(targets), -1)
        versions, width = targets.shape[1:]
        seen = None if known is None or known.all() else known.reshape(len(flat), -1)
        deals = self.num_tested if tested else self.num_deals
        folds = [fold for fold in self.folds if fold.deal < deals]
        sums = Products(
            np.zeros((deals, self.num_episodes, versions)),
            *(np.zeros((len(PENALTIES), deals, self.num_episodes, versions)) for _ in range(2)),
        )
        plain = self.plain @ flat
        counted = [self._counted(fold, seen) for fold in folds]
        bases = [fold.inverse @ plain[fold.rows] * count for fold, count in zip(folds, counted, strict=True)]
        for fold, base in zip(folds, bases, strict=True):
            sums.base[fold.deal, fold.episodes] = fold.sum(base**2).reshape(-1, versions, width).sum(axis=2)
        for number, maker in enumerate(self.makers):
            left = maker @ flat
            for place, (fold, base, count) in enumerate(zip(folds, bases, counted, strict=True)):
                gained = base - self.solve(number, place, left) * count
                for total, one in ((sums.cross, base * gained), (sums.gain, gained**2)):
                    total[number, fold.deal, fold.episodes] = fold.sum(one).reshape(-1, versions, width).sum(axis=2)
        return choose(sums, folds)

    def by_entry(
        self, targets: Float[np.ndarray, "N M"], known: Bool[np.ndarray, "N M"], chosen: Chosen
    ) -> tuple[Float[np.ndarray, "N M"], Float[np.ndarray, "N M"]]:
        """Squared errors of every entry at the chosen penalties and slopes, and of the baseline; means over the
        deals."""
        errors, bases = np.zeros_like(targets), np.zeros_like(targets)
        plain = self.plain @ targets
        for number, maker in enumerate(self.makers):
            places = np.flatnonzero(chosen.penalty[:, 0] == number)
            left = maker @ targets if len(places) else targets
            for place in places.tolist():
                fold, slope = self.folds[place], chosen.slope[place, 0]
                base = fold.inverse @ plain[fold.rows]
                error = base * (1 - slope) + slope * self.solve(number, place, left)
                for total, one in ((errors, error), (bases, base)):
                    total[fold.rows] += np.where(fold.scored[:, None], one, 0.0) ** 2
        return np.where(known, errors, 0.0) / self.num_deals, np.where(known, bases, 0.0) / self.num_deals

    def _hold(self, deal: int, rows: Int[np.ndarray, " n"]) -> Held:
        inverse = np.linalg.inv(self.plain[np.ix_(rows, rows)])
        firsts = np.flatnonzero(np.diff(self.episode[rows], prepend=-1))
        # The diagonal is 1 + the variance of a prediction by a fit without the fold; it is large where no training
        # episode has the row's text, or none near its progress.
        scored = np.diag(inverse) - 1 <= MOST_LEVERAGE
        return Held(deal, rows, scored, inverse, firsts, self.episode[rows][firsts])

    def _counted(self, fold: Held, seen: Bool[np.ndarray, "N KM"] | None) -> np.ndarray | float:
        """1 for what counts and 0 for the rest; a number where all counts."""
        if seen is None:
            return 1.0 if fold.scored.all() else fold.scored[:, None].astype(float)
        return (seen[fold.rows] & fold.scored[:, None]).astype(float)


def choose(sums: Products, folds: Sequence[Held]) -> tuple[Errors, Chosen]:
    """The errors with the penalty and slope of each fold and version that do best on the episodes outside it."""
    deals = len(sums.base)
    base, cross, gain = sums.base.mean(axis=0), sums.cross.mean(axis=1), sums.gain.mean(axis=1)
    crosses, gains = cross.sum(axis=1), gain.sum(axis=1)  # (P, K)
    sse = np.zeros(base.shape)
    penalty = np.empty((len(folds), base.shape[1]), int)
    slope = np.empty(penalty.shape)
    for place, fold in enumerate(folds):
        among = fold.episodes
        one, other = crosses - cross[:, among].sum(axis=1), gains - gain[:, among].sum(axis=1)
        slopes = np.clip(one / np.maximum(other, TINY), 0, 1)
        best = (slopes**2 * other - 2 * slopes * one).argmin(axis=0)[None]
        penalty[place], slope[place] = best[0], np.take_along_axis(slopes, best, axis=0)[0]
        crossed, gained = (
            np.take_along_axis(total[:, fold.deal, among], best[:, None], axis=0)[0]
            for total in (sums.cross, sums.gain)
        )
        sse[among] += sums.base[fold.deal, among] - 2 * slope[place] * crossed + slope[place] ** 2 * gained
    return Errors(sse / deals, base), Chosen(penalty, slope)
