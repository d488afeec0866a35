"""One store among those of a training's epochs: the numbers of its taps, and how far its rows moved since the first.

In: the store of an epoch, and the first one. Out: scalars by name, for charts over the epochs.
"""

import numpy as np
from jaxtyping import Float

from mobile_vla.analysis.description import MOST_VECTORS, describe_tap
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.vectors import spread


def trace(store: Store, first: Store) -> dict[str, float]:
    """`<tap>/<name>` -> value. `drift` is there where the first store holds the same rows, and they differ at all."""
    found = {}
    for tap in store.taps:
        found |= {f"{tap}/{name}": float(value) for name, value in describe_tap(store, tap).scalars().items()}
        drift = find_drift(store, first, tap)
        if drift is not None:
            found[f"{tap}/drift"] = drift
    return found


def find_drift(store: Store, first: Store, tap: str) -> float | None:
    """Of a sample of as many vectors as a description takes; None where the two stores cannot be compared."""
    same_rows = store.manifest.plan == first.manifest.plan
    if not same_rows or tap not in first.taps or store.taps[tap].shape != first.taps[tap].shape:
        return None
    *tokens, width = store.taps[tap].shape
    rows = spread(len(store), max(MOST_VECTORS // int(np.prod(tokens)), 1))
    before, now = (one.vectors(tap)[rows].reshape(-1, width) for one in (first, store))
    return measure_drift(before, now)


def measure_drift(before: Float[np.ndarray, "N D"], now: Float[np.ndarray, "N D"]) -> float | None:
    """Mean distance of the same rows to what they were, divided by their mean distance from their centre then.

    1 is as far as rows lay from their centre. A common shift or rotation counts: what is left of the structure is
    another question. None where all rows were the same.
    """
    before, now = before.astype(np.float64), now.astype(np.float64)
    apart = np.linalg.norm(before - before.mean(axis=0), axis=1).mean()
    return float(np.linalg.norm(now - before, axis=1).mean() / apart) if apart > 0 else None
