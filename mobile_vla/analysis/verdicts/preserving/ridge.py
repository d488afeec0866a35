"""Ridge regression as one matrix: predictions of whole episodes that were held out, without fitting once a fold.

In: inner products of the rows, and columns that are fitted without a penalty (an intercept, the cells of a baseline).
Out: hat matrices, y_hat = H y. What a fit without the rows B would have predicted for them follows from H alone:

    y_B - prediction_B = (I - H_BB)^-1 (y - H y)_B

exactly (Cook and Weisberg 1982, "Residuals and Influence in Regression", for blocks; it holds for any penalised least
squares whose penalty does not depend on y). So everything, the centring of the targets too, is fitted without the
held-out rows, and permuted targets cost a product.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

KEPT = 1e-10  # of the largest variance; less is rounding
# How much of the free columns is fitted: a column that lies all in the held-out rows predicts 0 then, and I - H_BB can
# be solved with.
FREELY = 1 - 1e-9
Blocks = Sequence[Int[np.ndarray, " _"]]  # rows that are held out together, of any number


def standardise(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N _"]:
    """Centred, every dimension divided by its standard deviation, and all by one number so that the mean squared
    length is 1. Unsupervised, so that all rows may be used. Constant dimensions fall away, also those that differ by
    rounding only."""
    values = vectors.astype(np.float64)
    rounding = 1e-9 * np.abs(values).max(initial=0.0)
    values -= values.mean(axis=0)
    deviation = values.std(axis=0)
    varies = deviation > max(1e-6 * deviation.max(initial=0.0), rounding)
    if not varies.any():
        return np.zeros((len(values), 1))
    return values[:, varies] / (deviation[varies] * np.sqrt(varies.sum()))


class Ridge:
    """kernel: (N, N) inner products; free: (N, Q) columns fitted without penalty.

    With P the projection on `free` and K = (I - P) kernel (I - P):  H = P + K (K + penalty I)^-1. Projecting the
    kernel is what partialling out does, and changes no prediction: `free` is in the model either way.
    """

    def __init__(self, kernel: Float[np.ndarray, "N N"], free: Float[np.ndarray, "N Q"]):
        self.basis = orthonormal(free)
        inner = self._project(self._project(kernel).T)
        variances, vectors = np.linalg.eigh((inner + inner.T) / 2)
        kept = variances > KEPT * max(variances[-1], np.finfo(np.float64).tiny)
        self.variances, self.vectors = variances[kept], vectors[:, kept]

    def hat(self, penalty: float) -> Float[np.ndarray, "N N"]:
        shrunk = self.variances / (self.variances + penalty)
        return project_on(self.basis) + (self.vectors * shrunk) @ self.vectors.T

    def left(self, penalty: float) -> Float[np.ndarray, "N N"]:
        """I - H: what a fit leaves of the targets."""
        return np.eye(len(self.vectors)) - self.hat(penalty)

    def _project(self, columns: np.ndarray) -> np.ndarray:
        return columns - self.basis @ (self.basis.T @ columns)


def orthonormal(columns: Float[np.ndarray, "N Q"]) -> Float[np.ndarray, "N R"]:
    """A basis of what the columns span."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, singular > 1e-9 * singular[0]] if len(singular) else left


def project_on(basis: Float[np.ndarray, "N R"]) -> Float[np.ndarray, "N N"]:
    """The hat matrix of an unpenalised fit to these orthonormal columns."""
    return FREELY * (basis @ basis.T)


def leave_out(
    hat: Float[np.ndarray, "N N"], targets: Float[np.ndarray, "N K"], blocks: Blocks
) -> Float[np.ndarray, "N K"]:
    """y - prediction: for each row by a fit without its block."""
    residuals = targets - hat @ targets
    found = np.empty_like(residuals)
    for block in blocks:
        found[block] = np.linalg.solve(np.eye(len(block)) - hat[np.ix_(block, block)], residuals[block])
    return found
