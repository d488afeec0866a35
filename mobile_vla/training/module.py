"""The LightningModule: step, loss, logging and optimizer. The model is a plain module that knows none of this."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from mobile_vla.checkpoints.trained import check_fits, trained_state
from mobile_vla.core.batch import Batch
from mobile_vla.core.changes import Change, on_change
from mobile_vla.core.losses import masked_mean
from mobile_vla.display.scalars import validation_scalars
from mobile_vla.evaluation.losses import MeanLoss, masked_huber
from mobile_vla.evaluation.metrics import EpisodeSums
from mobile_vla.models.policy import Policy
from mobile_vla.training.augmentation import AugmentationConfig, augment
from mobile_vla.training.schedules import Schedule, learning_rate_factor

REFERENCE_LR, REFERENCE_WIDTH = 1e-4, 2048


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """lr: of adapters and action token; head_lr: of the head (the same if not given); huber_delta: in [-1, 1] units.

    Without `lr` it follows the width of the contexts: Adam's best rate is inversely proportional to it (Yang et al.
    2022, "Tensor Programs V"), and 1e-4 is the known one at width 2048.
    warmup_epochs  length of the linear warm-up;  final_lr  share of the learning rate that `cosine` ends at
    """

    lr: float | None = None
    head_lr: float | None = None
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "cosine"
    warmup_epochs: float = 0.1
    final_lr: float = 0.05
    huber_delta: float = field(default=1.0, metadata=on_change(Change.RUN))

    def __post_init__(self):
        for name in ("lr", "head_lr", "huber_delta"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"optimization.{name} must be positive, got {value}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optimization.betas must lie in [0, 1), got {list(self.betas)}")
        if self.weight_decay < 0 or self.warmup_epochs < 0 or not 0 <= self.final_lr <= 1:
            raise ValueError(
                "optimization: weight_decay and warmup_epochs must not be negative and final_lr must lie in [0, 1], "
                f"got {self.weight_decay}, {self.warmup_epochs}, {self.final_lr}"
            )

    def lr_at(self, width: int) -> float:
        """The learning rate for contexts of this width."""
        return self.lr if self.lr is not None else REFERENCE_LR * REFERENCE_WIDTH / width


class PolicyModule(LightningModule):
    """Trains a `Policy`; validation fills a table of sums by episode, which every validation number is read from.

    What a head minimises is its own: `train/objective`, `val/objective`. `train/loss` and `val_loss` are the Huber loss
    of its actions, whatever the head.
    """

    def __init__(
        self,
        policy: Policy,
        config: OptimizationConfig,
        sums: EpisodeSums,
        *,
        steps_per_epoch: int,
        total_steps: int,
        seed: int,
        label_names: list[str],
        checkpoint_metadata: dict[str, Any],
        augmentation: AugmentationConfig | None = None,
    ):
        super().__init__()
        self.strict_loading = False  # checkpoints hold only what is trained; the names are checked below instead
        self.policy = policy
        self.config = config
        self.sums = sums
        self.objective = MeanLoss()  # what the head minimises
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = total_steps
        self.seed = seed
        self.label_names = label_names
        self.checkpoint_metadata = checkpoint_metadata
        self.augmentation = augmentation or AugmentationConfig()

    def on_train_start(self) -> None:
        self.policy.train()  # Lightning keeps the modes it finds, and a loaded backbone comes in eval mode
        self._follow_config()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout is a pure function of where training stands, so a resumed run draws what it would have drawn.
        torch.manual_seed(hash((self.seed, self.current_epoch, batch_idx, self.global_rank)) % 2**63)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        delta = self.config.huber_delta
        predicted, costs = self.policy(self._augmented(batch, batch_idx), huber_delta=delta)
        loss = masked_mean(costs, batch.chunk_mask, batch.denominator)
        # Lightning divides by the accumulated batches and averages over ranks; the denominator has counted both.
        parts = self.trainer.accumulate_grad_batches * self.trainer.world_size
        shown = masked_huber(predicted.detach(), batch.chunks, batch.chunk_mask, delta)
        self.log("train/loss", shown, prog_bar=True, batch_size=batch.num_windows)
        self.log("train/objective", masked_mean(costs.detach(), batch.chunk_mask), batch_size=batch.num_windows)
        return {"loss": loss * parts, "shown": shown}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # the steps that are logged
            gradients = [weight.grad for weight in self.policy.trained().values() if weight.grad is not None]
            self.log("train/grad_norm", nn.utils.get_total_norm(gradients))
            self.log("train/lr", self.lr_schedulers().get_last_lr()[0])

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By the norm of all gradients, as Lightning does it, which refuses fused optimizers whatever the precision."""
        if gradient_clip_val is not None:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, gradient_clip_val)

    def on_validation_epoch_start(self) -> None:
        self.sums.reset()
        self.objective.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        predicted, costs = self.policy(batch, huber_delta=self.config.huber_delta)
        self.sums.update(predicted, batch)
        self.objective.update(costs, batch.chunk_mask)

    def on_validation_epoch_end(self) -> None:
        table, objective = self.sums.compute(), self.objective.compute()
        if self.trainer.sanity_checking:
            return
        scalars = validation_scalars(self.sums.summary(table, self.label_names))
        synchronize = self.trainer.world_size > 1
        self.log("val_loss", scalars.pop("val_loss"), prog_bar=True, sync_dist=synchronize)
        self.log_dict({**scalars, "val/objective": objective}, sync_dist=synchronize)

    def configure_optimizers(self) -> dict[str, Any]:
        # Fused, a step reads and writes each number once; but it cannot be clipped where gradients come scaled.
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        optimizer = torch.optim.AdamW(self._parameter_groups(), betas=self.config.betas, fused=not scaled)
        factor = learning_rate_factor(
            self.config.schedule,
            warmup_steps=round(self.config.warmup_epochs * self.steps_per_epoch),
            total_steps=self.total_steps,
            final=self.config.final_lr,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = trained_state(self.policy)
        checkpoint["mobile_vla"] = self.checkpoint_metadata

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_fits(self.policy, checkpoint)
        checkpoint["state_dict"] = {f"policy.{name}": value for name, value in checkpoint["state_dict"].items()}

    def _augmented(self, batch: Batch, batch_idx: int) -> Batch:
        """The same batch, with other frames if they are to be changed."""
        if not self.augmentation.is_on:
            return batch
        assert batch.frames is not None, "what is computed of frames beforehand cannot be augmented"
        episodes = [shown.episode for shown in batch.frame_id]
        place = (self.seed, self.current_epoch, batch_idx)
        return replace(batch, frames=augment(batch.frames, episodes, self.augmentation, place))

    def _follow_config(self) -> None:
        """A resumed optimizer brings the rates of its checkpoint; those of the configuration at hand hold."""
        scheduler = self.lr_schedulers()
        for group, fresh in zip(scheduler.optimizer.param_groups, self._parameter_groups(), strict=True):
            group.update(initial_lr=fresh["lr"], weight_decay=fresh["weight_decay"], betas=self.config.betas)
        scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]
        factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        for group, base, factor in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, factors, strict=True):
            group["lr"] = base * factor
        scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]  # what is logged

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Weight matrices decay, vectors do not (norms, biases and the action token have a scale of their own)."""
        lr = self.config.lr_at(self.policy.backbone.context_width)
        rates = {"backbone": lr, "head": self.config.head_lr or lr}
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {}  # the same whatever the rates: a resume may change them
        for name, weight in self.policy.trained().items():
            groups.setdefault((name.split(".")[0], weight.ndim > 1), []).append(weight)
        return [
            {"params": weights, "lr": rates[part], "weight_decay": self.config.weight_decay if is_matrix else 0.0}
            for (part, is_matrix), weights in groups.items()
        ]
