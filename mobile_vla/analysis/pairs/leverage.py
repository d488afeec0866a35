"""Does the resemblance of two stores rest on a few episodes that lie far from all others in both?

In: a `Pair`. Out: episodes that may decide; they do where CKA without them lies outside the interval of all, or where
the measures without them say something else. A broken recording is as far off to
one model as to any other: three of them in a hundred made two unrelated models "partly alike", CKA .98. The jackknife
does not see it, since it leaves out one at a time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.pairs.measure import Estimate
from mobile_vla.analysis.pairs.pair import Pair
from mobile_vla.analysis.verdicts.verdict import FEWEST

FAR = 6.0  # times the median episode's squared distance from the bins' medians, in both stores
MOST = 0.2  # of the episodes: more of them are a group, and no exception


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """episodes  their names;  raw  CKA with all episodes;  without  CKA without these
    answer    what the measures say together without them
    """

    episodes: tuple[str, ...]
    raw: Estimate
    without: Estimate
    answer: str

    @property
    def sentence(self) -> str:
        return (
            f"{_count(self.episodes)} ({', '.join(self.episodes)}) far from all others in both stores: with all "
            f"episodes CKA is {self.raw.value:z.2f} {_tell(self.raw)}, without these {self.without.value:z.2f} "
            f"{_tell(self.without)}; the answer is without them. Look at the recordings."
        )

    def to_plain(self) -> dict[str, Any]:
        return {
            "episodes": list(self.episodes),
            "cka": {"value": self.raw.value, "ci": list(self.raw.ci)},
            "cka_without": {"value": self.without.value, "ci": list(self.without.ci)},
            "answer_without": self.answer,
        }


def find_far(pair: Pair) -> Int[np.ndarray, " k"]:
    """Episodes far off in both stores; none where they are so many that the others would be too few."""
    far = np.minimum(_distances(pair, pair.left), _distances(pair, pair.right)) > FAR
    enough = far.sum() <= MOST * pair.num_episodes and _is_enough(pair, np.flatnonzero(~far))
    return np.flatnonzero(far) if enough else np.zeros(0, int)


def _distances(pair: Pair, vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " E"]:
    """Squared, of each episode from the bins' medians, in those of the median episode."""
    squares = np.empty(len(vectors))
    for rows in pair.groups:
        values = vectors[rows].astype(np.float64)
        squares[rows] = ((values - np.median(values, axis=0)) ** 2).sum(axis=1)
    means = pair.average(squares[:, None])[:, 0]
    return means / max(float(np.median(means)), np.finfo(float).tiny)


def _is_enough(pair: Pair, rest: Int[np.ndarray, " K"]) -> bool:
    """Whether each bin keeps enough rows."""
    kept = np.isin(pair.episode, rest)
    return all(kept[rows].sum() >= FEWEST for rows in pair.groups)


def _count(episodes: tuple[str, ...]) -> str:
    return "1 episode lies" if len(episodes) == 1 else f"{len(episodes)} episodes lie"


def _tell(estimate: Estimate) -> str:
    return f"[{estimate.ci[0]:z.2f}, {estimate.ci[1]:z.2f}]"
