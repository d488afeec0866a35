"""Frames to pixel values: the resize is Pillow's, and the scaling is the checkpoint's."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobile_vla.core.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("height_width", [(24, 40), (60, 80), (90, 160), (10, 12)])
def test_resize_is_pillows_within_one_level(interpolation, height_width):
    frames = np.random.default_rng(0).integers(0, 256, (2, *height_width, 3), dtype=np.uint8)
    ours = Preprocessing(size=16, interpolation=interpolation).resize(torch.from_numpy(frames))
    filter = Image.Resampling[interpolation.upper()]
    pillows = np.stack([np.asarray(Image.fromarray(frame).resize((16, 16), filter)) for frame in frames])
    assert ours.dtype == torch.uint8
    assert np.abs(ours.numpy().astype(int) - pillows).max() <= 1


def test_resize_of_upright_frames_stays_close():
    frame = np.random.default_rng(0).integers(0, 256, (50, 20, 3), dtype=np.uint8)
    ours = Preprocessing(size=16).resize(torch.from_numpy(frame)[None])[0].numpy().astype(int)
    pillows = np.asarray(Image.fromarray(frame).resize((16, 16), Image.Resampling.BICUBIC))
    assert np.abs(ours - pillows).mean() < 0.5


def test_frames_of_the_right_size_keep_every_pixel(small):
    frames = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    assert torch.equal(small.resize(frames), frames)


def test_pixel_values_are_scaled_then_standardised_by_channel(small):
    frames = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    values = small(frames)
    assert values.dtype == torch.float32
    assert values.shape == (2, 3, 16, 16)
    for channel, (mean, std) in enumerate(zip(CLIP_MEAN, CLIP_STD, strict=True)):
        expected = (frames[..., channel].double() / 255 - mean) / std
        torch.testing.assert_close(values[:, channel].double(), expected, atol=1e-5, rtol=0)


def test_a_checkpoint_may_want_plain_zero_to_one():
    plain = Preprocessing(size=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(1, 2, 2, 3)
    torch.testing.assert_close(plain(frames)[0, :, 0, 0], torch.tensor([0.0, 0.2, 1.0]))


@pytest.mark.parametrize("settings", [{"size": 0}, {"std": (1.0, 0.0, 1.0)}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="size and std must be positive"):
        Preprocessing(**settings)
