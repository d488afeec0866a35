"""The reader that ours is measured against reads the same frames."""

import h5py
import numpy as np
import torch

from benchmarks.lab_loader import load_frames
from mobile_vla.core.preprocessing import Preprocessing
from tests.conftest import draw_frames

SIZE = 16


def test_its_frames_are_ours_within_one_grey_level(tmp_path):
    frames = draw_frames(5, size=(40, 60))
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file.create_dataset("images", data=frames, compression="gzip")
    found = load_frames(tmp_path / "one.h5", 1, 4, SIZE)
    ours = Preprocessing.named("unit", SIZE)
    expected = ours(ours.resize(torch.from_numpy(np.ascontiguousarray(frames[1:4]))))
    assert found.shape == (3, 3, SIZE, SIZE)
    torch.testing.assert_close(found, expected, rtol=0, atol=1.01 / 255)
