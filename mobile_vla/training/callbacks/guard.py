"""Stops (or skips a step) before a loss that is not a number, or has exploded, reaches the weights."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """action: `stop`, or `skip` the step and go on;  max_loss: of what the head minimises, an exploded one.

    A mean action has a Huber loss below 1, and a fresh head of this package has an objective below 10, whatever it
    minimises: 100 is never reached by bad luck.
    """

    action: Literal["stop", "skip"] = "stop"
    max_loss: float = 100.0

    def __post_init__(self):
        if self.max_loss <= 0:
            raise UserError(f"must be positive, got {self.max_loss}", argument="max_loss")


class StepGuard(Callback):
    """Looks at every optimizer step after its gradients are known and before the optimizer sees them."""

    def __init__(
        self, config: GuardConfig, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    ):
        self.config = config
        self.say = say
        self.skipped = 0
        self._step: list[tuple[Tensor, list[str]]] = []  # loss and episodes of each batch of the step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._step = []
        self._episodes = sorted({batch.pair_id[int(first)].episode for first in batch.windows[:, 0].tolist()})

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = trainer.world_size * (scaler.get_scale() if scaler else 1.0)
        self._step.append((loss.detach() / scale, self._episodes))  # its share of the step's mean

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        loss = float(trainer.strategy.reduce(torch.stack([part for part, _ in self._step]).sum(), reduce_op="sum"))
        gradients = [
            weight.grad for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
        ]
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None  # it skips and adapts by itself
        norm = 0.0 if scaled else float(nn.utils.get_total_norm(gradients))
        bad = not math.isfinite(loss) or loss > self.config.max_loss or not math.isfinite(norm)
        if not bad:  # the same on all ranks: loss and gradients are those of the whole step
            return
        line = self._describe(trainer, loss, norm)
        if self.config.action == "stop":
            raise UserError(
                f"{line}; stopped before it changed a weight, the last good checkpoint is checkpoints/last.ckpt; look "
                "at these episodes, lower optimization.lr, or skip such steps with callbacks.guard.action=skip"
            )
        self.skipped += 1
        self.say(f"{line}; the step is skipped ({self.skipped} so far)")
        optimizer.zero_grad(set_to_none=True)  # without a gradient AdamW leaves weights and moments alone

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def _describe(self, trainer: Trainer, loss: float, norm: float) -> str:
        batches = [(math.isfinite(float(part)), names) for part, names in self._step]
        if trainer.world_size > 1:
            ranks: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, batches)
            batches = [batch for rank in ranks for batch in rank]
        worst = [names for finite, names in batches if not finite]
        episodes = sorted({name for names in worst or [names for _, names in batches] for name in names})
        shown = ", ".join(episodes[:8]) + (f" and {len(episodes) - 8} more" if len(episodes) > 8 else "")
        what = f"the loss is {loss:g}" if math.isfinite(norm) else f"the loss is {loss:g}, its gradient {norm:g}"
        return f"step {trainer.global_step} (epoch {trainer.current_epoch}): {what}, of the episodes {shown}"
