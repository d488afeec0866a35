"""How much of the next action chunk vectors tell beyond progress, instruction and session: a held-out ridge regression.

In: vectors of a sample, and its chunks. Out: a `Fit`, with R^2 over held-out episodes relative to what the baseline
leaves unexplained, as a mean over many deals of the folds. Everything is fitted without the held-out episodes, the
baseline too; penalty and slope are chosen by the errors of the others.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float, Int

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.folds import deal_often, permutations
from mobile_vla.analysis.verdicts.permuting import draw, one_by_one
from mobile_vla.analysis.verdicts.preserving.baseline import Baseline, make_baseline
from mobile_vla.analysis.verdicts.preserving.chunk_transplant import Sensitivity, find_sensitivity
from mobile_vla.analysis.verdicts.preserving.chunks import CONSTANT, Chunks
from mobile_vla.analysis.verdicts.preserving.held_out import HeldOut
from mobile_vla.analysis.verdicts.preserving.ridge import standardise
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import NADEAU_BENGIO, interval

MOST_EPISODES = 300  # that are worth a fit: its cost grows with their cube
BATCH = 100  # permutations at a time
NEAR = 0.3  # standard errors from a margin: a bound this near to it is settled by twice as many deals


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """r2         of held-out rows, relative to the baseline's;  null  mean under permutation
    sse, base     (E,) sums of squared errors by episode, means over the deals: with the vectors, and of the baseline.
                  Both 0 for an episode that the baseline cannot be fitted without: no other has its text
    by_component  r2 of each action component
    by_step       (C,) r2 of each step of the chunk, NaN where nothing is known
    sensitivity   what would have been detected; None where no margin was given, where the answer does not depend on
                  it, and where the baseline leaves nothing of the vectors
    deals         of the folds
    """

    r2: float
    p_yes: float
    null: float
    sse: Float[np.ndarray, " E"]
    base: Float[np.ndarray, " E"]
    by_component: tuple[float, ...]
    by_step: Float[np.ndarray, " C"]
    sensitivity: Sensitivity | None = None
    deals: int

    @property
    def scored(self) -> Bool[np.ndarray, " E"]:
        return self.base > 0

    @property
    def spread(self) -> float:
        """sqrt(E) times the standard error."""
        return NADEAU_BENGIO * jackknife_spread(self.sse[self.scored], self.base[self.scored])

    @property
    def error(self) -> float:
        return self.spread / np.sqrt(max(int(self.scored.sum()), 1))

    @property
    def ci(self) -> tuple[float, float]:
        return interval(self.r2, self.error, int(self.scored.sum()) - 1)


def fit(
    sample: Sample,
    vectors: Float[np.ndarray, "N D"],
    chunks: Chunks,
    rigour: Rigour,
    *,
    permute: bool = True,
    baseline: Baseline | None = None,
    margin: float | None = None,
) -> Fit:
    """permute: for `p_yes`, which is 1 without;  margin: for `sensitivity`, and more deals where a bound is near."""
    baseline = baseline or make_baseline(sample)
    values = standardise(vectors)
    strata = baseline.blocks

    def hold(deals: int) -> HeldOut:
        return HeldOut(values, baseline.columns, sample.episode, deal_often(strata, rigour.seed, deals))

    held = hold(rigour.deals)
    found = _measure(held, chunks)
    if margin is not None and any(abs(bound - margin) < NEAR * found.error for bound in found.ci):
        found = _measure(hold(2 * rigour.deals), chunks)
    p_yes, null, sensitivity = 1.0, np.nan, None
    observed = float(held.score(chunks.leading[:, None, :], tested=True)[0].r2[0])
    if permute:
        batches = batched(permutations(strata, rigour.permutations, rigour.seed), BATCH)
        scores = (held.score(*permuted(sample, chunks.leading, orders), tested=True)[0].r2 for orders in batches)
        p_yes, null = draw(observed, one_by_one(scores))
    if margin is not None and found.ci[0] < 2 * margin and held.scale > 0:
        orders = list(permutations(strata, rigour.spikes, rigour.seed + 1))
        planted, there = permuted(sample, chunks.leading, orders)
        sensitivity = find_sensitivity(held, values, planted, there, observed, margin, rigour.seed)
    return Fit(
        r2=found.r2,
        p_yes=p_yes,
        null=null,
        sse=found.sse,
        base=found.base,
        by_component=found.by_component,
        by_step=found.by_step,
        sensitivity=sensitivity,
        deals=found.deals,
    )


def _measure(held: HeldOut, chunks: Chunks) -> Fit:
    """Without any test."""
    found, chosen = held.score(chunks.values[:, None, :], chunks.known[:, None, :])
    errors, base = held.by_entry(chunks.values, chunks.known, chosen)
    component = np.tile(np.arange(chunks.shape[1]), chunks.shape[0])
    step = np.repeat(np.arange(chunks.shape[0]), chunks.shape[1])
    return Fit(
        r2=float(found.r2[0]),
        p_yes=1.0,
        null=np.nan,
        sse=found.sse[:, 0],
        base=found.base[:, 0],
        by_component=tuple(_shares(errors, base, component, chunks.shape[1]).tolist()),
        by_step=_shares(errors, base, step, chunks.shape[0]),
        deals=held.num_deals,
    )


def batched(orders: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """As lists, the last one shorter."""
    orders = iter(orders)
    while batch := list(islice(orders, size)):
        yield batch


def jackknife_spread(sse: Float[np.ndarray, " E"], base: Float[np.ndarray, " E"]) -> float:
    """sqrt(E) times the delete-one-episode jackknife's standard error of 1 - sum(sse) / sum(base)."""
    without = 1 - (sse.sum() - sse) / (base.sum() - base)
    return float(np.sqrt((len(sse) - 1) * ((without - without.mean()) ** 2).sum()))


def permuted(
    sample: Sample, targets: Float[np.ndarray, "N k"], orders: list[np.ndarray]
) -> tuple[Float[np.ndarray, "N K k"], Bool[np.ndarray, "N K k"]]:
    """Targets of whole episodes at other episodes' places, bin by bin, and whether there are any for the bin."""
    place = np.full((sample.num_episodes, sample.bin.max() + 1), -1)
    place[sample.episode, sample.bin] = np.arange(len(sample.rows))
    rows = np.stack([place[order[sample.episode], sample.bin] for order in orders], axis=1)  # (N, K)
    there = np.broadcast_to((rows >= 0)[..., None], (*rows.shape, targets.shape[1]))
    return np.where(there, targets[rows], 0.0), there


def _shares(
    errors: Float[np.ndarray, "N M"], base: Float[np.ndarray, "N M"], groups: Int[np.ndarray, " M"], num: int
) -> Float[np.ndarray, " G"]:
    """R^2 by groups of the targets' columns."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sums, whole = (np.bincount(groups, part.sum(axis=0), num) for part in (errors, base))
        return np.where(whole > CONSTANT * whole.max(), 1 - sums / whole, np.nan)
