"""How two stores of contexts differ, by measures that each see something else, with floor, ceiling and interval.

In: two stores, a tap, and what can be decoded from each where that was found out. Out: a `Comparison` for the report:

    cka, cka_z           do the two arrange episodes alike, whatever the axes; z: with every dimension of equal weight
    mutual_knn           does each episode have the same neighbours
    procrustes           does a rotation carry episodes that it was not fitted on from one to the other
    drift                how far the same rows moved, only where the two share a basis
    decoding_difference  from which of the two more can be decoded
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from mobile_vla.analysis.pairs.basis import explain_other_basis
from mobile_vla.analysis.pairs.cka import find_cka, find_permuted_cka
from mobile_vla.analysis.pairs.decoding_difference import Difference, summarize
from mobile_vla.analysis.pairs.dominance import Dominance, find_dominance, find_progress_cka
from mobile_vla.analysis.pairs.drift import distances_moved, estimate_drift
from mobile_vla.analysis.pairs.familiar import Familiar, find_familiar
from mobile_vla.analysis.pairs.floors import Views, draw_orders, find_measure, find_views, paraphrase_pair
from mobile_vla.analysis.pairs.leverage import Outliers, find_far
from mobile_vla.analysis.pairs.matching import NAMES, Matching, match_stores
from mobile_vla.analysis.pairs.measure import Ceiling, Floor, Measure
from mobile_vla.analysis.pairs.mutual_knn import find_mutual_knn, find_permuted_knn
from mobile_vla.analysis.pairs.pair import Pair, make_pair
from mobile_vla.analysis.pairs.procrustes import find_permuted_procrustes, find_procrustes
from mobile_vla.analysis.pairs.reading import name_answer, read_together
from mobile_vla.analysis.sample import MOST_EPISODES
from mobile_vla.analysis.verdicts.verdict import FEWEST
from mobile_vla.contexts.reader import Store

MEASURES = ("cka", "cka_z", "mutual_knn", "procrustes", "drift")
DRIFT_ORDERS = 10  # permutations of the drift's ceiling: a mean, no test
NOT_DECODED = "nothing was decoded from the two on the same episodes and folds"


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """measures  by name; each of MEASURES is here, or in `reasons`
    decoding    differences of what can be decoded, by target
    outliers    episodes without which CKA is another
    progress    CKA over all bins together: as matched, and with progress alone (whole episodes permuted)
    says        what the measures say together, in words;  answer  the shortest form of it
    """

    left: str
    right: str
    tap: str
    matching: Matching | None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    decoding: Mapping[str, Difference] = field(default_factory=dict)
    dominance: Dominance | None = None
    outliers: Outliers | None = None
    progress: tuple[float, float] | None = None
    familiar: Mapping[str, Familiar] = field(default_factory=dict)
    answer: str = "not comparable"
    says: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """`comparison` of compare.json."""
        measures = {name: self.measures[name].to_plain() if name in self.measures else None for name in MEASURES}
        progress = self.progress and dict(zip(("pooled", "progress_only"), self.progress))
        return {
            "left": self.left,
            "right": self.right,
            "tap": self.tap,
            "matching": self.matching and self.matching.to_plain(),
            **measures,
            "decoding_difference": summarize(self.decoding),
            "reasons": dict(self.reasons),
            "dominance": self.dominance and self.dominance.to_plain(),
            "outliers": self.outliers and self.outliers.to_plain(),
            "progress_cka": progress,
            "familiar": {name: found.to_plain() for name, found in self.familiar.items()},
            "answer": self.answer,
            "says": list(self.says),
        }


def compare_all(stores: Sequence[Store], tap: str = "context", **settings: Any) -> list[Comparison]:
    """Every pair of several stores; the settings are those of `compare_pair`."""
    return [compare_pair(left, right, tap, **settings) for left, right in combinations(stores, 2)]


def compare_pair(
    left: Store,
    right: Store,
    tap: str = "context",
    *,
    decoding: Mapping[str, Difference] | None = None,
    undecoded: Mapping[str, str] | None = None,
    permutations: int = 199,
    seed: int = 0,
    most: int = MOST_EPISODES,
    names: tuple[str, str] = NAMES,
    matching: Matching | str | None = None,
) -> Comparison:
    """decoding   differences by target, the primary one first;  undecoded  why others are missing
    most   episodes that are looked at;  names  what the two are called in sentences
    matching  of the two, where it was found before
    """
    decoding, undecoded = decoding or {}, undecoded or {}
    blank = Comparison(left=str(left.folder), right=str(right.folder), tap=tap, matching=None, decoding=decoding)
    missing = "; ".join(f"{target}: {why}" for target, why in undecoded.items())
    reasons = {} if decoding and not missing else {"decoding_difference": missing or NOT_DECODED}
    matching = match_stores(left, right, tap, most, names) if matching is None else matching
    if isinstance(matching, str):
        return _give_up(blank, matching, reasons)
    rows = matching.left
    vectors = [sample.vectors(tap) for sample in (rows, matching.right)]
    session = matching.right.session if not rows.session.any() else rows.session  # known to one store, maybe
    pair = make_pair(*vectors, rows.episode, rows.bin, session)
    if isinstance(pair, str):
        return _give_up(replace(blank, matching=matching), pair, reasons)
    views = find_views(matching.left, matching.right, tap, pair, seed)
    z, z_views = pair.standardize(), views.standardize()
    find_value = partial(find_procrustes, spread=False)
    found = {
        "cka": find_measure(find_cka, find_permuted_cka, pair, views, permutations, seed, names),
        "cka_z": find_measure(find_cka, find_permuted_cka, z, z_views, permutations, seed, names),
        "mutual_knn": find_measure(find_mutual_knn, find_permuted_knn, pair, views, permutations, seed, names),
        "procrustes": find_measure(
            find_procrustes, find_permuted_procrustes, pair, views, permutations, seed, names, find_value
        ),
        "drift": explain_other_basis(left, right, tap, names)
        or _find_drift(pair, paraphrase_pair(rows, tap), seed, names),
    }
    measures = {name: one for name, one in found.items() if isinstance(one, Measure)}
    reasons |= {name: one for name, one in found.items() if isinstance(one, str)}
    both = "cka" in measures and "cka_z" in measures
    dominance = find_dominance(pair, measures["cka"].estimate, measures["cka_z"].estimate) if both else None
    progress = find_progress_cka(pair, seed)
    familiar = find_familiar(*(rows.means(values) for values in vectors))
    if isinstance(familiar, str):
        reasons["familiar"] = familiar
    counted = np.unique(rows.episode[np.bincount(rows.bin)[rows.bin] >= FEWEST])  # as in the pair
    episodes = [rows.episodes[place] for place in counted]
    with_all = name_answer(measures, dominance, progress)
    outliers, shape = _find_outliers(pair, episodes, measures, with_all, permutations, seed)
    answer, says = read_together(measures, reasons, decoding, dominance, progress, names, outliers, shape)
    return replace(
        blank,
        matching=matching,
        measures=measures,
        reasons=reasons,
        dominance=dominance,
        outliers=outliers,
        progress=progress,
        familiar={} if isinstance(familiar, str) else familiar,
        answer=answer,
        says=says,
    )


def _find_outliers(
    pair: Pair, episodes: Sequence[str], measures: Mapping[str, Measure], with_all: str, permutations: int, seed: int
) -> tuple[Outliers | None, dict[str, Measure]]:
    """Episodes on which the resemblance rests, and the measures without them."""
    few = find_far(pair)
    if not len(few) or "cka" not in measures:
        return None, {}
    rest = pair.keep(np.setdiff1d(np.arange(pair.num_episodes), few))
    views, z = Views(pairs={}, how=""), rest.standardize()
    found = {
        "cka": find_measure(find_cka, find_permuted_cka, rest, views, permutations, seed),
        "cka_z": find_measure(find_cka, find_permuted_cka, z, views, permutations, seed),
        "mutual_knn": find_measure(find_mutual_knn, find_permuted_knn, rest, views, permutations, seed),
        "procrustes": find_measure(find_procrustes, find_permuted_procrustes, rest, views, permutations, seed),
    }
    shape = {name: one for name, one in found.items() if isinstance(one, Measure)}
    dominance = None
    if "cka_z" in shape:
        dominance = find_dominance(rest, shape["cka"].estimate, shape["cka_z"].estimate)
    answer = name_answer(shape, dominance, find_progress_cka(rest, seed))
    raw = measures["cka"].estimate
    if "cka" not in shape or (answer == with_all and raw.ci[0] <= shape["cka"].value <= raw.ci[1]):
        return None, {}
    names = tuple(episodes[e] for e in few)
    return Outliers(episodes=names, raw=raw, without=shape["cka"].estimate, answer=answer), shape


def _give_up(blank: Comparison, reason: str, reasons: Mapping[str, str]) -> Comparison:
    return replace(
        blank,
        reasons={**dict.fromkeys((*MEASURES, "familiar"), reason), **reasons},
        says=(f"The two cannot be compared: {reason}.",),
    )


def _find_drift(pair: Pair, again: Pair | str, seed: int, names: tuple[str, str]) -> Measure | str:
    """Between no move at all, or that under a paraphrase, and the way to another episode at the same progress."""
    estimate = estimate_drift(pair.left, pair.right, pair.episode)
    if estimate is None:
        return f"all rows of {names[0]} are one point"
    scale = distances_moved(pair.left, pair.left.mean(axis=0, dtype=np.float64)).mean()
    orders, _ = draw_orders(pair, DRIFT_ORDERS, seed)
    others = [distances_moved(pair.left, pair.right[pair.exchange(order)]).mean() / scale for order in orders]
    floor = Floor(value=0.0, p95=0.0, how="the same rows, not moved")
    if isinstance(again, Pair):
        moved = distances_moved(again.left, again.right) / scale
        how = "the same weights, under a paraphrase of the instruction"
        floor = Floor(value=float(moved.mean()), p95=float(np.quantile(moved, 0.95)), how=how)
    how = f"row of another episode in {names[1]} at the same progress, mean of {DRIFT_ORDERS} permutations"
    return Measure(estimate=estimate, floor=floor, ceiling=Ceiling(value=float(np.mean(others)), how=how))
