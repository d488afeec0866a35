"""What a training step will take of a GPU's memory, told before a weight exists.

In: a model's settings, the batch and the precision. Out: bytes of weights, gradients, optimizer and activations.

Weights, gradients and AdamW's two moments are counted. Activations are measured on tensors that have shapes and no
content: forward and backward run through the real modules, and whatever lives at once, beside weights and gradients,
is added up. It is an estimate in three respects: the kernels are those of a CPU (what a GPU's keep differs by some
percent), a library's inner workspace is not seen, and an allocator's fragments and the CUDA context are a flat sum.
"""

import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mobile_vla.core.batch import Batch, PairId
from mobile_vla.models.policy import Policy

OVERHEAD_BYTES = 800 * 2**20  # assumed: CUDA context and libraries (half a GB), the allocator's fragments
CARDS_GB = (8, 12, 16, 24, 80)
OPTIMIZER_BYTES = 8  # AdamW: two moments in float32 for each trained parameter


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """What one forward and backward pass computes on: as the settings of `data` say.

    span    consecutive windows kept together, which share frames
    tokens  length of the prompt; assumed, since it is known only with the data
    """

    batch_size: int = 8
    window: int = 8
    span: int = 4
    chunk: int = 10
    components: int = 2
    tokens: int = 16

    def __post_init__(self):
        for name in ("batch_size", "window", "span", "chunk", "components", "tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"step.{name} must be at least 1, got {getattr(self, name)}")

    @property
    def shared_frames(self) -> int:
        """Distinct frames of a batch made of whole spans."""
        spans = -(-self.batch_size // self.span)
        return self.batch_size + spans * (self.window - 1)

    @property
    def most_frames(self) -> int:
        """Distinct frames of a batch whose windows share none, as in very short episodes."""
        return self.batch_size * self.window


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes. activations: what lives at most during forward and backward beside weights and gradients."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    overhead: int = OVERHEAD_BYTES

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.overhead

    def fits(self) -> dict[int, bool]:
        """By a card's size in GB, as sold (2^30 bytes each)."""
        return {card: self.total <= card * 2**30 for card in CARDS_GB}


def estimate_memory(policy: Policy, step: StepConfig, num_frames: int) -> Memory:
    """What a step over that many distinct frames takes; `policy` is a skeleton, in the precision of the training."""
    weights = list(policy.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    return Memory(
        weights=sum(weight.nbytes for weight in weights) + sum(buffer.nbytes for buffer in policy.buffers()),
        gradients=sum(weight.nbytes for weight in trained),
        optimizer=OPTIMIZER_BYTES * sum(weight.numel() for weight in trained),
        activations=trace_activations(policy, make_batch(policy, step, num_frames)),
    )


def make_batch(policy: Policy, step: StepConfig, num_frames: int) -> Batch:
    """A batch of the right shapes and of zeros: one text, `num_frames` pairs."""
    windows = (step.batch_size, step.window)
    side = policy.preprocessing.size
    return Batch(
        frames=torch.zeros(num_frames, side, side, 3, dtype=torch.uint8),
        text_ids=torch.zeros(1, step.tokens, dtype=torch.int64),
        text_mask=torch.ones(1, step.tokens, dtype=torch.bool),
        pair_frame=torch.arange(num_frames),
        pair_text=torch.zeros(num_frames, dtype=torch.int64),
        windows=torch.zeros(windows, dtype=torch.int64),
        chunks=torch.zeros(*windows, step.chunk, step.components),
        chunk_mask=torch.ones(*windows, step.chunk, dtype=torch.bool),
        pair_id=tuple(PairId("", frame, "") for frame in range(num_frames)),
    )


def trace_activations(policy: Policy, batch: Batch) -> int:
    """Bytes that live at most at once during a forward and backward pass, beside weights and their gradients."""
    policy.train()  # modules that recompute their activations do so only in this mode
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of what only matters with values
        step = _Step(policy)
        values = {
            name: torch.empty(value.shape, dtype=value.dtype).requires_grad_(value.requires_grad)
            for name, value in chain(step.named_parameters(), step.named_buffers())
        }
        faked = {name: mode.from_tensor(part) for name, part in vars(batch).items() if isinstance(part, Tensor)}
        meter = Meter(values.values())
        for value in values.values():
            if value.requires_grad:
                value.register_post_accumulate_grad_hook(meter.leave_out_gradient)
        with meter:
            torch.func.functional_call(step, values, (replace(batch, **faked),))
    policy.eval()
    return meter.peak


class _Step(nn.Module):
    """Forward and backward as one module, so that what is recomputed in the backward pass finds the same values."""

    def __init__(self, policy: Policy):
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> None:
        _, costs = self.policy(batch, huber_delta=1.0)
        costs.sum().backward()


class Meter(TorchDispatchMode):
    """Adds up the storages that operations make, for as long as each lives."""

    def __init__(self, outside: Iterable[Tensor]):
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, weakref.finalize | None] = {_key(tensor): None for tensor in outside}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _key(tensor) not in self._known:
                storage = tensor.untyped_storage()
                self._known[_key(tensor)] = weakref.finalize(storage, self._free, _key(tensor), storage.nbytes())
                self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        return result

    def leave_out_gradient(self, weight: Tensor) -> None:
        """From here on it is counted as a gradient."""
        assert weight.grad is not None
        finalizer = self._known.get(_key(weight.grad))
        if finalizer is not None:
            finalizer()

    def _free(self, key: int, num_bytes: int) -> None:
        self.live -= num_bytes
        self._known.pop(key, None)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
