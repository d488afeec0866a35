"""The true action chunks of a sample as a table of targets, and the action before each row.

In: a sample that has actions, and the baseline. Out: `Chunks`, what the context shall tell beyond the baseline.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mobile_vla.analysis.sample import BINS, Sample
from mobile_vla.analysis.verdicts.preserving.baseline import Baseline, make_baseline
from mobile_vla.analysis.verdicts.preserving.ridge import orthonormal

CONSTANT = 1e-6  # of the largest value: a component that varies by less is constant but for rounding
LEADING = 0.95  # of the variance that is left of the chunks, in the components that are permuted
MOST_LEADING = 6  # components that are permuted
NOTHING = 1e-9  # of the chunks' sum of squares: less is left by rounding
TARGET = "next action chunk"


class Chunks(NamedTuple):
    """Targets as columns, standardised by component; unknown entries hold what the baseline says, and are never scored.

    leading  (N, k) the principal components of what the baseline leaves: what is permuted and planted. The steps of a
             chunk are nearly copies of each other, and a test on a few columns is as exact as one on all
    """

    values: Float[np.ndarray, "N M"]
    known: Bool[np.ndarray, "N M"]
    shape: tuple[int, int]
    leading: Float[np.ndarray, "N k"]


def make_chunks(sample: Sample, baseline: Baseline | None = None) -> Chunks:
    """The true chunks of a sample that has any."""
    assert sample.actions is not None
    baseline = baseline or make_baseline(sample)
    deviation = np.nanstd(sample.actions, axis=(0, 1))
    varies = deviation > CONSTANT * np.nanmax(np.abs(sample.actions), axis=(0, 1))
    chunks = sample.actions / np.where(varies, deviation, 1)
    flat = chunks.reshape(len(chunks), -1)
    known = np.isfinite(flat)
    basis = orthonormal(baseline.columns)
    filled = _fill(flat, known, basis)
    left = np.where(known, filled - basis @ (basis.T @ filled), 0.0)
    scores, singular, _ = np.linalg.svd(left, full_matrices=False)
    shares = singular**2 / max((singular**2).sum(), np.finfo(np.float64).tiny)
    num = min(int(np.searchsorted(shares.cumsum(), LEADING) + 1), MOST_LEADING)
    return Chunks(filled, known, chunks.shape[1:], (scores * singular)[:, :num])


def anything_left(sample: Sample, chunks: Chunks, baseline: Baseline | None = None) -> bool:
    """Whether the chunks differ in anything that does not follow from progress, instruction and session. Where they
    are the same in all episodes of a text, they follow, also by a function of progress that is no cubic."""
    baseline = baseline or make_baseline(sample)
    cells = np.unique(baseline.text[sample.episode] * BINS + sample.bin, return_inverse=True)[1]
    basis = orthonormal(np.column_stack([baseline.columns, np.eye(cells.max() + 1)[cells]]))
    left = np.where(chunks.known, chunks.values - basis @ (basis.T @ chunks.values), 0.0)
    return bool((left**2).sum() > NOTHING * (np.where(chunks.known, chunks.values, 0.0) ** 2).sum())


def _fill(
    flat: Float[np.ndarray, "N M"], known: Bool[np.ndarray, "N M"], basis: Float[np.ndarray, "N R"]
) -> Float[np.ndarray, "N M"]:
    """Unknown entries by a fit of the baseline to what is known of the column; columns that are unknown in the same
    rows, as the last steps of chunks near the end are, at once."""
    filled = np.where(known, flat, 0.0)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        if not pattern.all():
            columns = np.flatnonzero(which.ravel() == number)
            weights = np.linalg.lstsq(basis[pattern], filled[np.ix_(pattern, columns)], rcond=1e-6)[0]
            filled[np.ix_(~pattern, columns)] = basis[~pattern] @ weights
    return filled


def previous_chunks(sample: Sample) -> Float[np.ndarray, "N A"] | None:
    """The action one frame before each row, where the store holds that frame or one whose chunk reaches it."""
    store = sample.store
    if store is None or sample.actions is None:
        return None
    own = store.select()
    actions = store.column("action")[own]
    names, frames = store.column("episode")[own], store.column("frame")[own]
    place = {key: index for index, key in enumerate(zip(names.tolist(), frames.tolist(), strict=True))}
    steps = actions.shape[1]
    found = np.zeros((len(sample.rows), actions.shape[2]))
    episodes, wanted = store.column("episode")[sample.rows], store.column("frame")[sample.rows]
    for row, (episode, frame) in enumerate(zip(episodes.tolist(), wanted.tolist(), strict=True)):
        reached = [(place.get((episode, frame - back)), back - 1) for back in range(1, min(steps, frame) + 1)]
        at = next(((index, step) for index, step in reached if index is not None), None)
        if at is not None and np.isfinite(actions[at]).all():
            found[row] = actions[at]
        elif frame > 0:
            return None
    return found
