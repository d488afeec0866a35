"""What both parts of the actionable verdict share: the margin, the words for F, and whether an input arrives at all."""

from collections.abc import Mapping

import numpy as np

from mobile_vla.analysis.verdicts.actionable.fieller import Ratio
from mobile_vla.analysis.verdicts.actionable.following import Intervened
from mobile_vla.analysis.verdicts.verdict import Answer, say_p
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.vectors import spread
from mobile_vla.core.levels import ALPHA
from mobile_vla.core.plural import plural

MARGIN = 0.25
MARGINS = {"verdict": MARGIN, "at_half": MARGIN / 2, "at_double": 2 * MARGIN}
MEASURE = "F (0 ignores, 1 follows)"
MOST_COMPARED = 200  # rows whose context is compared with the one as recorded


def say_ratio(ratio: Ratio) -> str:
    if not ratio.measurable:
        return "F not measurable"
    low, high = ratio.ci
    return f"F = {ratio.estimate:z.2f} [{low:z.2f}, {high:z.2f}]"


def say_no(ratio: Ratio) -> str:
    """What a no means beside the p-value of following at all: too little is not nothing."""
    low, high = ratio.ci
    p = ratio.p_above(0.0)
    some = (
        f"some following is shown ({say_p(p)}), but less than that"
        if p <= ALPHA
        else f"that it follows at all is not shown ({say_p(p)})"
    )
    return f"F is below {MARGIN:.2f}: {ratio.estimate:z.2f}, 90 % interval [{low:z.2f}, {high:z.2f}]; {some}"


def plain_ratio(ratio: Ratio) -> dict[str, float | list[float] | None]:
    """For json."""
    return {
        "F": round(float(ratio.estimate), 4),
        "ci": [round(float(end), 4) for end in ratio.ci] if ratio.measurable else None,
        "p": round(float(ratio.p_above(0.0)), 4),
    }


def find_unwired(store: Store, found: Intervened, tap: str) -> str | None:
    """A sentence where not one number of the context changes: then it may be that it cannot be read at all."""
    if tap not in store.taps:
        return None
    chosen = spread(len(found.own), MOST_COMPARED)
    vectors = store.vectors(tap)
    moved = vectors[found.changed[chosen]].astype(np.float64) - vectors[found.own[chosen]]
    if moved.any():
        return None
    return (
        f"in none of the {plural(len(chosen), 'row')} compared does a number of {tap} change when it is replaced: it "
        "may not be wired (doctor tells)"
    )


def with_unwired(why: str, unwired: str | None) -> str:
    return f"{why}; {unwired}" if unwired else why


def never_yes(answers: Mapping[str, Answer]) -> dict[str, Answer]:
    """Where something else than F speaks against a yes."""
    return {name: "undecided" if answer == "yes" else answer for name, answer in answers.items()}
