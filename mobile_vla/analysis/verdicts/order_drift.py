"""Whether the actions drift with the order of recording, where no session is known that could be adjusted for.

In: the chunks that the baseline leaves, and the order of the episodes. Out: a p-value. A camera, the light and a
driver change slowly over a day, and contexts that know the light then explain the driver. With m_e the mean chunk of
episode e in what the baseline leaves,

    T = sum_e <m_e, mean of m_j over 0 < |place_j - place_e| <= 3>

is large where neighbours are alike. Permuted within texts, since each text's mean is removed.
"""

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.folds import permutations

REACH = 3  # episodes on either side
PERMUTATIONS = 499


def find_drift(
    sample: Sample, leading: Float[np.ndarray, "N k"], text: Int[np.ndarray, " E"], seed: int
) -> float | None:
    """leading: what the baseline leaves of the chunks;  text: code of each episode. None where no order is known."""
    if sample.order is None:
        return None
    means = sample.means(leading)
    for code in np.unique(text):
        means[text == code] -= means[text == code].mean(axis=0)
    place = np.argsort(np.argsort(sample.order, kind="stable"), kind="stable")
    apart = np.abs(place[:, None] - place[None, :])
    near = ((apart > 0) & (apart <= REACH)).astype(float)
    near /= near.sum(axis=1, keepdims=True)
    inner = means @ means.T
    observed = (near * inner).sum()
    orders = permutations(text, PERMUTATIONS, seed + 2)
    reached = sum((near * inner[np.ix_(order, order)]).sum() >= observed - 1e-12 for order in orders)
    return (1 + int(reached)) / (PERMUTATIONS + 1)
