"""Closed-loop inference: one frame at a time, the last W contexts kept, the LSTM run over them anew each step.

Carrying the LSTM's state over the whole episode instead would be cheaper and wrong: in training it never saw more
than a window.
"""

from collections import deque

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mobile_vla.actions import ActionSpace
from mobile_vla.models.policy import Policy
from mobile_vla.models.tokenizer import Prompter


class PolicyStepper:
    """Holds the queue of contexts of one episode; `reset` before each, then `step` with every new frame."""

    def __init__(self, policy: Policy, prompter: Prompter, actions: ActionSpace, window: int):
        self.policy = policy
        self.prompter = prompter
        self.actions = actions
        self.contexts: deque[Tensor] = deque(maxlen=window)
        self.text: tuple[Tensor, Tensor] | None = None

    def reset(self, instruction: str) -> None:
        """Begin an episode with this instruction."""
        self.text = self.prompter([instruction])
        self.contexts.clear()

    @torch.no_grad()
    def step(self, frame: UInt8[Tensor, "height width 3"]) -> Float[Tensor, "C A"]:
        """Velocities of the next C steps, as seen from this frame (any size, RGB)."""
        if self.text is None:
            raise RuntimeError("PolicyStepper.step before reset: an episode begins with an instruction")
        device = self.policy.backbone.action_token.device
        # On the CPU, as frames of a training are: to the same bits, and CUDA's antialiased kernels take no uint8.
        small = self.policy.preprocessing.resize(frame[None].cpu())
        pixels = self.policy.preprocessing(small.to(device))
        ids, mask = (part.to(device) for part in self.text)
        only = torch.zeros(1, dtype=torch.int64, device=device)
        tokens = self.policy.backbone.image_tokens(pixels)
        self.contexts.append(self.policy.backbone.decode(tokens, ids, mask, only, only)[0])
        chunk = self.policy.head(torch.stack(tuple(self.contexts))[None])[0, -1]  # (C, A)
        return self.actions.denormalize(chunk)
