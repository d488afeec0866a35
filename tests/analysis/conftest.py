"""Stores of planted vectors, written as a probe writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobile_vla.contexts.manifest import StoreInfo, TapSpec
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.contexts.rows import Row, RowId
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core import durable


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Bringing files to disk guards against a loss of power, which no test stages."""
    monkeypatch.setattr(durable, "_sync", lambda path: None)


def write_store(
    folder: Path,
    vectors: Mapping[str, np.ndarray],
    episodes: Sequence[str],
    frames: Sequence[int],
    progress: Sequence[float],
    *,
    instruction: str | Sequence[str] = "go",
    variant: str | Sequence[str] = "own",
    labels: Mapping[str, Sequence] | None = None,
    actions: np.ndarray | None = None,
    predicted: np.ndarray | None = None,
    episode_fingerprint: str | Sequence[str | None] | None = None,
    part: str | Sequence[str | None] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    configuration: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    components: Sequence[str] = ("linear_x", "linear_y"),
) -> Store:
    """A complete store of N rows: everything that is one value is of all of them; vectors (N, ...) by tap, actions and
    predicted (N, C, A)."""
    count = len(episodes)

    def spread(value):
        return [value] * count if value is None or isinstance(value, str) else list(value)

    texts, variants, prints = spread(instruction), spread(variant), spread(episode_fingerprint)
    parts = spread(part)
    ids = [RowId(str(episodes[i]), int(frames[i]), texts[i], variants[i]) for i in range(count)]
    rows = [
        Row(
            id=ids[i],
            progress=float(progress[i]),
            part=parts[i],
            fingerprint=prints[i],
            labels={name: values[i] for name, values in (labels or {}).items()},
            action=None if actions is None else np.asarray(actions[i], np.float32),
            action_mask=None if actions is None else np.isfinite(actions[i]).all(axis=1),
            predicted=None if predicted is None else np.asarray(predicted[i], np.float32),
        )
        for i in range(count)
    ]
    chunks = actions if actions is not None else predicted
    info = StoreInfo(
        fingerprints=fingerprints or {},
        configuration=configuration or {},
        run=run or {},
        steps=None if chunks is None else chunks.shape[1],
        components=() if chunks is None else tuple(components[: chunks.shape[2]]),
    )
    values = {tap: np.asarray(array, np.float32) for tap, array in vectors.items()}
    taps = {tap: TapSpec(shape=array.shape[1:]) for tap, array in values.items()}
    with StoreWriter(folder, ids, taps, info) as writer:
        writer.add(rows, values)
    complete(folder)
    return open_store(folder)
