"""Does one store tell more of the next chunk, or would as large a difference come of exchanging their contexts?

In: two stores' vectors on the same rows, and the true chunks. Out: a `SwapTest`, exploratory: it is reported beside the
difference of `decoding_difference`, which has more episodes and decides alone.

The second store's contexts are rotated onto the first's (Schoenemann 1966; over all rows, without looking at the
chunks; the narrower ones padded with zeros), which changes no ridge regression. Of equal models it is then chance which
of the two gave an episode's contexts. So each episode's are exchanged with probability 1/2, both probes are refitted,
and

    p = (1 + #{|theta*| >= |theta|}) / (K + 1)         theta: R^2 of the first less R^2 of the second

or, where 20 exchanges have reached |theta|, 20 / exchanges drawn (`permuting.draw`). Whichever episodes are exchanged,
training sets are made anew and share their episodes as the true ones do: what makes errors of one training set alike,
and the factor 1.5 in the t necessary, is in the null too. The rotation is fitted once, to the contexts as they are, so
that the exchange is not exact. Simulated at 40 episodes (`validation/second/models.py`, 200 pairs, 95 % Wilson): of
equal models p <= .05 in 7.5 % (4.6 to 12.0; .01 in 3.5 %), so that a size of 5 % is neither shown nor refuted; of
models that differ by .12, p <= .05 in 36.5 % (30 to 43), where the t finds 21 %.

To be affordable: at most 100 episodes, few deals, and one penalty, which both stores' own fits chose most often.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mobile_vla.analysis.pairs.procrustes import find_rotation
from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.folds import deal_often
from mobile_vla.analysis.verdicts.permuting import draw
from mobile_vla.analysis.verdicts.preserving.baseline import make_baseline
from mobile_vla.analysis.verdicts.preserving.chunks import Chunks, make_chunks
from mobile_vla.analysis.verdicts.preserving.held_out import PENALTIES, HeldOut, Products, choose
from mobile_vla.analysis.verdicts.preserving.ridge import FREELY, standardise
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import say_p
from mobile_vla.contexts.vectors import spread
from mobile_vla.core.plural import plural

MOST_EPISODES = 100  # that are worth a test: its cost grows with their cube
EXCHANGES = 199
DEALS = 5  # of the folds, that theta is the mean of


@dataclass(frozen=True, kw_only=True)
class SwapTest:
    """p, value  None where it was not done, for the reason `why`;  value  theta
    exchanges  that were drawn;  deals  of the folds;  n  episodes, an even sample of more
    """

    p: float | None = None
    value: float | None = None
    exchanges: int = 0
    deals: int = 0
    n: int = 0
    why: str | None = None

    @property
    def sentence(self) -> str:
        if self.p is None:
            return f"no swap test: {self.why}"
        return (
            f"swap test, exploratory: {say_p(self.p)}, from {self.exchanges} exchanges of contexts between the two, "
            f"{plural(self.n, 'episode')} and {plural(self.deals, 'deal')} of the folds; it does not enter the verdict"
        )

    def turn(self) -> "SwapTest":
        """Of the second store less the first."""
        return self if self.value is None else replace(self, value=-self.value)

    def to_plain(self) -> dict[str, Any]:
        return asdict(self) | {"exploratory": True}


NOT_DONE = SwapTest(why="it is of the next action chunk in two stores")


def run_swap_test(
    sample: Sample, left: Float[np.ndarray, "N D"], right: Float[np.ndarray, "N d"], rigour: Rigour
) -> SwapTest:
    """sample: of the rows, with actions.  left, right: both stores' vectors of them."""
    kept = spread(sample.num_episodes, MOST_EPISODES)
    inside = np.isin(sample.episode, kept)
    few = sample.keep(kept)
    baseline = make_baseline(few)
    deals = deal_often(baseline.blocks, rigour.seed, min(DEALS, rigour.deals))
    sides = [standardise(values[inside]) for values in (left, right)]
    held = [HeldOut(values, baseline.columns, few.episode, deals) for values in sides]
    if any(one.scale == 0 for one in held):
        return SwapTest(why="the contexts of a store hold nothing beyond progress and instruction", n=few.num_episodes)
    refits = Refits(held, align(*sides), make_chunks(few, baseline))
    observed = refits.difference(np.zeros(few.num_episodes, bool))
    rng = np.random.default_rng([rigour.seed, 8])
    most = min(EXCHANGES, rigour.permutations)
    exchanges = iter(rng.random((most, few.num_episodes)) < 0.5)
    p = draw(abs(observed), (abs(refits.difference(one)) for one in exchanges)).p
    drawn = most - len(list(exchanges))
    return SwapTest(p=p, value=observed, exchanges=drawn, deals=len(deals), n=few.num_episodes)


