"""A control step whose kernels are one CUDA graph, from the resized frame to the normalised action."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.device import Device
from mobile_vla.models.stepper import PolicyStepper


class GraphedStepper:
    """Goes on where `stepper` stands, whose queue is full: a graph has one length of window.

    frame  of the camera, any
    """

    def __init__(self, stepper: PolicyStepper, frame: UInt8[Tensor, "height width 3"], device: Device):
        assert stepper.text is not None, "an episode has begun"
        self.policy, self.actions, self.device = stepper.policy, stepper.actions, device
        self.text = [part.to(device.name) for part in stepper.text]
        self.only = torch.zeros(1, dtype=torch.int64, device=device.name)
        self.frame = self._resize(frame).clone()
        self.contexts = torch.stack(tuple(stepper.contexts))[None]  # (1, W, D)
        before = self.contexts.clone()
        self.chunk: Tensor | None = None
        self._replay = device.capture(self._compute)
        self.contexts.copy_(before)  # runs before the capture have moved it on

    def step(self, frame: UInt8[Tensor, "height width 3"]) -> Float[Tensor, "C A"]:
        self.frame.copy_(self._resize(frame))
        self._replay()
        return self.actions.denormalize(self.chunk)

    def _resize(self, frame: UInt8[Tensor, "height width 3"]) -> UInt8[Tensor, "1 size size 3"]:
        return self.policy.preprocessing.resize(frame[None].cpu()).to(self.device.name)

    @torch.no_grad()
    def _compute(self) -> None:
        backbone = self.policy.backbone
        tokens = backbone.image_tokens(self.policy.preprocessing(self.frame))
        context = backbone.decode(tokens, *self.text, self.only, self.only)  # (1, D)
        self.contexts.copy_(torch.cat([self.contexts[:, 1:], context[None]], dim=1))
        self.chunk = self.policy.head(self.contexts)[0, -1]  # (C, A)
