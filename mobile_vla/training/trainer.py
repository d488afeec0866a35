"""From the user's `trainer` settings to Lightning's Trainer: where it runs, in which precision, for how long."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import StrategyRegistry

from mobile_vla.core.changes import Change, on_change
from mobile_vla.core.errors import UserError
from mobile_vla.training.checkpoint_io import VerifiedCheckpointIO

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
COMPUTE_DTYPES: dict[Precision, torch.dtype] = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # short forms


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Names and meanings are those of Lightning's Trainer, but for `compile`.

    accelerator  auto | cpu | gpu | mps;  precision  auto | 32-true | bf16-mixed | 16-mixed (frozen weights are held
                 in it, trained ones in float32)
    compile      the layers of the training step with `torch.compile`
    """

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int | tuple[int, ...] = field(default=1, metadata=on_change(Change.STEP_SIZE))
    num_nodes: int = field(default=1, metadata=on_change(Change.STEP_SIZE))
    strategy: str = "auto"
    precision: str = "auto"
    max_epochs: int = field(default=10, metadata=on_change(Change.END))
    max_steps: int = field(default=-1, metadata=on_change(Change.END))
    max_time: str | None = None
    accumulate_grad_batches: int = field(default=1, metadata=on_change(Change.STEP_SIZE))
    gradient_clip_val: float | None = 1.0
    check_val_every_n_epoch: int = 1
    limit_train_batches: int | float = 1.0
    limit_val_batches: int | float = 1.0
    num_sanity_val_steps: int = 0
    log_every_n_steps: int = 10
    deterministic: bool | Literal["warn"] = False
    enable_progress_bar: bool = field(default=True, metadata=on_change(Change.SILENT))
    compile: bool = False

    def __post_init__(self):
        precision = PRECISIONS.get(self.precision, self.precision)
        if precision not in (*COMPUTE_DTYPES, "auto"):
            raise UserError(f"must be one of {['auto', *COMPUTE_DTYPES]}, got '{self.precision}'", argument="precision")
        for name in ("max_epochs", "accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"must be at least 1, got {getattr(self, name)}", argument=name)

        if self.num_devices < 1 or self.num_nodes < 1:
            raise UserError(
                f"and num_nodes must be at least 1, got {self.devices}, {self.num_nodes}", argument="devices"
            )
        strategies = ["auto", *StrategyRegistry.available_strategies()]
        if self.strategy not in strategies:
            raise UserError(f"must be one of {strategies}, got '{self.strategy}'", argument="strategy")
        if self.max_time is not None and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", self.max_time):
            raise UserError(
                f"must be days:hours:minutes:seconds (00:08:00:00), got '{self.max_time}'", argument="max_time"
            )
        for name in ("limit_train_batches", "limit_val_batches"):
            value = getattr(self, name)
            if value < 0 or (isinstance(value, float) and value > 1):
                raise UserError(f"must be a number of batches or a share up to 1.0, got {value}", argument=name)
        if self.gradient_clip_val is not None and self.gradient_clip_val <= 0:
            raise UserError(
                f"must be positive, or null for none, got {self.gradient_clip_val}", argument="gradient_clip_val"
            )

    def num_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole training."""
        steps = steps_per_epoch * self.max_epochs
        return min(steps, self.max_steps) if self.max_steps > 0 else steps

    @property
    def num_devices(self) -> int:
        return len(self.devices) if isinstance(self.devices, tuple) else self.devices


@dataclass(frozen=True)
class Machine:
    """Where training really runs: no `auto` is left."""

    accelerator: Literal["cpu", "gpu", "mps"]
    precision: Precision

    @property
    def device(self) -> torch.device:
        """The first one of its kind."""
        return torch.device("cuda" if self.accelerator == "gpu" else self.accelerator)

    @property
    def compute_dtype(self) -> torch.dtype:
        return COMPUTE_DTYPES[self.precision]


def choose_machine(config: TrainerConfig) -> Machine:
    """Resolve `auto`; `UserError` for what this machine does not have or cannot compute in."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if cuda else "mps" if mps else "cpu"
    if accelerator == "gpu" and not cuda:
        raise UserError(
            "no CUDA device is visible here (torch.cuda.is_available() is False); expected a "
            "CUDA build of torch and a working driver; use trainer=cpu or trainer=auto",
            argument="trainer.accelerator",
            value="gpu",
        )
    if accelerator == "mps" and not mps:
        raise UserError(
            "torch has no MPS device here; use trainer=cpu or trainer=auto",
            argument="trainer.accelerator",
            value="mps",
        )
    if accelerator == "gpu" and config.num_devices > torch.cuda.device_count():
        raise UserError(
            f"only {torch.cuda.device_count()} CUDA devices are visible",
            argument="trainer.devices",
            value=config.num_devices,
        )
    precision = PRECISIONS.get(config.precision, config.precision)
    if precision == "auto":
        bf16 = accelerator == "gpu" and torch.cuda.is_bf16_supported()
        precision = "bf16-mixed" if bf16 else "32-true"
    if precision == "16-mixed" and accelerator != "gpu":
        raise UserError(
            f"needs a GPU, got accelerator {accelerator} (Lightning would silently compute "
            "in bf16); use trainer.precision=bf16-mixed or 32-true",
            argument="trainer.precision",
            value="16-mixed",
        )
    if precision != "32-true" and accelerator == "mps":
        raise UserError(
            "MPS computes in float32 only; use trainer.precision=32-true", argument="trainer.precision", value=precision
        )
    return Machine(accelerator, cast(Precision, precision))


def build_trainer(
    config: TrainerConfig, machine: Machine, out: Path, callbacks: Sequence[Callback], loggers: Sequence[Logger]
) -> Trainer:
    """The Trainer; samplers are ours, since order is planned and ranks must not be dealt duplicates.

    `max_steps` and `max_time` are callbacks (`callbacks.stopping`): the Trainer's own leave no state to resume from.
    """
    return Trainer(
        accelerator=machine.accelerator,
        precision=machine.precision,
        devices=list(config.devices) if isinstance(config.devices, tuple) else config.devices,
        num_nodes=config.num_nodes,
        strategy=config.strategy,
        max_epochs=config.max_epochs,
        accumulate_grad_batches=config.accumulate_grad_batches,
        gradient_clip_val=config.gradient_clip_val,
        check_val_every_n_epoch=config.check_val_every_n_epoch,
        limit_train_batches=config.limit_train_batches,
        limit_val_batches=config.limit_val_batches,
        num_sanity_val_steps=config.num_sanity_val_steps,
        log_every_n_steps=config.log_every_n_steps,
        deterministic=config.deterministic,
        enable_progress_bar=config.enable_progress_bar and sys.stderr.isatty(),
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=out,
        callbacks=list(callbacks),
        logger=list(loggers),
        plugins=[VerifiedCheckpointIO()],
    )
