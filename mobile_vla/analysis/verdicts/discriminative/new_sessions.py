"""Does the label generalise to a day that the classifier has not seen? Exploratory: a row of its own, no verdict.

In: contexts and sessions. Out: the balanced accuracy of classifiers fitted without the session that they are tested on,
with a 90 % interval over sessions (Student's t with S - 1 degrees of freedom), or why there is none.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.discriminative.balance import count_in_cells
from mobile_vla.analysis.verdicts.discriminative.dealing import code_labels
from mobile_vla.analysis.verdicts.discriminative.decoding import PENALTY, Asked
from mobile_vla.analysis.verdicts.preserving.ridge import Ridge, leave_out, standardise
from mobile_vla.analysis.verdicts.verdict import interval

FEWEST_SESSIONS = 6


def generalise(means: Float[np.ndarray, "E D"], sample: Sample, asked: Asked) -> dict[str, Any]:
    """`accuracy` and `ci` over `sessions` that hold every class; or `why`, where there are too few."""
    session = np.unique(sample.session[asked.chosen], return_inverse=True)[1]
    whole = (count_in_cells(asked.labels, session, asked.num) > 0).all(axis=1)
    row: dict[str, Any] = {"exploratory": True, "sessions": int(whole.sum()), "accuracy": None, "ci": None}
    if whole.sum() < FEWEST_SESSIONS:
        return row | {
            "why": f"{int(whole.sum())} sessions hold every class; {FEWEST_SESSIONS} are needed for a new session"
        }
    accuracies = score_sessions(means[asked.chosen], asked, session)[whole]
    error = float(accuracies.std(ddof=1) / np.sqrt(len(accuracies)))
    low, high = interval(float(accuracies.mean()), error, len(accuracies) - 1)
    return row | {
        "accuracy": float(accuracies.mean()),
        "ci": [max(low, 0.0), min(high, 1.0)],
        "why": "mean over sessions, each decoded by a classifier that was fitted without it",
    }


def score_sessions(
    means: Float[np.ndarray, "n D"], asked: Asked, session: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " S"]:
    """Balanced accuracy in each session, by a fit to the others; NaN where it lacks a class."""
    values = standardise(means)
    free = np.eye(int(asked.texts.max()) + 1)[asked.texts]
    targets = code_labels(asked.labels, asked.num)
    blocks = [np.flatnonzero(session == code) for code in range(int(session.max()) + 1)]
    hat = Ridge(values @ values.T, free).hat(PENALTY)
    predicted = targets - leave_out(hat, targets, blocks)
    found = np.full(len(blocks), np.nan)
    for place, block in enumerate(blocks):
        rest = np.setdiff1d(np.arange(len(session)), block)
        scores = predicted[block] - targets[rest].mean(axis=0)
        classes = (scores[:, 0] > 0).astype(int) if asked.num == 2 else scores.argmax(axis=1)
        right = classes == asked.labels[block]
        of_class = [right[asked.labels[block] == code] for code in range(asked.num)]
        if all(len(one) for one in of_class):
            found[place] = float(np.mean([one.mean() for one in of_class]))
    return found
