"""What a "no" is worth: codes of the actions that are planted into the contexts, and how many of them would be missed.

In: a held-out fit, permuted chunks, the observed R^2. Out: a `Sensitivity`.

A code is transplanted: along a random unit direction u the contexts' own part X u is replaced by

    t (sqrt(r) a + sqrt(1 - r) X u / sd(X u)),

a the first principal component(s) of permuted chunks, standardised, t the direction's spread, r the share of its
variance that is the code. Nothing else changes, the noise is the contexts' own, and a fit of the transplanted contexts
is one of rank 2 away from the fit of the contexts:

    Q' = Q - C W C',  C = M B,  W = penalty (G^-1 + B' M B)^-1,  M = (K + penalty)^-1,  B = [X u, new],
    G = diag(-1, 1).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mobile_vla.analysis.verdicts.preserving.held_out import PENALTIES, HeldOut, Products, choose
from mobile_vla.core.levels import ALPHA

SHARES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999)  # of the direction's variance that are the code
CLEAN = 0.8  # share of a code of two standard deviations: 4 / (4 + 1)
FADING = 2**0.5  # factor between two spreads of the grid
MOST_FADED = 20
ENOUGH = 0.5  # of the chunks' variance: as many components are planted as hold it, each along a direction of its own
# On p_no: real codes are missed more often than planted ones of the same mean R^2, since they share the spectrum of the
# contexts around them. With 40 episodes and a code of mean R^2 .116 along the top direction of a power-law spectrum,
# a no came in 11 % of stores by the typical spread alone, in 7 % by the worse of both, and in 3 % with this factor.
CAUTION = 2.0
DEALS = 5  # at most, of the folds


class Sensitivity(NamedTuple):
    """p_no        share of the contexts with a code that a probe finds at the margin, in which it found no more than it
                   did;  half, double  likewise at half and at double the margin
    share         of the direction's variance that this code is, None where even a pure one is not found at the margin
    smallest      spread along a direction, in units of the contexts' root mean square norm, down to which codes of two
                  standard deviations would have been detected; None where none would
    typical       spread along a random direction
    """

    p_no: float
    half: float
    double: float
    share: float | None
    smallest: float | None
    typical: float


def find_sensitivity(
    held: HeldOut,
    values: Float[np.ndarray, "N D"],
    planted: Float[np.ndarray, "N S k"],
    there: Bool[np.ndarray, "N S k"],
    observed: float,
    margin: float,
    seed: int,
) -> Sensitivity:
    """planted: the leading components of chunks, permuted, a version a spike;  there: what of them counts."""
    rng = np.random.default_rng([seed, 3])
    plants = Plants(held, values, planted, there, rng)
    typical = float(plants.spreads.mean())
    widest = np.full_like(plants.spreads, np.sqrt(held.variances[-1] / len(values)))
    p_of = dict.fromkeys((0.5, 1.0, 2.0), 0.0)
    share = None
    for spreads in (widest, plants.spreads):
        found = np.stack([plants.r2(spreads, share) for share in SHARES], axis=1)  # (S, shares)
        levels = found.mean(axis=0)
        for factor in p_of:
            at = _place(levels, factor * margin)
            if at is None:
                p_of[factor] = 1.0
                continue
            low, part = at
            scores = found[:, low] * (1 - part) + found[:, low + 1] * part
            p_of[factor] = max(p_of[factor], _doubted(scores, observed))
            if factor == 1.0:
                share = float(SHARES[low] * (1 - part) + SHARES[low + 1] * part)
    smallest = None
    for step in range(MOST_FADED):
        spread = FADING**-step
        if _missed(plants.r2(np.full_like(plants.spreads, spread), CLEAN), observed) > ALPHA:
            break
        smallest = spread
    # Whoever could miss a code could miss a weaker one.
    p_no = max(p_of[1.0], p_of[2.0])
    return Sensitivity(p_no, max(p_of[0.5], p_no), p_of[2.0], share, smallest, typical)


def _missed(scores: Float[np.ndarray, " S"], observed: float) -> float:
    return (1 + int((scores <= observed).sum())) / (len(scores) + 1)


def _doubted(scores: Float[np.ndarray, " S"], observed: float) -> float:
    return min(1.0, CAUTION * _missed(scores, observed))


def _place(levels: Float[np.ndarray, " L"], level: float) -> tuple[int, float] | None:
    """Between which two of the rising levels, and how far from the lower one; None above all of them."""
    above = np.flatnonzero(levels >= level)
    if not len(above):
        return None
    high = max(int(above[0]), 1)
    low = high - 1
    step = levels[high] - levels[low]
    return low, float(np.clip((level - levels[low]) / step, 0, 1)) if step > 0 else 0.0


class Plants:
    """Transplants along q random directions of each spike, of any spread and share; what does not depend on those is
    done once. Of every penalty and fold, with U = Q_FF^-1 C_F and e = Q_FF^-1 (Q Y)_F:

        e' = e + U v,   v = -W c + (W^-1 - C_F' U)^-1 (C_F' e - C_F' U W c),   c = C' Y

    so that sums of products by episode need only the inner products of U with e0 and with d = e0 - e there.

    directions  (S, D, q);  spreads  (S, q) of the contexts along them
    """

    def __init__(
        self, held: HeldOut, values: np.ndarray, planted: np.ndarray, there: np.ndarray, rng: np.random.Generator
    ):
        self.held = held
        count, variances = planted.shape[1], (planted**2).mean(axis=(0, 1))
        wanted = int(np.searchsorted(variances.cumsum(), ENOUGH * variances.sum()) + 1)
        num = min(wanted, values.shape[1], planted.shape[2])
        self.directions = _draw_directions(values.shape[1], count, num, rng)
        along = values @ np.moveaxis(self.directions, 0, 1).reshape(values.shape[1], -1)  # (N, S q)
        along = held.scale * held.remove_free(along)
        codes = planted[:, :, :num].reshape(len(planted), -1)
        codes = held.remove_free(codes / np.maximum(codes.std(axis=0), 1e-12))
        self.spreads = along.std(axis=0).reshape(count, num)
        self.deals = min(held.num_tested, DEALS)
        self.folds = [fold for fold in held.folds if fold.deal < self.deals]
        columns = np.concatenate([along.reshape(-1, count, num), codes.reshape(-1, count, num)], axis=2)  # (N, S, 2q)
        flat, targets = columns.reshape(len(columns), -1), planted.reshape(len(planted), -1)
        wide, deep = 2 * num, planted.shape[2]
        self.inner = np.empty((len(PENALTIES), count, wide, wide))  # B' M B
        self.cross = np.empty((len(PENALTIES), count, wide, deep))  # C' Y
        shape = len(PENALTIES), len(self.folds)
        self.own = np.empty((*shape, count, wide, wide))  # C_F' U
        self.along = np.empty((*shape, count, wide, deep))  # C_F' e
        most = max(len(fold.episodes) for fold in self.folds)
        self.cross_own = np.zeros((*shape, most, count))  # <e0, d>
        self.gain_own = np.zeros((*shape, most, count))  # |d|^2
        self.cross_moved = np.zeros((*shape, most, count, wide, deep))  # U' e0
        self.gain_moved = np.zeros((*shape, most, count, wide, deep))  # U' d
        self.grams = np.zeros((*shape, most, count, wide, wide))  # U' U
        self.base = np.zeros((self.deals, held.num_episodes, count))
        plain = held.plain @ targets
        bases = []
        for fold in self.folds:
            counted = there[fold.rows, :, :1] & fold.scored[:, None, None]
            bases.append((fold.inverse @ plain[fold.rows]).reshape(-1, count, deep) * counted)
            self.base[fold.deal, fold.episodes] = fold.sum((bases[-1] ** 2).sum(axis=2))
        for number, (penalty, maker) in enumerate(zip(PENALTIES, held.makers, strict=True)):
            solved = (maker @ flat / penalty).reshape(columns.shape)  # C
            left = maker @ targets
            self.inner[number] = _by_spike(columns, solved)
            self.cross[number] = _by_spike(solved, planted)
            for place, (fold, base) in enumerate(zip(self.folds, bases, strict=True)):
                of_fold = solved[fold.rows]  # (n, S, 2q)
                reach = held.solve(number, place, solved.reshape(len(solved), -1)).reshape(of_fold.shape)  # U
                errors = held.solve(number, place, left).reshape(base.shape)  # e
                self.own[number, place] = _by_spike(of_fold, reach)
                self.along[number, place] = _by_spike(of_fold, errors)
                counted = there[fold.rows, :, :1] & fold.scored[:, None, None]
                reach, gained = reach * counted, base - errors * counted
                at = number, place, slice(len(fold.episodes))
                self.cross_own[at] = fold.sum((base * gained).sum(axis=2))
                self.gain_own[at] = fold.sum((gained**2).sum(axis=2))
                self.cross_moved[at] = fold.sum(reach[..., None] * base[:, :, None])
                self.gain_moved[at] = fold.sum(reach[..., None] * gained[:, :, None])
                self.grams[at] = fold.sum(reach[..., None] * reach[:, :, None])

    def r2(self, spreads: Float[np.ndarray, "S q"], share: float) -> Float[np.ndarray, " S"]:
        """Of the contexts with codes of these spreads, each to be `share` of its direction's variance."""
        update = np.linalg.inv(self._update(spreads, share))
        shape = len(PENALTIES), *self.base.shape
        sums = Products(self.base, np.zeros(shape), np.zeros(shape))
        for number, penalty in enumerate(PENALTIES):
            inverse = (update + self.inner[number]) / penalty  # of W
            moved = np.linalg.solve(inverse, self.cross[number])  # W c
            right = self.along[number] - self.own[number] @ moved
            steps = np.linalg.solve(inverse - self.own[number], right) - moved  # v: (folds, S, 2q, k)
            around = steps @ np.swapaxes(steps, -1, -2)  # (folds, S, 2q, 2q)
            cross = self.cross_own[number] - (self.cross_moved[number] * steps[:, None]).sum(axis=(-2, -1))
            gain = self.gain_own[number] - 2 * (self.gain_moved[number] * steps[:, None]).sum(axis=(-2, -1))
            gain += (self.grams[number] * around[:, None]).sum(axis=(-2, -1))
            for place, fold in enumerate(self.folds):
                at = number, fold.deal, fold.episodes
                sums.cross[at], sums.gain[at] = (one[place, : len(fold.episodes)] for one in (cross, gain))
        return choose(sums, self.folds)[0].r2

    def _update(self, spreads: Float[np.ndarray, "S q"], share: float) -> Float[np.ndarray, "S w w"]:
        """G, of the columns [X u, a]."""
        count, num = spreads.shape
        noise, code = spreads * np.sqrt(1 - share) / self.spreads, spreads * np.sqrt(share)
        found = np.zeros((count, 2 * num, 2 * num))
        for at in range(num):
            found[:, at, at] = noise[:, at] ** 2 - 1
            found[:, num + at, num + at] = code[:, at] ** 2
            found[:, at, num + at] = found[:, num + at, at] = noise[:, at] * code[:, at]
        return found


def _draw_directions(width: int, count: int, num: int, rng: np.random.Generator) -> Float[np.ndarray, "S D q"]:
    """Random and, within a spike, orthonormal."""
    found = rng.standard_normal((count, width, num))
    return found / np.linalg.norm(found, axis=1, keepdims=True) if num == 1 else np.linalg.qr(found)[0]


def _by_spike(one: Float[np.ndarray, "n S i"], other: Float[np.ndarray, "n S k"]) -> Float[np.ndarray, "S i k"]:
    return np.moveaxis(one, 0, 2) @ np.moveaxis(other, 0, 1)
