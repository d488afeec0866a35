"""What other episodes' contexts say that an expert does in this scene: the instrument of F by image.

In: contexts of some rows, the chunks recorded there, and which rows are held out together. Out: a prediction of each
chunk by a ridge regression without the rows that are held out with it. The true chunk of one donor is mostly noise
(what this driver did just then), and a policy cannot follow noise: along the *predicted* difference the best policy
scores 1.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.verdicts.folds import FOLDS
from mobile_vla.analysis.verdicts.preserving.ridge import Ridge, leave_out, standardise

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the mean squared length of a context
DEGREE = 3  # of progress, for each meaning


def predict_held_out(
    contexts: Float[np.ndarray, "N D"],
    chunks: Float[np.ndarray, "N M"],
    free: Float[np.ndarray, "N Q"],
    deals: Sequence[Int[np.ndarray, " N"]],
) -> Float[np.ndarray, "N M"]:
    """chunks: NaN where unknown;  free: columns that are fitted without a penalty;  deals: a fold of each row.

    The mean over the deals; the penalty of each fold is chosen by the errors in the others.
    """
    known = np.isfinite(chunks)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, chunks, 0.0).sum(axis=0) / counts
    targets = np.where(known, chunks, means)
    values = standardise(contexts)
    ridge = Ridge(values @ values.T, free)
    left = np.zeros((len(deals), len(PENALTIES), *targets.shape))
    blocks = [[np.flatnonzero(folds == fold) for fold in range(FOLDS)] for folds in deals]
    for place, penalty in enumerate(PENALTIES):
        hat = ridge.hat(penalty)
        for deal, parts in enumerate(blocks):
            left[deal, place] = leave_out(hat, targets, [part for part in parts if len(part)])
    found = np.zeros_like(targets)
    for deal, parts in enumerate(blocks):
        errors = np.array([(np.where(known, left[deal], 0.0)[:, part] ** 2).sum(axis=(1, 2)) for part in parts])
        for part, others in zip(parts, errors.sum(axis=0) - errors, strict=True):
            found[part] += targets[part] - left[deal, np.argmin(others)][part]
    return found / len(deals)


def free_courses(meanings: Int[np.ndarray, " N"], progress: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N Q"]:
    """Meaning x (1, p, p^2, p^3)."""
    powers = (2 * progress[:, None] - 1) ** np.arange(DEGREE + 1)  # (N, 4)
    asked = np.eye(meanings.max(initial=0) + 1)[meanings]
    return (asked[:, :, None] * powers[:, None, :]).reshape(len(progress), -1)
