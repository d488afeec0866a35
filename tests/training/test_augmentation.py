"""Frames changed for training: each change is Pillow's or the standard library's, done slowly, one pixel at a time."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from mobile_vla.training.augmentation import AugmentationConfig, augment, draw

PLACE = (3, 1, 5)  # seed, epoch, batch
ALL = AugmentationConfig(crop=0.3, brightness=0.4, contrast=0.4, saturation=0.5, hue=0.2)
FRAMES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), np.uint8))
EPISODES = ["a", "a", "b", "a"]


def changed(place=PLACE, **settings) -> np.ndarray:
    return augment(FRAMES, EPISODES, AugmentationConfig(**settings), place).numpy().astype(int)


@pytest.mark.parametrize(
    ("name", "by"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_the_jitter_is_pillows(name, by):
    config = AugmentationConfig(**{name: 0.8})
    found = changed(**{name: 0.8})
    for frame, episode, ours in zip(FRAMES.numpy(), EPISODES, found, strict=True):
        factor = getattr(draw(config, PLACE, episode), name)
        assert abs(factor - 1) > 0.1
        pillows = np.asarray(by(Image.fromarray(frame)).enhance(factor)).astype(int)
        assert np.abs(ours - pillows).max() <= 2  # Pillow rounds greys and means to whole levels, and cuts off


def test_the_hue_is_the_standard_librarys():
    config = AugmentationConfig(hue=0.5)
    grey = torch.tensor([0, 77, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 2, 2, 3)
    frames = torch.cat([FRAMES[:, :2, :2], grey])
    episodes = [*EPISODES, "a", "b", "a"]
    found = augment(frames, episodes, config, PLACE).numpy()
    for frame, episode, ours in zip(frames.numpy() / 255, episodes, found, strict=True):
        turn = draw(config, PLACE, episode).hue
        assert abs(turn) > 0.05
        for y, x in np.ndindex(2, 2):
            hue, saturation, value = colorsys.rgb_to_hsv(*frame[y, x])
            expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
            assert ours[y, x] == pytest.approx(255 * np.array(expected), abs=0.51)


def test_the_crop_is_a_square_resized_to_the_whole():
    config = AugmentationConfig(crop=0.5)
    found = changed(crop=0.5)
    size = FRAMES.shape[1]
    for frame, episode, ours in zip(FRAMES.double().numpy(), EPISODES, found, strict=True):
        drawn = draw(config, PLACE, episode)
        assert drawn.side < 0.95
        for y, x in np.ndindex(size, size):
            row = (drawn.top + drawn.side * (y + 0.5) / size) * size - 0.5
            column = (drawn.left + drawn.side * (x + 0.5) / size) * size - 0.5
            assert ours[y, x] == pytest.approx(between(frame, row, column), abs=0.52)


def between(frame: np.ndarray, row: float, column: float) -> np.ndarray:
    """The value between four pixels; the frame goes on beyond its edge as at the edge."""
    total = np.zeros(3)
    for y in (int(np.floor(row)), int(np.floor(row)) + 1):
        for x in (int(np.floor(column)), int(np.floor(column)) + 1):
            weight = (1 - abs(row - y)) * (1 - abs(column - x))
            total += weight * frame[min(max(y, 0), len(frame) - 1), min(max(x, 0), len(frame) - 1)]
    return total


def test_crops_lie_within_the_frame_and_reach_its_edges():
    drawn = [draw(AugmentationConfig(crop=0.3), PLACE, str(i)) for i in range(300)]
    assert all(edge >= 0 and edge + d.side <= 1 for d in drawn for edge in (d.left, d.top))
    assert min(d.side for d in drawn) < 0.71
    assert max(d.side for d in drawn) > 0.99
    assert min(d.left for d in drawn) < 0.01
    assert max(d.left + d.side for d in drawn) > 0.99
    assert {d.left > d.top for d in drawn} == {True, False}


def test_frames_of_an_episode_are_changed_alike_and_others_otherwise():
    same = FRAMES[:1].expand(3, -1, -1, -1)
    first, second, other = augment(same, ["a", "a", "b"], ALL, PLACE)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_given_frames_stay_and_the_form_too():
    before = FRAMES.clone()
    found = augment(FRAMES, EPISODES, ALL, PLACE)
    assert torch.equal(FRAMES, before)
    assert (found.shape, found.dtype) == (before.shape, torch.uint8)
    assert not torch.equal(found, before)


@pytest.mark.parametrize("name", ["crop", "brightness", "contrast", "saturation", "hue"])
def test_what_is_off_does_nothing_and_changes_no_other_draw(name):
    assert AugmentationConfig(**{name: 0.1}).is_on
    without = draw(replace(ALL, **{name: 0.0}), PLACE, "a")
    neutral = {"crop": {"side": 1, "left": 0, "top": 0}, "hue": {"hue": 0}}.get(name, {name: 1})
    assert without == draw(ALL, PLACE, "a")._replace(**neutral)


def test_nothing_on_changes_nothing():
    assert not AugmentationConfig().is_on
    assert np.array_equal(changed(), FRAMES.numpy())


@pytest.mark.parametrize("other", [(4, 1, 5), (3, 2, 5), (3, 1, 6)])
def test_the_draw_depends_on_where_training_stands(other):
    torch.manual_seed(0)
    here = draw(ALL, PLACE, "a")
    torch.manual_seed(1)
    assert here == draw(ALL, PLACE, "a") != draw(ALL, other, "a")


def test_the_draw_is_the_same_in_every_process_and_version():
    """Written down once: a resumed run must draw what the first process, or an older Python, would have drawn."""
    assert draw(AugmentationConfig(hue=0.5, crop=0.5), (0, 0, 0), "에피소드") == pytest.approx(
        (0.5791077055786678, 0.08641158396788888, 0.2778524273610445, 1.0, 1.0, 1.0, -0.29480808086334687)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"brightness": 1.5}, r"^brightness must lie in \[0, 1\], got 1\.5"),
        ({"hue": 0.6}, r"^hue must lie in \[0, 0\.5\], got 0\.6"),
        ({"crop": 1.0}, r"^crop must lie in \[0, 1\), got 1\.0"),
        ({"saturation": -0.1}, r"^saturation"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AugmentationConfig(**settings)
