"""The memory estimate against what a real step takes: weights by count, activations by the allocator's own events."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from mobile_vla.models.backbones.kosmos2 import LAYOUTS, Kosmos2ModelConfig
from mobile_vla.models.memory import Memory, StepConfig, estimate_memory, make_batch, trace_activations
from mobile_vla.models.skeleton import build_skeleton

STEP = StepConfig(batch_size=8, window=3, span=2, chunk=3, components=2, tokens=9)
FRAMES = 24


def measured_peak(policy, batch) -> int:
    """The most that was allocated at once during forward and backward, beyond what was there, by CPU events."""
    policy.train()
    policy(batch).sum().backward()  # what is made once
    policy.zero_grad(set_to_none=False)  # gradients are there, and stay
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        policy(batch).sum().backward()
    changes = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def saved_bytes(policy, batch) -> int:
    """What the forward pass keeps for the backward pass, each storage once, weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in policy.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    policy.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        policy(batch).sum()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize(
    ("preset", "dtype", "checkpointing"),
    [
        ("all", torch.float32, False),
        ("all", torch.bfloat16, True),
        ("text", torch.bfloat16, False),
        ("none", torch.float32, False),
        ("full", torch.float32, False),
        ("full", torch.bfloat16, True),
    ],
)
def test_the_estimate_is_what_a_step_takes(tiny, preset, dtype, checkpointing):
    settings = {"lora": {"preset": preset, "dropout": 0.1}, "gradient_checkpointing": checkpointing}
    policy = tiny.make_policy(dtype, **settings)
    batch = make_batch(policy, STEP, FRAMES)
    skeleton = build_skeleton(policy.backbone.config, STEP.chunk, STEP.components)
    skeleton.backbone.compute_in(dtype)
    found = estimate_memory(skeleton, STEP, FRAMES)
    assert found.activations == pytest.approx(measured_peak(policy, batch), rel=0.12)
    assert found.activations >= saved_bytes(policy, batch)

    trained = list(policy.trained().values())
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    state = sum(value.nbytes for part in optimizer.state.values() for value in part.values() if value.dim())
    assert found.optimizer == state
    assert found.gradients == sum(weight.grad.nbytes for weight in trained)
    held = (*policy.parameters(), *policy.buffers())
    assert found.weights == sum(value.nbytes for value in held)


@pytest.mark.slow
def test_recomputing_takes_less_and_more_frames_take_more(tiny):
    def activations(frames: int, **settings) -> int:
        skeleton = build_skeleton(tiny.model_config(**settings), STEP.chunk, STEP.components)
        return trace_activations(skeleton, make_batch(skeleton, STEP, frames))

    assert activations(4, gradient_checkpointing=True) < 0.75 * activations(4)
    # What a step keeps once, whatever its frames (summed weights of adapted layers), is in all three.
    assert activations(16) - activations(4) == pytest.approx(3 * (activations(8) - activations(4)), rel=0.05)


def test_gradients_are_not_counted_as_activations(tiny):
    """Of one frame and a model that is trained as a whole, gradients are more than all else."""
    step = StepConfig(batch_size=1, window=1, chunk=3, components=2, tokens=9)
    policy = tiny.make_policy(lora={"preset": "full"})
    skeleton = build_skeleton(policy.backbone.config, 3, 2)
    found = estimate_memory(skeleton, step, 1)
    assert found.gradients > found.activations
    assert found.activations < 1.15 * measured_peak(policy, make_batch(policy, step, 1))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_can_be_measured(tiny, layout):
    skeleton = build_skeleton(tiny.model_config(layout=layout), STEP.chunk, STEP.components)
    assert trace_activations(skeleton, make_batch(skeleton, STEP, 2)) > 0
    assert all(weight.is_meta for weight in skeleton.parameters())


def test_frames_of_a_batch():
    assert StepConfig(batch_size=8, window=8, span=4).shared_frames == 2 * 11
    assert StepConfig(batch_size=8, window=8, span=8).shared_frames == 15
    assert StepConfig(batch_size=8, window=8).most_frames == 64
    assert StepConfig(batch_size=1, window=8).shared_frames == StepConfig(batch_size=1, window=8).most_frames == 8
    with pytest.raises(ValueError, match=r"step\.window"):
        StepConfig(window=0)


def test_what_fits_a_card():
    memory = Memory(weights=10 * 2**30, gradients=0, optimizer=0, activations=2**31, overhead=0)
    assert memory.fits() == {8: False, 12: True, 16: True, 24: True, 80: True}
    assert not Memory(weights=12 * 2**30, gradients=0, optimizer=0, activations=0).fits()[12]


def test_the_known_model_is_described_without_a_download(tiny, monkeypatch):
    monkeypatch.setattr("transformers.Kosmos2Config.from_pretrained", lambda *_, **__: pytest.fail("it asked the hub"))
    config = tiny.model_config(weights=Kosmos2ModelConfig.family.hub, architecture={}, lora={"r": 32})
    assert build_skeleton(config, 10, 2).backbone.context_width == 2048
