"""Closed-loop inference: one frame at a time, the last W contexts kept, the head run over them anew each step.

Carrying an LSTM's state over the whole episode instead would be cheaper and wrong: in training it never saw more
than a window. A step is the policy's own forward pass, on a batch of one frame, so that whatever looks into it there
(hooks) looks into closed-loop inference as well.
"""

from collections import deque

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch, PairId
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.policy import Policy


class PolicyStepper:
    """Holds the queue of contexts of one episode; `reset` before each, then `step` with every new frame.

    batch  what the last step ran: one frame, one pair, and one window, which counts the contexts of the queue
    """

    def __init__(self, policy: Policy, prompter: Prompter, actions: ActionSpace, window: int):
        self.policy = policy
        self.prompter = prompter
        self.actions = actions
        self.contexts: deque[Tensor] = deque(maxlen=window)
        self.text: tuple[Tensor, Tensor] | None = None
        self.batch: Batch | None = None
        self._episode, self._instruction, self._seen = "", "", 0

    def reset(self, instruction: str, episode: str = "") -> None:
        """Begin an episode with this instruction.

        episode  its name: a head that draws noise draws it by this name and the number of the frame, so that a
                 recorded episode under its own id gives what a batch of it gives
        """
        self.text = self.prompter([instruction])
        self.contexts.clear()
        self._episode, self._instruction, self._seen = episode, instruction, 0

    @torch.no_grad()
    def step(self, frame: UInt8[Tensor, "height width 3"]) -> Float[Tensor, "C A"]:
        """Velocities of the next C steps, as seen from this frame (any size, RGB)."""
        if self.text is None:
            raise RuntimeError("PolicyStepper.step before reset: an episode begins with an instruction")
        self.batch = self._make_batch(frame)
        normalized = self.policy(self.batch, self._append)  # (1, n, C, A), of the n contexts of the queue
        self._seen += 1
        return self.actions.denormalize(normalized[0, -1])

    def _append(self, contexts: Float[Tensor, "1 D"]) -> Float[Tensor, "n D"]:
        self.contexts.append(contexts[0])
        return torch.stack(tuple(self.contexts))

    def _make_batch(self, frame: UInt8[Tensor, "height width 3"]) -> Batch:
        device, head = self.policy.backbone.action_token.device, self.policy.head
        # On the CPU, as frames of a training are: to the same bits, and CUDA's antialiased kernels take no uint8.
        small = self.policy.preprocessing.resize(frame[None].cpu())
        text_ids, text_mask = (part.to(device) for part in self.text or ())
        only = torch.zeros(1, dtype=torch.int64, device=device)
        length = min(len(self.contexts) + 1, self.contexts.maxlen or 1)
        seen = range(self._seen - length + 1, self._seen + 1)
        ids = tuple(PairId(self._episode, frame, self._instruction) for frame in seen)
        chunks = torch.zeros(1, length, head.chunk, head.num_components, device=device)
        return Batch(
            frames=small.to(device),
            text_ids=text_ids,
            text_mask=text_mask,
            pair_frame=only,
            pair_text=only,
            windows=torch.arange(length, device=device)[None],
            chunks=chunks,
            chunk_mask=torch.zeros(chunks.shape[:-1], dtype=torch.bool, device=device),
            pair_id=ids[-1:],
            context_id=ids,
        )
