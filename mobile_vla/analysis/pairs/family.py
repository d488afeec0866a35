"""Which comparisons were declared before looking, and what it takes to call one store better.

In: differences of pairs of stores by target. Out: the same, their p-values adjusted (Holm 1979) over all questions that
were declared: each declared pair x each target (the primary labels and the next action chunk). Of equal stores, in at
most 5 % of reports any is called better, however many stores there are.

What is declared is said beforehand: two stores named as left and right are one pair; a list of stores declares all
its pairs, or those among the stores that the setting `declared` names. Pairs that were not declared are exploratory:
told with their interval, never called better. So a store that is added outside of the declared ones changes no answer;
one that is added to them makes the family larger, which can take a "better" away and never make one. (Rules that
no addition can touch, such as spending the error in the order in which stores are named, cost later stores most of
their power: of five stores the last would be tested at a sixth of Holm's level.)
"""

from collections.abc import Mapping, Sequence

from mobile_vla.analysis.pairs.decoding_difference import Difference
from mobile_vla.analysis.verdicts.verdict import holm

Pair = tuple[str, str]


def adjust(
    found: Mapping[Pair, Mapping[str, Difference]], declared: Sequence[str] | None = None
) -> dict[Pair, dict[str, Difference]]:
    """declared  names of the stores between which all pairs are; None: all stores

    A question that could not be asked, as of too few episodes, does not count.
    """
    asked = {pair for pair in found if declared is None or set(pair) <= set(declared)}
    p_values = {
        (pair, target): one.p_raw for pair in asked for target, one in found[pair].items() if one.p_raw is not None
    }
    keys = {f"{place:06d}": key for place, key in enumerate(sorted(p_values))}
    adjusted = {keys[name]: p for name, p in holm({name: p_values[key] for name, key in keys.items()}).items()}
    return {
        pair: {
            target: one.decide(adjusted.get((pair, target), 1.0), len(p_values)) if pair in asked else one.explore()
            for target, one in targets.items()
        }
        for pair, targets in found.items()
    }
