"""A still replaces every frame, and knows its content."""

import numpy as np
import torch

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.stills import Still, blank_still
from mobile_vla.sources.schema import BrokenEpisode


def test_blank_becomes_zero_for_the_model():
    preprocessing = Preprocessing(size=6, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    still = blank_still(preprocessing)
    assert still.pixels.shape == (6, 6, 3)
    assert preprocessing(still.pixels[None]).abs().max() <= 0.5 / 255 / 0.2 + 1e-6
    assert (still.pixels == still.pixels[0, 0]).all()


def test_a_still_knows_its_content():
    black, white = torch.zeros(2, 2, 3, dtype=torch.uint8), torch.full((2, 2, 3), 255, dtype=torch.uint8)
    assert Still.of("mean", black) == Still.of("mean", black.clone())
    assert len({Still.of("mean", black), Still.of("mean", black.clone()), Still.of("mean", white)}) == 2
    assert Still.of("mean", black).id != Still.of("blank", black).id


def test_the_mean_frame_is_of_five_frames_of_every_episode(lab, bench):
    frames = []
    for episode in bench.episodes:
        steps = {round(step) for step in np.linspace(0, episode.num_frames - 1, 5)}
        frames += [lab.RandomFrames().read(episode, step, step + 1)[0] for step in steps]
    expected = torch.stack(frames).double().mean(0)
    for episodes in (bench.episodes, bench.episodes[::-1]):
        found = bench.data.assembler(episodes).mean_frame()
        assert (found.double() - expected).abs().max() <= 0.5
        assert found.dtype == torch.uint8


def test_the_mean_frame_leaves_out_what_cannot_be_read(lab, bench):
    class Broken(lab.RandomFrames):
        def read(self, episode, low, high):
            if episode is bench.episodes[0]:
                raise BrokenEpisode("gone")
            return super().read(episode, low, high)

    assembler = bench.data.assembler(bench.episodes)
    assembler.faults, assembler.frames = "skip", Broken()
    assert torch.equal(assembler.mean_frame(), bench.data.assembler(bench.episodes[1:]).mean_frame())
