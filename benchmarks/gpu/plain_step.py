"""A training step without the Trainer: what it computes is the product's, and nothing comes in between.

In: a setting and a batch. Out: a step that can be timed, counted, profiled, and captured as a CUDA graph. What the
Trainer adds is seen beside `policy_step`, which is the step that users run.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.device import Device
from benchmarks.setting import Setting
from benchmarks.timing import Stopwatch, Took
from mobile_vla.core.batch import Batch
from mobile_vla.evaluation.losses import masked_huber

STEPS = 3  # that are timed at a time: a device that runs behind may do so within them


class PlainStep:
    """Forward, backward, clipping, AdamW. The policy trains from here on; `close` puts it back."""

    def __init__(self, setting: Setting, batch: Batch, device: Device):
        self.policy, self.config = setting.policy.train(), setting.training.config
        self.batch = batch.to(device.name)
        self.weights = [*self.policy.trained().values()]
        rate = self.config.optimization.lr_at(self.policy.backbone.context_width)
        self.optimizer = torch.optim.AdamW(self.weights, lr=rate, fused=True)

    def __call__(self) -> None:
        self.compute_gradients()
        clip = self.config.trainer.gradient_clip_val
        if clip is not None:
            nn.utils.clip_grad_norm_(self.weights, clip)
        self.optimizer.step()

    def compute_gradients(self) -> None:
        """Anew, whatever was there."""
        self.forget_gradients()
        self.add_gradients(self.batch)

    def add_gradients(self, batch: Batch) -> None:
        loss = masked_huber(self.policy(batch), batch.chunks, batch.chunk_mask, self.config.optimization.huber_delta)
        loss.backward()

    def forget_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def close(self) -> None:
        self.forget_gradients()
        self.policy.eval()


class GraphedStep(PlainStep):
    """The same, with forward and backward pass as one CUDA graph; clipping and AdamW follow it as ever.

    The batch is fixed: a graph reads the tensors that it was captured with. Frames are scaled within it; what becomes
    of uint8 before is not.
    """

    def __init__(self, setting: Setting, batch: Batch, device: Device):
        super().__init__(setting, batch, device)
        super().compute_gradients()  # they keep their place from here on: a graph writes to where they lie
        self._replay = device.capture(self._compute_in_place)

    def compute_gradients(self) -> None:
        self._replay()

    def _compute_in_place(self) -> None:
        for weight in self.weights:
            if weight.grad is not None:
                weight.grad.zero_()
        self.add_gradients(self.batch)


def repeated(step: Callable[[], Any], device: Device, steps: int = STEPS) -> Callable[[], Took]:
    """Some steps behind one that is not timed; what is told is their mean."""

    def run() -> Took:
        step()
        watch = Stopwatch(device.clocks)
        for _ in range(steps):
            step()
        return watch.stop().share(steps)

    return run
