"""A run's TensorBoard: charts laid out for comparing, the HParams tab filled from the start, findings as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams

from mobile_vla.display.loggers import is_last_word
from mobile_vla.display.scalars import CHART_LAYOUT, COMPARED, HPARAMS
from mobile_vla.runs.settings import flatten


class Board(TensorBoardLogger):
    """Events lie in the run's folder itself, so that the folder's name is the run's name in TensorBoard."""

    def __init__(self, folder: Path, resumed_at: int | None = None, every_n_steps: int = 1):
        """resumed_at: the step that a resumed run continues from; what was logged from there on is taken back."""
        super().__init__(save_dir=folder, name="", version="", default_hp_metric=False, purge_step=resumed_at)
        self.every_n_steps = every_n_steps

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not is_last_word(metrics, step, self.every_n_steps):
            super().log_metrics(metrics, step)

    @rank_zero_only
    def log_config(self, config: Mapping[str, Any]) -> None:
        """Fill the HParams tab; its metrics are scalars that the run logs anyway, so nothing is written for them."""
        leaves = dict(flatten(config))
        told = {name: leaves[name] for name in HPARAMS if name in leaves}
        flat = {name: value if isinstance(value, int | float | bool) else str(value) for name, value in told.items()}
        writer = self.experiment._get_file_writer()
        for summary in hparams(flat, dict.fromkeys(COMPARED, 0.0)):
            writer.add_summary(summary)
        self.experiment.add_custom_scalars(CHART_LAYOUT)

    @rank_zero_only
    def save(self) -> None:
        """Flush; the configuration is in `config.yaml`, and needs no second copy."""
        self.experiment.flush()

    @rank_zero_only
    def log_findings(self, scalars: Mapping[str, float | None], lines: Sequence[str], step: int) -> None:
        """What was found at the end: scalars where there are any, and sentences."""
        for name, value in scalars.items():
            if value is not None:
                self.experiment.add_scalar(name, value, step)
        self.experiment.add_text("findings", "\n".join(f"- {line}" for line in lines) or "nothing to report", step)
        self.experiment.flush()
