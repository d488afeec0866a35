"""What a measure of similarity gives by chance, and what one store gives against another view of itself.

In: a measure, and what it is to be held against. Out: a `Measure` with its floor and ceiling.

    floor    whole episodes of the second store exchanged, those of one session among themselves: everything that two
             stores share because of progress and of the session stays, what belongs to the episode is gone
    ceiling  where a store has rows under a paraphrase of the instruction, these against its own; else random halves of
             its dimensions against each other, which is low for a store whose dimensions are independent
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.pairs.matching import NAMES
from mobile_vla.analysis.pairs.measure import Ceiling, Estimate, Floor, Measure
from mobile_vla.analysis.pairs.pair import Pair, make_pair
from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.folds import permutations

PARAPHRASE = "paraphrase"  # the variant: the same frame under another instruction of the same meaning


def draw_orders(pair: Pair, count: int, seed: int) -> tuple[Int[np.ndarray, "K E"], str]:
    """Orders of the episodes, and in words what was permuted.

    Sessions of one episode each leave nothing to exchange: where most episodes would stay, sessions are ignored.
    """
    sizes = np.bincount(pair.block)
    alone = (sizes[pair.block] == 1).mean()
    block, how = (
        pair.block,
        "whole episodes permuted, among those alike in session and in the bins that they have rows in",
    )
    if len(sizes) == 1:
        how = "whole episodes permuted"
    if alone > 0.5:
        held = np.zeros((pair.num_episodes, int(pair.bin.max()) + 1), int)
        held[pair.episode, pair.bin] = 1
        block = np.unique(held, axis=0, return_inverse=True)[1].reshape(-1)
        how = "whole episodes permuted across sessions: most would have nobody to change places with"
    return np.stack(list(permutations(block, count, seed))), f"{how}, {count} times; progress stays"


def find_floor(permuted: Float[np.ndarray, " K"], how: str) -> Floor:
    return Floor(value=float(permuted.mean()), p95=float(np.quantile(permuted, 0.95)), how=how)


def paraphrase_pair(sample: Sample, tap: str) -> Pair | str:
    """A store's own rows, and the same frames under a paraphrase; in words why there are none."""
    other = sample.store.select(variant=PARAPHRASE)
    frames = sample.store.column("frame")
    names = sample.store.column("episode")
    there = {(names[row], frames[row]): row for row in other.tolist()}
    found = np.array([there.get((names[row], frames[row]), -1) for row in sample.rows.tolist()])
    both = found >= 0
    if not both.any():
        return f"no rows of the variant {PARAPHRASE}"
    again = replace(sample, rows=found[both], episode=sample.episode[both], bin=sample.bin[both])
    own = sample.vectors(tap)[both]
    return make_pair(own, again.vectors(tap), sample.episode[both], sample.bin[both], sample.session)


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Of each store by name, pairs of it with other views of itself; a store that has none is missing."""

    pairs: Mapping[str, Sequence[Pair]]
    how: str

    def standardize(self) -> "Views":
        return replace(self, pairs={name: [one.standardize() for one in pairs] for name, pairs in self.pairs.items()})


def find_views(left: Sample, right: Sample, tap: str, pair: Pair, seed: int) -> Views:
    """pair  of the two samples"""
    found = {name: paraphrase_pair(sample, tap) for name, sample in (("left", left), ("right", right))}
    paraphrased = {name: [one] for name, one in found.items() if isinstance(one, Pair)}
    if paraphrased:
        return Views(pairs=paraphrased, how="own rows against those under a paraphrase")
    rng = np.random.default_rng([seed, 4])
    sides = {"left": pair, "right": pair.swap()}
    halves = {name: [side.halve(rng)] for name, side in sides.items() if side.left.shape[1] > 1}
    return Views(pairs=halves, how="random halves of the dimensions against each other")


def find_ceiling(
    measure: Callable[[Pair], Estimate | None], views: Views, names: tuple[str, str] = NAMES
) -> Ceiling | None:
    """None where no view of a store varies at all."""
    called = dict(zip(("left", "right"), names, strict=True))
    parts = {}
    for name, pairs in views.pairs.items():
        known = [estimate.value for estimate in map(measure, pairs) if estimate is not None]
        if known:
            parts[name] = float(np.mean(known))
    if not parts:
        return None
    told = [called[name] for name in parts]
    which = f"the lower of {' and '.join(told)}" if len(told) > 1 else f"of {told[0]} alone"
    return Ceiling(value=min(parts.values()), how=f"{views.how}, {which}", parts=parts)


def find_measure(
    measure: Callable[[Pair], Estimate | None],
    permuted: Callable[[Pair, np.ndarray], np.ndarray | None],
    pair: Pair,
    views: Views,
    count: int,
    seed: int,
    names: tuple[str, str] = NAMES,
    of_view: Callable[[Pair], Estimate | None] | None = None,
) -> Measure | str:
    """The estimate with its floor and ceiling; in words where a side has no structure.

    of_view  the measure for ceilings, where it is cheaper without an interval
    """
    estimate = measure(pair)
    if estimate is None:
        return "the vectors of a store are all alike within the progress bins: there is nothing to compare"
    orders, how = draw_orders(pair, count, seed)
    chance = permuted(pair, orders)
    assert chance is not None, "an estimate without its permutations"
    return Measure(
        estimate=estimate, floor=find_floor(chance, how), ceiling=find_ceiling(of_view or measure, views, names)
    )
