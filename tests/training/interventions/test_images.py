"""Donors come in disjoint pairs of one instruction, whatever the order of the episodes; stills replace every frame."""

from collections import Counter

import numpy as np
import pytest
import torch

from mobile_vla.data.meaning import Meanings
from mobile_vla.data.opening import BrokenEpisode
from mobile_vla.data.requests import WindowRequest
from mobile_vla.data.stills import Still, blank_still
from mobile_vla.preprocessing import Preprocessing
from mobile_vla.training.interventions.images import pair_donors, with_donors

OF = {"go left": "left", "pass left": "left", "go right": "right", "stay right": "right"}
MEANINGS = Meanings(OF, known=True)


def episodes_of(lab, counts: dict[str, int]):
    texts = [text for text, count in counts.items() for _ in range(count)]
    return [lab.make_episode(f"e{i:02d}", 5 + i % 4, text) for i, text in enumerate(texts)]


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_disjoint_and_of_one_instruction(lab, seed):
    episodes = episodes_of(lab, {"go left": 6, "go right": 10})
    donors = pair_donors(episodes, MEANINGS, seed)
    assert len(donors) == 16
    for own, donor in donors.items():
        assert own != donor
        assert donors[donor] == own
        assert episodes[own].instruction == episodes[donor].instruction


def test_who_is_left_over_is_paired_within_the_meaning_or_not_at_all(lab):
    episodes = episodes_of(lab, {"go left": 5, "pass left": 3, "go right": 4, "stay right": 1})
    donors = pair_donors(episodes, MEANINGS, 0)
    same = [a for a, b in donors.items() if episodes[a].instruction == episodes[b].instruction]
    mixed = [a for a, b in donors.items() if episodes[a].instruction != episodes[b].instruction]
    assert len(same) == 4 + 2 + 4
    assert sorted(episodes[i].instruction for i in mixed) == ["go left", "pass left"]
    assert {episodes[i].instruction for i in set(range(13)) - donors.keys()} == {"stay right"}
    assert with_donors(donors)(WindowRequest(episode=12, start=0)) is None
    apart = Meanings({text: text for text in OF}, known=False)
    assert len(pair_donors(episodes, apart, 0)) == 10


def test_pairs_depend_on_the_seed_and_the_ids_alone(lab):
    episodes = episodes_of(lab, {"go left": 7, "pass left": 5, "go right": 9})

    def pairs(order, seed=0):
        mixed = [episodes[i] for i in order]
        return {mixed[a].id: mixed[b].id for a, b in pair_donors(mixed, MEANINGS, seed).items()}

    expected = pairs(range(21))
    for shuffle in range(3):
        assert pairs(np.random.default_rng(shuffle).permutation(21)) == expected
    assert pairs(range(21), seed=1) != expected
    partners = Counter(frozenset(p) for seed in range(200) for p in pairs(range(21), seed).items() if "e00" in p)
    assert len(partners) >= 6  # anybody of the same text, or of the same meaning


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