def align(left: Float[np.ndarray, "N D"], right: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "2*N 2*N"]:
    """Inner products of left's rows and right's, one after the other, once right is rotated onto left. Through the
    coordinates of both in N dimensions of their own: the two may differ in width, and are mostly wider than N."""
    one, other = (_coordinates(values) for values in (left, right))
    both = np.concatenate([one, other @ find_rotation(other.T @ one)])
    return both @ both.T


class Refits:
    """The probes of both stores, fitted again to contexts of which some were exchanged.

    held     of each store, on the same rows, free columns and deals;  kernel  see `align`
    penalty  what both stores' own fits chose most often
    """

    def __init__(self, held: Sequence[HeldOut], kernel: Float[np.ndarray, "M M"], chunks: Chunks):
        self.held, self.kernel, self.values = held[0], kernel, chunks.values
        known = chunks.known[:, None, :]
        chosen = [one.score(chunks.values[:, None, :], known)[1].penalty for one in held]
        self.penalty = PENALTIES[int(np.bincount(np.concatenate(chosen).ravel()).argmax())]
        plain = self.held.plain @ self.values
        self.counted = [chunks.known[fold.rows] & fold.scored[:, None] for fold in self.held.folds]
        self.bases = [
            fold.inverse @ plain[fold.rows] * count for fold, count in zip(self.held.folds, self.counted, strict=True)
        ]

    def difference(self, exchanged: Bool[np.ndarray, " E"]) -> float:
        """R^2 of the first less R^2 of the second, when these episodes' contexts are exchanged."""
        rows, count = exchanged[self.held.episode], len(self.values)
        first, second = (np.arange(count) + count * (rows == turned) for turned in (True, False))
        return self._r2(self.kernel[np.ix_(first, first)]) - self._r2(self.kernel[np.ix_(second, second)])

    def _r2(self, kernel: Float[np.ndarray, "N N"]) -> float:
        maker = self._maker(kernel)
        left = maker @ self.values
        sums = np.zeros((3, self.held.num_deals, self.held.num_episodes))
        for fold, counted, base in zip(self.held.folds, self.counted, self.bases, strict=True):
            gained = base - np.linalg.solve(maker[np.ix_(fold.rows, fold.rows)], left[fold.rows]) * counted
            of_row = [product.sum(axis=1) for product in (base**2, base * gained, gained**2)]
            sums[:, fold.deal, fold.episodes] = fold.sum(np.stack(of_row, axis=1)).T
        base, cross, gain = sums[..., None]
        return float(choose(Products(base, cross[None], gain[None]), self.held.folds)[0].r2[0])

    def _maker(self, kernel: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
        """Q of `held_out`: what a ridge at the penalty leaves of the targets."""
        basis, identity = self.held.basis, np.eye(len(kernel))
        left = self.held.remove_free(self.held.remove_free(kernel).T)
        left *= len(left) / np.trace(left)
        return np.linalg.inv(identity + left / self.penalty) - FREELY * (basis @ basis.T)


def _coordinates(values: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N N"]:
    variances, vectors = np.linalg.eigh(values @ values.T)
    return vectors * np.sqrt(np.maximum(variances, 0))
