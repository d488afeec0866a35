"""Noise belongs to frames: whatever surrounds a frame, its numbers are the same, and no two frames share theirs."""

from itertools import combinations

import pytest
import torch

from mobile_vla.core.batch import PairId
from mobile_vla.core.draws import FrameDraws

IDS = [PairId(episode, frame, "go") for episode in ("a", "b", "a1") for frame in (0, 1, 10)]
WINDOWS = torch.tensor([[0, 1, -1], [3, 4, 5], [8, 7, 6]])


def test_a_frame_has_its_numbers_in_whatever_batch_and_variant():
    together = FrameDraws(IDS, WINDOWS).normal(5, 2, seed=0)
    for row, window in enumerate(WINDOWS.tolist()):
        for place, index in enumerate(window):
            if index < 0:
                continue  # padding
            id = IDS[index]
            other = PairId(id.episode, id.frame, "another text", "swap")
            alone = FrameDraws([other], torch.zeros(1, 1, dtype=torch.int64)).normal(5, 2, seed=0)
            assert torch.equal(alone[0, 0], together[row, place])


def test_frames_seeds_and_kinds_share_nothing():
    """Also `a` at 10 and `a1` at 0, and neighbours."""
    places = torch.arange(len(IDS))[None]
    rows = [*FrameDraws(IDS, places).normal(8, seed=0)[0], *FrameDraws(IDS, places).normal(8, seed=1)[0]]
    rows += [*FrameDraws(IDS, places).uniform(8, seed=0)[0]]
    assert not any(torch.equal(one, other) for one, other in combinations(rows, 2))


def test_they_are_distributed_as_they_should_be():
    ids = [PairId("e", frame, "") for frame in range(400)]
    draws = FrameDraws(ids, torch.arange(400)[None])
    normal, uniform = draws.normal(50, seed=3), draws.uniform(50, seed=3)
    assert abs(float(normal.mean())) < 0.03
    assert float(normal.std()) == pytest.approx(1, abs=0.03)
    assert (uniform >= 0).all()
    assert (uniform < 1).all()
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.01)
    # The first numbers of neighbouring frames are as unrelated as any.
    first = normal[0, :, 0]
    assert abs(float((first[1:] * first[:-1]).mean())) < 0.15


def test_they_are_those_of_earlier_versions():
    """A stored run's actions depend on them: a change of these numbers is a change of every `flow` policy."""
    found = FrameDraws([PairId("episode", 7, "go")], torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(found.normal(3, seed=0)[0, 0], torch.tensor(NORMAL), atol=1e-5, rtol=0)


def test_made_up_contexts_have_one_frame():
    draws = FrameDraws.unknown(torch.zeros(2, 3, 4))
    numbers = draws.normal(6, seed=0)
    assert numbers.shape == (2, 3, 6)
    assert torch.equal(numbers, numbers[:1, :1].expand(2, 3, 6))


NORMAL = [-1.3541053533554077, -0.5105924010276794, -2.0891165733337402]
