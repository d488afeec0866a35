"""A timed step is the optimizer step of the product, and what comes out of a cache stands for the same windows."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from benchmarks.device import Cpu
from benchmarks.policy_step import PolicyStep, as_upstream, take_windows, with_cached
from benchmarks.work import count_work

NUM_TOKENS = 14


@pytest.fixture
def optimized():
    """Grows by one whenever the optimizer is called."""
    calls = []
    handle = register_optimizer_step_pre_hook(lambda *_: calls.append(None))
    yield calls
    handle.remove()


@pytest.mark.parametrize(("accumulate", "steps"), [(False, 3), (True, 1)])
def test_every_batch_is_a_step_or_all_are_one_and_the_first_pass_is_not_timed(
    setting, optimized, monkeypatch, accumulate, steps
):
    """On a clock that only the optimizer moves."""
    monkeypatch.setattr(Cpu, "clocks", dict.fromkeys(("wall", "cpu"), lambda: len(optimized)))
    batch = take_windows(setting, 1, NUM_TOKENS)
    before = {name: weight.clone() for name, weight in setting.policy.trained().items()}
    assert PolicyStep(setting, [batch] * 3, accumulate)().wall == steps
    assert len(optimized) == 2 * steps
    assert all(not torch.equal(weight, before[name]) for name, weight in setting.policy.trained().items())


def test_windows_overlap_and_the_prompt_is_as_long_as_asked(setting):
    batch = take_windows(setting, 3, NUM_TOKENS)
    assert batch.windows.shape == (3, 8)
    assert batch.frames is not None
    assert len(batch.frames) == 10  # each distinct one once
    assert batch.text_ids.shape == (1, NUM_TOKENS)
    assert batch.chunk_mask[0].all()
    theirs = as_upstream(setting.policy, batch)
    assert theirs.pixel_values.shape[:2] == (3, 8)
    assert torch.equal(theirs.pixel_values[0, 1], theirs.pixel_values[1, 0])


def test_cached_image_tokens_give_the_same_actions_for_less_work(setting):
    batch = take_windows(setting, 1, NUM_TOKENS)
    cached = with_cached(setting.policy, batch, "image_tokens")
    assert cached.frames is None
    torch.testing.assert_close(setting.policy(cached), setting.policy(batch))
    whole, less = (count_work(PolicyStep(setting, [each]).compute_gradients) for each in (batch, cached))
    assert less.operations < whole.operations
