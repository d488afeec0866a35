"""What ends a training before its last epoch: a signal, a number of steps, a time, a loss that no longer falls.

Each leaves a state from which the run continues, or sees that it had come to its end.
"""

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer

from mobile_vla.core.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingConfig:
    """Stop after `patience` validations in a row without `val_loss` falling by more than `min_delta`."""

    patience: int = 5
    min_delta: float = 0.0

    def __post_init__(self):
        if self.patience < 1 or self.min_delta < 0:
            raise ValueError(
                "callbacks.early_stopping: patience must be at least 1 and min_delta not negative, got "
                f"{self.patience} and {self.min_delta}"
            )


class StopWithoutProgress(EarlyStopping):
    """Lightning's early stopping, by the patience of the configuration at hand; a run that was stopped stays so."""

    def __init__(self, config: EarlyStoppingConfig):
        super().__init__(
            "val_loss", min_delta=config.min_delta, patience=config.patience, check_on_train_epoch_end=False
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop |= self.wait_count >= self.patience


class StopAfterTime(Timer):
    """max_time: days:hours:minutes:seconds of training in all, resumed parts counted together; ends between steps."""

    def __init__(self, max_time: str):
        super().__init__(duration=max_time, verbose=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._check_time_remaining(trainer)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.fit_loop._should_accumulate():
            self._check_time_remaining(trainer)


class StopAfterSteps(Callback):
    """max_steps: optimizer steps in all. Unlike the Trainer's own setting it ends with a validation."""

    def __init__(self, max_steps: int):
        self.max_steps = max_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop |= trainer.global_step >= self.max_steps

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        trainer.should_stop |= trainer.global_step >= self.max_steps


class StopOnSignal(Callback):
    """SIGTERM or Ctrl-C: after the step at hand, on all ranks together; a second one at once.

    say: prints a line to the user.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)):
        self.say = say
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # After Lightning has set its own handlers, which may raise between two batches of one step.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._leave_if_asked(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()
        self._leave_if_asked(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _leave_if_asked(self, trainer: Trainer, pl_module: LightningModule) -> None:
        number = self.received or 0
        if trainer.world_size > 1:  # a signal may have reached one rank only, and all must leave at the same step
            highest = trainer.strategy.reduce(torch.tensor(float(number), device=pl_module.device), reduce_op="max")
            number = int(highest)
        if number:
            name = signal.Signals(number).name
            raise Interrupted(f"stopped by {name} after step {trainer.global_step}, which is saved", number)

    def _receive(self, number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if self.received is not None:
            raise Interrupted(f"stopped by a second {name}; the last checkpoint is what is left", number, at_once=True)
        self.received = number
        self.say(f"{name}: stopping after this step (or this validation); once more to stop at once")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
