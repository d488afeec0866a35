"""Training steps of the product, as users run them: the real policy, module, optimizer and Lightning's Trainer.

In: a `Setting` and some batches. Out: how long their steps took, from the first batch's start to the last batch's end:
forward, backward, clipping, AdamW, the schedule, and all that the Trainer does between them. What a Trainer does before
its first batch is not in it, and the same steps run once before it, which makes the optimizer's state.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from benchmarks.device import find_device
from benchmarks.setting import NoCheckpoints, Setting
from benchmarks.timing import Stopwatch, Took
from benchmarks.upstream_step import WindowBatch
from mobile_vla.core.batch import Batch
from mobile_vla.data.requests import WindowRequest
from mobile_vla.evaluation.losses import masked_huber
from mobile_vla.models.policy import Policy
from mobile_vla.training.trainer import build_trainer

FrozenPart = Literal["nothing", "image_tokens", "states"]  # what of the work comes out of a cache


class PolicyStep:
    """An optimizer step for each of `batches`, or with `accumulate` one for all of them.

    passes      over the batches that are timed, one behind the other as in training; what is told is their mean
    """

    def __init__(self, setting: Setting, batches: Sequence[Batch], accumulate: bool = False, passes: int = 1):
        self.setting = setting
        self.batches = list(batches)
        self.accumulate = accumulate
        self.passes = passes

    def __call__(self) -> Took:
        training = self.setting.training
        count = len(self.batches)
        clocks = find_device(training.machine.accelerator).clocks
        watch = LastSteps(first=count, behind=(1 + self.passes) * count, clocks=clocks)
        parts = count if self.accumulate else 1
        config = replace(training.config.trainer, accumulate_grad_batches=parts, limit_val_batches=0)
        with tempfile.TemporaryDirectory() as folder:
            trainer = build_trainer(config, training.machine, Path(folder), [watch, NoCheckpoints()], [])
            # A loader reads a list as its data set; each batch is whole already.
            batches = self.batches * (1 + self.passes)
            trainer.fit(self.setting.module(), DataLoader(batches, batch_size=None, collate_fn=_as_is))  # pyright: ignore
        assert watch.took is not None, "the Trainer has run all batches"
        return watch.took.share(self.passes)

    def compute_gradients(self) -> None:
        """Forward and backward alone, where the policy is: for counting and for profiling."""
        policy = self.setting.policy.train()
        device = policy.backbone.action_token.device
        for batch in (batch.to(device) for batch in self.batches):
            masked_huber(policy(batch), batch.chunks, batch.chunk_mask, delta=1.0).backward()
        policy.zero_grad(set_to_none=True)
        policy.eval()


class LastSteps(pl.Callback):
    """Times the batches first ... behind - 1 of a fit."""

    def __init__(self, first: int, behind: int, clocks: Mapping[Any, Any]):
        self.first, self.last, self.clocks = first, behind - 1, clocks
        self.took: Took | None = None
        self._watch: Stopwatch | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.first:
            self._watch = Stopwatch(self.clocks)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.last and self._watch is not None:
            self.took = self._watch.stop()


def take_windows(setting: Setting, num_windows: int, num_tokens: int) -> Batch:
    """The first windows of the first episode, which overlap, with a prompt of so many tokens."""
    data = setting.training.data
    requests = [WindowRequest(episode=0, start=start) for start in range(num_windows)]
    batch = data.assembler(data.episodes("train"))(requests)
    ids = torch.arange(num_tokens) % int(batch.text_ids.max()) + 1
    return replace(batch, text_ids=ids[None], text_mask=torch.ones(1, num_tokens, dtype=torch.bool))


@torch.no_grad()
def with_cached(policy: Policy, batch: Batch, part: FrozenPart) -> Batch:
    """The same batch with what a cache would have put in the place of its frames."""
    if part == "nothing":
        return batch
    assert batch.frames is not None
    policy.eval()
    tokens = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
    if part == "image_tokens":
        return replace(batch, frames=None, image_tokens=tokens)
    states = policy.backbone.frozen_states(tokens[batch.pair_frame], batch.text_ids, batch.text_mask)
    return replace(batch, frames=None, states=states)


def as_upstream(policy: Policy, batch: Batch) -> WindowBatch:
    """The same windows as upstream's loader deals them: pixels in float32, each window with frames of its own."""
    assert batch.frames is not None
    frames = policy.preprocessing(batch.frames)[batch.pair_frame]  # (P, 3, H, H)
    return WindowBatch(
        pixel_values=frames[batch.windows],
        text_ids=batch.text_ids[batch.pair_text[batch.windows[:, 0]]],
        chunks=batch.chunks,
    )


def _as_is(batch: Batch) -> Batch:
    return batch
