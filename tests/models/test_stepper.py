"""Closed-loop inference gives, frame by frame, what the batched forward pass gave in training."""

import copy

import pytest
import torch

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch, PairId
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones.tokenizer import Prompter, offline_tokenizer
from mobile_vla.models.stepper import PolicyStepper

WINDOW, NUM_FRAMES = 8, 18
SPACE = ActionSpace(components=("linear_x", "linear_y"), low=(-1.0, -0.5), high=(0.5, 1.15))
TEXT = "go past the box on the right side"


@pytest.fixture(scope="module")
def stepper(policy) -> PolicyStepper:
    return PolicyStepper(policy, Prompter(offline_tokenizer(), policy.backbone.config.prompt), SPACE, WINDOW)


@pytest.fixture(scope="module")
def recording(tiny) -> torch.Tensor:
    """Frames as a camera gives them, larger than the model wants and not square."""
    generator = torch.Generator().manual_seed(8)
    return torch.randint(0, 256, (NUM_FRAMES, 36, 64, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def batched(policy, stepper, recording) -> torch.Tensor:
    """(S, W, C, A) velocities of every window of the episode."""
    ids, mask = stepper.prompter([TEXT])
    starts = range(NUM_FRAMES - WINDOW + 1)
    count = len(starts)
    batch = Batch(
        frames=policy.preprocessing.resize(recording),
        text_ids=ids,
        text_mask=mask,
        pair_frame=torch.arange(NUM_FRAMES),
        pair_text=torch.zeros(NUM_FRAMES, dtype=torch.int64),
        windows=torch.tensor([list(range(s, s + WINDOW)) for s in starts]),
        chunks=torch.zeros(count, WINDOW, 3, 2),
        chunk_mask=torch.ones(count, WINDOW, 3, dtype=torch.bool),
        pair_id=tuple(PairId("episode", frame, TEXT) for frame in range(NUM_FRAMES)),
    )
    with torch.no_grad():
        normalized = policy(batch)
    low, high = torch.tensor(SPACE.low), torch.tensor(SPACE.high)
    return low + (normalized + 1) * (high - low) / 2


def drive(stepper, frames, text=TEXT) -> torch.Tensor:
    stepper.reset(text)
    return torch.stack([stepper.step(frame) for frame in frames])


def test_the_first_frames_equal_the_first_windows_positions(stepper, recording, batched):
    stepped = drive(stepper, recording[:WINDOW])
    torch.testing.assert_close(stepped, batched[0], atol=2e-5, rtol=0)


def test_later_frames_equal_the_last_position_of_the_sliding_window(stepper, recording, batched):
    stepped = drive(stepper, recording)
    torch.testing.assert_close(stepped[WINDOW - 1 :], batched[:, -1], atol=2e-5, rtol=0)
    # and the window matters: the same frame as the first of a window, without its past, predicts something else
    assert (stepped[10] - batched[10, 0]).abs().max() > 1e-4


def test_reset_forgets_frames_and_instruction(stepper, recording):
    fresh = drive(stepper, recording[:3])
    drive(stepper, recording[5:16], "go left")
    assert torch.equal(drive(stepper, recording[:3]), fresh)
    assert not torch.allclose(drive(stepper, recording[:3], "go left"), fresh, atol=1e-5)


def test_an_episode_begins_with_an_instruction(policy, stepper, recording):
    unset = PolicyStepper(policy, stepper.prompter, SPACE, WINDOW)
    with pytest.raises(RuntimeError, match="before reset"):
        unset.step(recording[0])


def test_frames_are_resized_on_the_cpu_wherever_the_policy_is(stepper, recording, monkeypatch):
    """CUDA has no kernel for it. The policy is on a device without values: where it would compute, the step ends."""
    resized, policy = [], copy.deepcopy(stepper.policy).to("meta")
    resize = Preprocessing.resize

    def note(preprocessing, frames):
        resized.append(frames.device.type)
        return resize(preprocessing, frames)

    def stop(preprocessing, frames):
        resized.append(frames.device.type)
        raise InterruptedError

    monkeypatch.setattr(Preprocessing, "resize", note)
    monkeypatch.setattr(Preprocessing, "__call__", stop)
    far = PolicyStepper(policy, stepper.prompter, SPACE, WINDOW)
    far.reset(TEXT)
    with pytest.raises(InterruptedError):
        far.step(recording[0])
    assert resized == ["cpu", "meta"]
