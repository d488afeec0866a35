"""The measures that people ask for, computed properly, each with what it cannot tell.

In: two aligned samples' vectors. Out: a `Familiar` for each, for the appendix: no verdict rests on them. Distributions
are compared a dimension at a time over episode means: of flattened values of one population, 20 episodes each,
Kolmogorov-Smirnov rejects 68 % of the time, as if every value of every frame were a draw of its own.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from mobile_vla.contexts.vectors import spread

MOST_DIMENSIONS = 512  # that distributions are compared in: an even sample of more
CELLS = 10  # of the histograms of a divergence, with equal numbers of both stores' episodes


@dataclass(frozen=True, kw_only=True)
class Familiar:
    value: float
    of: str
    cannot_tell: str

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


BASIS = (
    "dimension i of one model is not dimension i of another: a rotated copy, the same to any head, scores like chance"
)
MEANING = "it sees how often values occur, not which episode has them: shuffled episodes give the same number"


def find_familiar(left: Float[np.ndarray, "E D1"], right: Float[np.ndarray, "E D2"]) -> dict[str, Familiar] | str:
    """Of the episodes' mean vectors; in words why there is none."""
    if left.shape[1] != right.shape[1]:
        return f"vectors of {left.shape[1]} and {right.shape[1]} numbers: their dimensions do not correspond"
    left, right = left.astype(np.float64), right.astype(np.float64)
    found = {
        "cosine": Familiar(
            value=_mean_cosine(left, right),
            of="mean over episodes, between the two stores' mean vectors",
            cannot_tell=f"{BASIS}; and one massive dimension that never changes brings it near 1",
        ),
        "feature_correlation": Familiar(
            value=_mean_correlation(left, right),
            of="mean over dimensions of the correlation over episodes; dimensions that never vary count as 0",
            cannot_tell=BASIS,
        ),
    }
    chosen = spread(left.shape[1], MOST_DIMENSIONS)
    for name, (of, measure) in DISTRIBUTIONS.items():
        values = [measure(left[:, index], right[:, index]) for index in chosen]
        found[name] = Familiar(
            value=float(np.mean(values)),
            of=f"{of}, of episode means, mean over {len(chosen)} dimensions",
            cannot_tell=f"{MEANING}; and {BASIS}",
        )
    return found


def _mean_cosine(left: np.ndarray, right: np.ndarray) -> float:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(axis=1)
    return float(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).mean())


def _mean_correlation(left: np.ndarray, right: np.ndarray) -> float:
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    norms = np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=0)
    products = (left * right).sum(axis=0)
    return float(np.divide(products, norms, out=np.zeros_like(products), where=norms > 0).mean())


def _ks(left: np.ndarray, right: np.ndarray) -> float:
    return float(stats.ks_2samp(left, right, method="asymp").statistic)


def _kl(left: np.ndarray, right: np.ndarray) -> float:
    """Half an episode is added to each cell, or an empty one would make it infinite."""
    edges = np.quantile(np.concatenate([left, right]), np.linspace(0, 1, CELLS + 1)[1:-1])
    counts = [np.bincount(np.searchsorted(edges, values), minlength=CELLS) + 0.5 for values in (left, right)]
    return float(stats.entropy(counts[0], counts[1]))


def _wasserstein(left: np.ndarray, right: np.ndarray) -> float:
    spread = left.std()
    return float(stats.wasserstein_distance(left, right) / spread) if spread > 0 else 0.0


DISTRIBUTIONS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "ks": ("largest distance of the two distribution functions", _ks),
    "kl": ("Kullback-Leibler divergence of the second store's histogram from the first's, nats", _kl),
    "wasserstein": ("earth mover's distance in the first store's standard deviations", _wasserstein),
}
