"""Maps lie over their frames as they are, whatever language the instruction is in, and every frame is the right one."""

import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from mobile_vla.core.batch import OWN, PairId
from mobile_vla.data.assemble import WindowRequest
from mobile_vla.display import attention_figure
from mobile_vla.display.attention_figure import (
    AttendedFrame,
    caption,
    describe,
    film_strip,
    frame_grid,
    overlay,
    save_png,
)
from mobile_vla.probing.attending import attend_frames
from mobile_vla.sources.schema import BrokenEpisode
from mobile_vla.taps.attention import attend
from mobile_vla.taps.attention_config import AttentionConfig

KOREAN = "상자를 왼쪽으로 돌아 가세요"


def make_shown(row: int, column: int, frame: int = 0, instruction: str = "go left", weight: float = 0.5):
    """Most of what goes to patches (0.5 of 0.8) is on one of 4 x 4, of a frame of 24 x 48 pixels."""
    map = np.full((4, 4), (0.8 - weight) / 15, np.float32)
    map[row, column] = weight
    return AttendedFrame(
        pair=PairId("episode_7", frame, instruction, OWN),
        progress=frame / 10,
        frame=np.full((24, 48, 3), frame, np.uint8),
        map=map,
        text_shares={"image": 0.25, "text": 0.5, "special": 0.2, "action": 0.05},
        image_shares={"patches": 0.8, "class_token": 0.15, "queries": 0.05},
    )


def test_an_overlay_is_bilinear_between_the_centres_of_patches():
    shown = make_shown(1, 3)
    values = overlay(shown)
    assert values.shape == (24, 48)
    times_even = 16 / 0.8 * shown.map  # a patch of an even spread is 1
    for y in range(24):
        for x in range(48):
            row, column = (min(max((at + 0.5) / size - 0.5, 0), 3) for at, size in ((y, 6), (x, 12)))
            up, left = min(int(row), 2), min(int(column), 2)
            down, right = row - up, column - left
            expected = (1 - down) * ((1 - right) * times_even[up, left] + right * times_even[up, left + 1])
            expected += down * ((1 - right) * times_even[up + 1, left] + right * times_even[up + 1, left + 1])
            assert values[y, x] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("draw", "transposed"), [(film_strip, True), (frame_grid, False)])
def test_each_map_is_drawn_over_its_own_frame_and_all_share_a_scale(draw, transposed):
    shown = [make_shown(0, 2, frame=3), make_shown(2, 1, frame=9, weight=0.25), make_shown(3, 0, frame=10)]
    figure = draw(shown)
    assert isinstance(figure, Figure)
    axes = np.array(figure.axes[:-1]).reshape((2, 3) if transposed else (3, 2))  # the last one is the colour bar
    for item, (plain, covered) in zip(shown, axes.T if transposed else axes, strict=True):
        assert np.array_equal(plain.images[0].get_array(), item.frame)
        grey, heat = covered.images
        assert np.array_equal(grey.get_array(), item.frame.mean(2))
        assert np.array_equal(heat.get_array(), overlay(item))
        assert heat.get_extent() == grey.get_extent() == plain.images[0].get_extent()
        assert heat.get_clim() == pytest.approx((0, 10))
        assert f"frame {item.pair.frame}, {item.progress:.0%}" in plain.get_title() + plain.get_title(loc="left")
        (box,) = covered.patches
        y, x = np.unravel_index(overlay(item).argmax(), (24, 48))
        assert box.get_x() < x < box.get_x() + 12
        assert box.get_y() < y < box.get_y() + 6
        assert covered.get_xlabel() == "25% to the image,\n80% of it to patches"
    assert "16 patches" in figure.axes[-1].get_ylabel()


def test_an_even_map_looks_even():
    (_, heat) = film_strip([make_shown(0, 0, weight=0.05)]).axes[1].images
    assert heat.get_clim() == (0, 2)
    np.testing.assert_allclose(heat.get_array(), 1, rtol=1e-6)


