"""`metrics.csv`: one row a logged step, appended while training runs, and on resume continued where it stopped.

Lightning's own CSV logger deletes earlier rows on resume. This one drops only the rows that were written after the
checkpoint that training resumes from, since these will be logged again. What a clock measured (`speed/...`) is left
to TensorBoard, so that two runs of one configuration have the same table.
"""

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from mobile_vla.core.durable import replaced

FIRST = ("epoch", "step")
TIMED = "speed/"
OF_A_STEP = "train/loss"


def is_last_word(metrics: Mapping[str, float], step: int | None, every_n_steps: int) -> bool:
    """What Lightning logs of a step only because training stops there; a run that goes on has no such row."""
    return OF_A_STEP in metrics and step is not None and (step + 1) % every_n_steps != 0


class CsvMetrics(Logger):
    """Writes to `file`. A metric that no row had so far adds a column; earlier rows keep their values."""

    def __init__(self, file: Path, every_n_steps: int = 1):
        super().__init__()
        self.file = file
        self.every_n_steps = every_n_steps
        self.columns: list[str] = list(FIRST)
        if file.exists():
            with file.open(newline="") as stream:
                self.columns = next(csv.reader(stream), list(FIRST))

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def resume_at(self, num_rows: int) -> None:
        """Keep the first `num_rows`."""
        if self.file.exists():
            self._rewrite(self._rows()[:num_rows])

    def count_rows(self) -> int:
        return len(self._rows()) if self.file.exists() else 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {name: value for name, value in metrics.items() if not name.startswith(TIMED)}
        if not row.keys() - {"epoch"} or is_last_word(metrics, step, self.every_n_steps):
            return
        row |= {"epoch": int(row.get("epoch", 0)), "step": step if step is not None else 0}
        new = [name for name in row if name not in self.columns]
        if new:
            rows = self._rows() if self.file.exists() else []
            self.columns += sorted(new)
            self._rewrite(rows)
        elif not self.file.exists():
            self._rewrite([])
        with self.file.open("a", newline="") as stream:
            csv.DictWriter(stream, self.columns).writerow(row)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters are in `config.yaml`."""

    def _rows(self) -> list[dict[str, str]]:
        """All rows but one that a killed run left unfinished."""
        lines = self.file.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        return [row for row in csv.DictReader(whole) if None not in row.values()]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        with replaced(self.file) as part, part.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self.columns)
            writer.writeheader()
            writer.writerows(rows)
