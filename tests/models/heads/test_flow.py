"""Where the data go left or right, it goes left or right; and its objective is that of the literature."""

from unittest import mock

import pytest
import torch

from mobile_vla.core.batch import PairId
from mobile_vla.core.draws import FrameDraws
from mobile_vla.core.losses import masked_mean
from mobile_vla.models.heads.flow import FlowConfig, fill_masked
from mobile_vla.models.heads.head import Target

SMALL = {"hidden": 8, "layers": 1, "mlp": (64, 64)}


def frames(count: int, window: int = 1) -> FrameDraws:
    ids = [PairId("e", frame, "") for frame in range(count * window)]
    return FrameDraws(ids, torch.arange(count * window).unflatten(0, (count, window)))


def make_target(chunks: torch.Tensor, draws: FrameDraws) -> Target:
    mask = torch.ones(chunks.shape[:-1], dtype=torch.bool)
    return Target(chunks=chunks, mask=mask, draws=draws, huber_delta=1.0)


def test_it_draws_one_of_two_ways_and_not_their_mean():
    """One and the same context, half of the chunks all left, half all right; the two steps of a chunk belong together.

    A regression would put out 0, whatever the noise. In the second window position nothing is left to choose.
    """
    torch.manual_seed(0)
    head = FlowConfig(**SMALL, steps=20, samples=8).build(4, 2, 1).train()
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    contexts = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]).expand(64, 2, 4)
    side = torch.tensor([-0.8, 0.8]).repeat(32)[:, None, None, None].expand(64, 1, 2, 1)
    target = make_target(torch.cat([side, torch.full_like(side, 0.5)], 1), frames(64, 2))
    for _ in range(250):
        optimizer.zero_grad()
        masked_mean(head.losses(head(contexts), target), target.mask).backward()
        optimizer.step()
    with torch.no_grad():
        drawn = head.eval().actions(head(contexts.repeat(4, 1, 1)), frames(256, 2))
    free, settled = drawn[:, 0, :, 0], drawn[:, 1, :, 0]  # (N, C)
    assert float(((free.abs() - 0.8).abs() < 0.3).float().mean()) > 0.85
    assert 0.35 < float((free[:, 0] > 0).float().mean()) < 0.65
    assert float((free[:, 0].sign() == free[:, 1].sign()).float().mean()) > 0.97
    assert float((settled - 0.5).abs().mean()) < 0.15


def test_the_objective_is_the_squared_error_of_the_velocity_on_straight_paths():
    """Of a network that always answers 0 it is the mean square of chunk - noise."""
    head = FlowConfig(**SMALL, samples=4).build(4, 3, 2).eval()
    with torch.no_grad():
        for weight in head.velocity.parameters():
            weight.zero_()
    chunks = torch.rand(400, 1, 3, 2) * 2 - 1
    losses = head.losses(head(torch.randn(400, 1, 4)), make_target(chunks, frames(400)))
    expected = chunks.square().mean(0) + 1  # (C, A): the noise has variance 1
    torch.testing.assert_close(losses.mean(0), expected, atol=0.15, rtol=0)


def test_a_constant_velocity_is_followed_to_its_end():
    """Euler from the noise of the frame, over a time of 1 whatever the number of steps."""
    for steps in (1, 3):
        head = FlowConfig(**SMALL, steps=steps, spread=0.5, seed=4).build(4, 3, 2).eval()
        with torch.no_grad():
            for weight in head.velocity.parameters():
                weight.zero_()
            head.velocity[-1].bias.copy_(torch.arange(6.0))
            actions = head.actions(head(torch.randn(5, 1, 4)), frames(5))
        expected = 0.5 * frames(5).normal(3, 2, seed=4) + torch.arange(6.0).view(3, 2)
        torch.testing.assert_close(actions, expected)


def test_time_runs_from_the_noise_to_the_chunk():
    """In both: a velocity that is the time itself. Euler begins at 0 and ends a step before 1; learnt is noise at 0."""
    head = FlowConfig(**SMALL, steps=4).build(4, 3, 2).eval()
    seen = []

    def velocity(at: torch.Tensor, time: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        seen.append((at, time))
        return time.expand_as(at)

    with mock.patch.object(head, "_velocity", velocity):
        actions = head.actions(head(torch.randn(5, 1, 4)), frames(5))
        expected = frames(5).normal(3, 2, seed=0) + (0 + 1 / 4 + 2 / 4 + 3 / 4) / 4
        torch.testing.assert_close(actions, expected)
        chunks = torch.full((5, 1, 3, 2), 100.0)
        head.losses(head(torch.randn(5, 1, 4)), make_target(chunks, frames(5)))
    at, time = seen[-1]
    torch.testing.assert_close(at / 100, time.expand_as(at), atol=0.06, rtol=0)


def test_what_is_not_known_holds_the_last_known_action():
    chunks = torch.tensor([5.0, 1, 7, 2, 9]).view(1, 1, 5, 1)
    mask = torch.tensor([False, True, False, True, False]).view(1, 1, 5)
    assert fill_masked(chunks, mask).flatten().tolist() == [0, 1, 1, 2, 2]
    assert fill_masked(chunks, torch.zeros_like(mask)).flatten().tolist() == [0] * 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps, samples, widths and layers must be at least 1"),
        ({"spread": 1.5}, r"model\.head\.spread must lie in \[0, 1\]"),
        ({"dropout": -0.1}, r"model\.head\.dropout must lie"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        FlowConfig(**settings)
