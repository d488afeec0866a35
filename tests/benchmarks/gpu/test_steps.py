"""The steps that are timed are those of the product, and what is counted of them is what they compute."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks.device import Cpu, find_device
from benchmarks.gpu.bench import draw_batch
from benchmarks.gpu.control_graph import GraphedStepper
from benchmarks.gpu.plain_step import GraphedStep, PlainStep
from benchmarks.gpu.speed import count_operations, describe_speed, measure_step
from benchmarks.gpu.words import MFU, RATE
from benchmarks.policy_step import PolicyStep
from benchmarks.steps import UPSTREAM
from benchmarks.work import count_work
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.stepper import PolicyStepper


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def on_device(request, setting):
    """The setting with its policy there, and the device."""
    device = find_device(request.param)
    setting.policy.to(device.name)
    yield setting, device
    setting.policy.cpu()


class Calls(TorchFunctionMode):
    """Counts the forward pass by the calls that the model makes: another level than the counter's, and own formulas."""

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is F.linear:
            self.operations += 2 * result.numel() * args[0].shape[-1]
        elif func in (torch.addmm, torch.baddbmm):
            self.operations += 2 * result.numel() * args[1].shape[-1]
        elif func in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm):
            self.operations += 2 * result.numel() * args[0].shape[-1]
        elif func is torch.einsum:
            equation, *factors = args
            inputs = equation.split("->")[0].split(",")
            sizes = {letter: size for one, x in zip(inputs, factors) for letter, size in zip(one, x.shape)}
            self.operations += 2 * math.prod(sizes.values())
        elif func in (torch.conv2d, F.conv2d):
            self.operations += 2 * result.numel() * args[1][0].numel()
        elif func is F.scaled_dot_product_attention:
            query, key = args[:2]
            self.operations += 2 * 2 * query.numel() * key.shape[-2]
        return result


def test_the_counter_agrees_with_the_calls_that_the_model_makes(setting):
    policy, batch = setting.policy.eval(), draw_batch(setting, 3)
    with torch.no_grad():
        counted = count_work(lambda: policy(batch)).operations
        with Calls() as calls:
            policy(batch)
    lstm: nn.LSTM = policy.head.rnn
    weights = sum(weight.numel() for weight in lstm.parameters() if weight.ndim > 1)
    assert counted == calls.operations + 2 * batch.windows.numel() * weights


def test_a_plain_step_computes_what_the_products_step_computes(setting):
    batch = draw_batch(setting, 2)
    step = PlainStep(setting, batch, Cpu())
    plain = count_operations(step)
    step.close()
    assert plain == count_work(PolicyStep(setting, [batch]).compute_gradients).operations


def test_windows_come_in_spans_that_share_frames(setting):
    """Spans of four: windows 0 to 3 lie in eleven frames, window 4 begins with the twelfth."""
    batch = draw_batch(setting, 6)
    assert setting.training.config.data.span == 4
    assert batch.windows[:, 0].tolist() == [0, 1, 2, 3, 11, 12]
    assert batch.windows[3].tolist() == [*range(3, 11)]
    assert batch.frames is not None
    assert len(batch.frames) == int(batch.windows.max()) + 1 == 20
    assert batch.frames.float().std() > 50
    assert torch.equal(draw_batch(setting, 6).chunks, batch.chunks)


def test_a_captured_step_writes_the_same_gradients_each_time(on_device):
    setting, device = on_device
    batch = draw_batch(setting, 2)
    steps = [kind(setting, batch, device) for kind in (PlainStep, GraphedStep)]
    found = []
    for step in steps:
        step.forget_gradients()
        for _ in range(2):
            step.compute_gradients()
        found.append([weight.grad.clone() for weight in step.weights])
        step.close()
    for gradient, expected in zip(*reversed(found), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_speed_operations_and_peak_give_the_mfu(bench, setting, heap):
    """Windows a second are those of the same rounds; a step has so many windows."""
    step = PlainStep(setting, draw_batch(setting, 2), bench.device)
    operations = count_operations(step)
    rate, mfu = measure_step(bench, "ours", step, 2, operations, upstream=4.0)
    step.close()
    assert (rate.unit, mfu.unit, rate.to) == (RATE, MFU, UPSTREAM)
    assert rate.ratio is not None
    assert rate.ratio.median == pytest.approx(rate.spread.median / 4.0)
    assert rate.rounds == mfu.rounds == bench.size.rounds
    rate, mfu = describe_speed("ours", [10.0, 20.0, 30.0], [4e9, 4e9, 4e9], 2, int(1e8))
    assert rate.spread.median == 40.0
    assert mfu.spread.median == pytest.approx(100 * rate.spread.median / 2 * 1e8 / 4e9) == 50.0


@torch.no_grad()
def test_a_captured_control_step_acts_as_the_stepper_does(on_device):
    setting, device = on_device
    training = setting.training
    policy = setting.policy.eval()
    prompter = Prompter(training.source.tokenizer, training.config.model.prompt)
    window = training.config.data.window
    draw = np.random.default_rng(0).integers
    frames = [torch.from_numpy(draw(256, size=(36, 64, 3), dtype=np.uint8)) for _ in range(window + 3)]
    stepper = PolicyStepper(policy, prompter, training.actions, window)
    stepper.reset("go")
    for frame in frames[:window]:
        stepper.step(frame)
    graphed = GraphedStepper(stepper, frames[0], device)
    for frame in frames[window:]:
        torch.testing.assert_close(graphed.step(frame), stepper.step(frame))
