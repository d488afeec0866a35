"""Contexts with a power-law spectrum along random axes, before anything is planted. numpy only.

    x = U (lambda^(1/2) z),   lambda_k ~ k^-decay with mean 1,   z = episode effect + AR(1) over the episode's frames

z has standard deviation 1 along every component; `share` of its variance is the episode's. Signals are planted in
components, before they are turned.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from validation.second.recordings import Recordings

ROTATIONS = 4  # random bases kept for each width: drawing one takes longer than all the rest


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """share  of the variance that lies between episodes;  correlation  of neighbouring frames within one"""

    width: int = 96
    decay: float = 1.0
    share: float = 0.5
    correlation: float = 0.9

    @property
    def variances(self) -> Float[np.ndarray, " D"]:
        """Largest first, with mean 1."""
        values = np.arange(1, self.width + 1) ** -self.decay
        return values / values.mean()

    @property
    def sd(self) -> Float[np.ndarray, " D"]:
        return np.sqrt(self.variances)


def draw_components(spectrum: Spectrum, of: Recordings, rng: np.random.Generator) -> Float[np.ndarray, "N D"]:
    """Not yet turned: column k has variance lambda_k."""
    z = draw_latent(of, rng, spectrum.width, spectrum.share, spectrum.correlation)
    return z * spectrum.sd


def draw_latent(
    of: Recordings, rng: np.random.Generator, number: int, share: float, correlation: float
) -> Float[np.ndarray, "N K"]:
    """`number` independent processes of standard deviation 1, at the stored frames."""
    within = rng.standard_normal((len(of.episode), number))
    gap = np.diff(of.frame, prepend=0)
    for place in range(1, int(of.place.max()) + 1):
        rows = np.flatnonzero(of.place == place)
        kept = correlation ** gap[rows][:, None]
        within[rows] = kept * within[rows - 1] + np.sqrt(1 - kept**2) * within[rows]
    between = rng.standard_normal((of.num, number))[of.episode]
    return np.sqrt(share) * between + np.sqrt(1 - share) * within


def mean_sd(spectrum: Spectrum, of: Recordings) -> float:
    """Standard deviation of an episode's mean along a component, as a share of the component's own (about)."""
    counts = np.bincount(of.episode)
    total = 0.0
    for index, count in enumerate(counts):
        frames = of.frame[of.episode == index]
        lags = np.abs(np.subtract.outer(frames, frames))
        total += spectrum.share + (1 - spectrum.share) * float((spectrum.correlation**lags).mean())
        assert count == len(frames)
    return float(np.sqrt(total / of.num))


def turn(components: Float[np.ndarray, "N D"], seed: int) -> Float[np.ndarray, "N D"]:
    """Along random axes, float32."""
    return components.astype(np.float32) @ _rotation(components.shape[1], seed % ROTATIONS)


@lru_cache(maxsize=16)
def _rotation(width: int, number: int) -> np.ndarray:
    rng = np.random.default_rng([width, number, 77])
    return np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
