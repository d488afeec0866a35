"""Pixel values are those of transformers' Kosmos-2 image processing, but for one grey level of the resize."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mobile_vla.core.preprocessing import CLIP_STD, Preprocessing


def picture(height: int, width: int) -> np.ndarray:
    """Smooth shading with sharp edges and noise: what an antialiased resize must treat with care."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:height, :width]
    shade = np.stack([127 + 90 * np.sin(x / 37) * np.cos(y / 23 + channel) for channel in range(3)], axis=-1)
    shade[height // 4 : height // 2, width // 3 : width // 2] = (250, 10, 60)
    return np.clip(shade + rng.normal(0, 12, shade.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (480, 640), (224, 224), (100, 90)])
@pytest.mark.parametrize("resample", [3, 2])
def test_equals_the_processor_of_kosmos2(height, width, resample):
    frame = picture(height, width)
    processor = CLIPImageProcessorPil(size={"height": 224, "width": 224}, do_center_crop=False, resample=resample)
    expected = processor(Image.fromarray(frame), return_tensors="pt")["pixel_values"]
    ours = Preprocessing(interpolation={2: "bilinear", 3: "bicubic"}[resample])
    found = ours(ours.resize(torch.from_numpy(frame)[None]))
    level = 1 / 255 / min(CLIP_STD)
    assert found.shape == expected.shape == (1, 3, 224, 224)
    assert (found - expected).abs().max() <= 1.01 * level
    assert (found - expected).abs().mean() <= 0.1 * level


def test_a_frame_is_squashed_not_cropped():
    """The outermost columns of a wide frame are still there."""
    frame = torch.zeros(1, 720, 1280, 3, dtype=torch.uint8)
    frame[:, :, :60] = 255
    frame[:, :, -60:] = 255
    small = Preprocessing().resize(frame)
    assert small[0, 112, 0].tolist() == small[0, 112, -1].tolist() == [255, 255, 255]
    assert small[0, 112, 112].tolist() == [0, 0, 0]


def test_a_frame_of_the_right_size_is_left_alone():
    frame = torch.from_numpy(picture(224, 224))[None]
    assert torch.equal(Preprocessing().resize(frame), frame)


def test_frames_of_a_batch_do_not_mix():
    frames = torch.from_numpy(np.stack([picture(100, 160), 255 - picture(100, 160)]))
    ours = Preprocessing(size=28)
    together = ours(ours.resize(frames))
    for i in range(2):
        assert torch.equal(ours(ours.resize(frames[i : i + 1]))[0], together[i])


@pytest.mark.parametrize("settings", [{"size": 0}, {"std": (0.2, 0.0, 0.2)}])
def test_sizes_and_deviations_must_be_positive(settings):
    with pytest.raises(ValueError, match="size and std must be positive"):
        Preprocessing(**settings)