def test_what_no_font_can_draw_is_the_episode_and_the_text_is_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(attention_figure, "FONTS", ["DejaVu Sans"])
    shown = [make_shown(0, 2, instruction=KOREAN), make_shown(0, 2, frame=5, instruction=KOREAN)]
    for draw, name in ((film_strip, "strip.png"), (frame_grid, "grid.png")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # matplotlib warns of each letter that it has no glyph for
            figure = draw(shown)
            save_png(figure, tmp_path / name, shown)
        drawn = [text.get_text() for axis in figure.axes for text in (axis.title, axis._left_title)]
        assert any("episode_7" in text for text in [figure.get_suptitle(), *drawn])
        with Image.open(tmp_path / name) as image:
            assert image.info["Description"] == describe(shown)
    assert KOREAN in describe(shown)


def test_a_caption_is_the_instruction_where_it_can_be_drawn():
    assert caption(PairId("e", 0, "go left")) == "go left"
    assert caption(PairId("e", 0, "  ")) == "e"
    assert caption(PairId("e", 0, "\u0e44\U00012000")) == "e"  # cuneiform
    assert len(caption(PairId("e", 0, "go " * 100))) < 100


def test_a_description_names_every_frame_and_where_the_rest_goes():
    shown = [make_shown(0, 2, frame=3), make_shown(2, 1, frame=9), make_shown(2, 1, frame=3, instruction="go right")]
    assert describe(shown).split("\n") == [
        "episode_7, own: go left",
        "- frame 3, 30%: image 25.0%, text 50.0%, special 20.0%, action 5.0%; of the image patches 80.0%, "
        "class token 15.0%, queries 5.0%",
        "- frame 9, 90%: image 25.0%, text 50.0%, special 20.0%, action 5.0%; of the image patches 80.0%, "
        "class token 15.0%, queries 5.0%",
        "episode_7, own: go right",
        "- frame 3, 30%: image 25.0%, text 50.0%, special 20.0%, action 5.0%; of the image patches 80.0%, "
        "class token 15.0%, queries 5.0%",
    ]


@pytest.fixture(scope="module")
def setting(lab):
    policy, data = lab.make_policy(), lab.make_data(num_validation=6)  # 9, 12, 3, 7, 10 and 4 frames, windows of 4
    return policy, data.assembler(data.episodes("validation"))


class TestFrames:
    @pytest.mark.parametrize(
        ("episode", "frames", "expected"),
        [(0, 6, [0, 2, 3, 5, 6, 8]), (1, 3, [0, 6, 11]), (2, 6, [0, 1, 2]), (1, 1, [0])],
    )
    @torch.no_grad()
    def test_frames_are_spread_from_first_to_last_each_with_its_own_map(self, setting, lab, episode, frames, expected):
        policy, assembler = setting
        config = AttentionConfig(frames=frames)
        shown = attend_frames(policy, assembler, episode, config)
        source = assembler.episodes[episode]
        assert [item.pair for item in shown] == [
            PairId(source.id, frame, source.instruction, OWN) for frame in expected
        ]
        for item in shown:
            assert item.progress == source.progress(item.pair.frame)
            own = lab.RandomFrames().read(source, item.pair.frame, item.pair.frame + 1)[0]
            assert np.array_equal(item.frame, own.numpy())
            batch = assembler([WindowRequest(episode=episode, start=item.pair.frame)])
            with attend(policy, config) as attention:
                policy(batch)
                alone = attention.take(batch)
            np.testing.assert_allclose(item.map, alone.map[0], atol=2e-6)
            for name, share in {**alone.text_shares, **alone.image_shares}.items():
                assert {**item.text_shares, **item.image_shares}[name] == pytest.approx(float(share[0]), abs=2e-6)

    def test_a_policy_in_training_mode_is_run_in_eval_mode_and_goes_on_training(self, lab):
        policy, data = lab.make_policy(lora={"dropout": 0.5}), lab.make_data()
        assembler = data.assembler(data.episodes("validation"))
        with torch.no_grad():
            for name, weight in policy.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, 0.1)
        expected = attend_frames(policy, assembler, 0, AttentionConfig())
        found = attend_frames(policy.train(), assembler, 0, AttentionConfig())
        assert policy.training
        assert policy.backbone.model.training
        assert all(np.array_equal(a.map, b.map) for a, b in zip(found, expected, strict=True))

    def test_a_broken_file_has_nothing_to_show(self, setting, lab, monkeypatch):
        policy, _ = setting
        data = lab.make_data(faults="skip")
        assembler = data.assembler(data.episodes("validation"))
        read = lab.RandomFrames.read

        def fail(self, episode, low, high):
            if episode.id == assembler.episodes[0].id:
                raise BrokenEpisode("truncated")
            return read(self, episode, low, high)

        monkeypatch.setattr(lab.RandomFrames, "read", fail)
        assert attend_frames(policy, assembler, 0, AttentionConfig()) == []
        assert attend_frames(policy, assembler, 1, AttentionConfig())
