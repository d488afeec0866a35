"""`metrics.csv`: one row a logged step, appended while training runs, and on resume continued where it stopped.

Lightning's own CSV logger deletes earlier rows on resume. This one drops only the rows behind the step that training
resumes from, since these will be logged again.
"""

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

FIRST = ("epoch", "step")


class CsvMetrics(Logger):
    """Writes to `file`. A metric that no row had so far adds a column; earlier rows keep their values."""

    def __init__(self, file: Path):
        super().__init__()
        self.file = file
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
    def resume_at(self, step: int) -> None:
        """Drop rows of steps that will be run again."""
        if self.file.exists():
            rows = self._rows()
            self._rewrite([row for row in rows if int(row["step"]) < step])

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {**metrics, "step": step if step is not None else 0}
        row["epoch"] = int(row.get("epoch", 0))
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
        part = self.file.with_suffix(".part")
        with part.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        part.replace(self.file)
