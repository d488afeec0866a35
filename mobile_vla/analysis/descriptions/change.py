"""What a tap's vectors looked like before and look like now: the same numbers of the same rows, and two lines of words.

In: two stores that share a basis. Out: the description of the earlier one over the rows of the later one, and what the
two descriptions and the drift between them carry in words. A spectrum depends on which rows it is of, so numbers stand
side by side only where the earlier store holds every row of the later one.
"""

import numpy as np

from mobile_vla.analysis.descriptions.description import Description, describe_tap
from mobile_vla.analysis.pairs.drift import Drift
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.rows import list_ids

NOT_TOLD = "what they hold of labels or actions, and whether it is clearer, these numbers do not tell"


def describe_before(before: Store, now: Store, tap: str) -> Description | str:
    """The rows as recorded that `now` holds, as they were in `before`; in words why they are not described."""
    there = {id: place for place, id in enumerate(list_ids(before.rows))}
    ids, own = list_ids(now.rows), now.select()
    places = [there[ids[row]] for row in own if ids[row] in there]
    if len(places) < len(own):
        return (
            f"{before.folder} lacks {len(own) - len(places)} of the {len(own)} rows as recorded: numbers of other rows "
            "do not stand side by side"
        )
    return describe_tap(before, tap, np.array(places))


def tell_change(before: Description, now: Description, drift: Drift) -> list[str]:
    """Two lines: how far the rows moved and which way the numbers of their cloud went; and what that leaves open."""
    cosine = "" if drift.cosine is None else f" (mean cosine between before and now {drift.cosine:z.2f})"
    moved = f"the same {drift.rows} rows moved by {drift.distance:z.2f} times their mean distance from their centre"
    return [f"{moved}{cosine}; {_tell_spectra(before, now)}", NOT_TOLD]


def _tell_spectra(before: Description, now: Description) -> str:
    if before.raw is None or before.z is None or now.raw is None or now.z is None:
        return "before or now no dimension varies"
    pairs = (before.raw, now.raw), (before.z, now.z)
    ranks = [_compare(first.effective_rank, second.effective_rank, 1) for first, second in pairs]
    shares = [_compare(first.top_share, second.top_share, 2) for first, second in pairs]
    return f"effective rank {_join(ranks)}, the first component's share of the variance {_join(shares)}"


def _compare(before: float, now: float, digits: int) -> str:
    """To as many digits as are printed."""
    before, now = round(before, digits), round(now, digits)
    return "stayed" if before == now else "rose" if now > before else "fell"


def _join(ways: list[str]) -> str:
    """Where raw and z-scored differ, a few dimensions decide it."""
    raw, z = ways
    return raw if raw == z else f"{raw} raw and {z} z-scored"
