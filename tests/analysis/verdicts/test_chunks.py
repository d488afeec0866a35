"""The table of true chunks, and the action before each row."""

import numpy as np

from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.preserving.chunks import previous_chunks
from tests.analysis.conftest import write_store


def test_the_previous_action_is_that_of_the_frame_before(tmp_path):
    """From the chunk that reaches it, where the frame before is not stored; None where none does."""
    frames = np.tile([0, 4, 5], 3)
    actions = np.arange(9 * 4 * 2, dtype=float).reshape(9, 4, 2)
    names = np.repeat(["a", "b", "c"], 3)
    vectors = {"context": np.random.default_rng(0).standard_normal((9, 2))}
    sample = take_sample(write_store(tmp_path / "s", vectors, names, frames, frames / 5, actions=actions))
    found = previous_chunks(sample)
    assert found is not None
    rows = sample.store.column("frame")[sample.rows]
    expected = {0: [0, 0], 4: actions[0, 3], 5: actions[1, 0]}
    for frame in (0, 4, 5):
        np.testing.assert_allclose(found[rows == frame][:1], [expected[frame]])
    short = take_sample(write_store(tmp_path / "t", vectors, names, frames, frames / 5, actions=actions[:, :2]))
    assert previous_chunks(short) is None
