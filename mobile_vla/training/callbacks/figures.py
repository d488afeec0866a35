"""Draws predicted against true chunks and a strip of frames with their arrows, after validations, into TensorBoard."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from mobile_vla.data.assemble import BatchAssembler, WindowRequest
from mobile_vla.display.figures import chunk_figure, frame_strip


@dataclass(frozen=True, kw_only=True)
class FiguresConfig:
    """Every how many epochs (and at the end), and for how many windows."""

    every_n_epochs: int = 5
    windows: int = 4

    def __post_init__(self):
        if min(self.every_n_epochs, self.windows) < 1:
            raise ValueError(f"callbacks.figures: numbers must be at least 1, got {self}")


class Figures(Callback):
    """Every `every_n_epochs` and at the end, for a few fixed windows of the validation split."""

    def __init__(self, assembler: BatchAssembler, requests: Sequence[WindowRequest], every_n_epochs: int):
        self.assembler = assembler
        self.requests = list(requests)
        self.every_n_epochs = every_n_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = trainer.current_epoch + 1 >= (trainer.max_epochs or 0)
        due = trainer.current_epoch % self.every_n_epochs == 0 or last
        if trainer.sanity_checking or not trainer.is_global_zero or not due:
            return
        boards = [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not boards:
            return
        batch = self.assembler(self.requests).to(pl_module.device)
        with torch.no_grad():
            predicted = pl_module.policy(batch).cpu()
        batch = batch.to("cpu")
        space = self.assembler.actions
        step = max(trainer.global_step - 1, 0)  # where the validation's own scalars are
        for board in boards:
            board.add_figure("chunks/predicted_and_true", chunk_figure(predicted, batch, space), step)
            board.add_figure("frames/arrows", frame_strip(predicted, batch, space), step)
