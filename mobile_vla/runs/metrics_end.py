"""The end of a run's `metrics.csv`: how far it came, and its last validation.

In: the file, which a training may be writing. Out: a `MetricsEnd`. Rows are taken apart from the end on, so that a
long table hardly costs more than a short one; a row that is not whole yet is not there yet.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VALIDATION, BASELINE = "val_loss", "baseline/"


@dataclass(frozen=True, kw_only=True)
class MetricsEnd:
    """epochs: whole ones. step: of the last row. validation: name -> value of the last row that has a `val_loss`."""

    epochs: int
    step: int
    validation: Mapping[str, float]

    @property
    def val_loss(self) -> float | None:
        return self.validation.get(VALIDATION)

    @property
    def baselines(self) -> dict[str, float]:
        found = {name: value for name, value in self.validation.items() if name.startswith(BASELINE)}
        return {name.removeprefix(BASELINE): value for name, value in found.items()}


def read_end(file: Path) -> MetricsEnd | None:
    """None where nothing was logged yet; ValueError where it is no such table."""
    if not file.is_file():
        return None
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < 2:
        return None
    columns = next(csv.reader(whole[:1]))
    if not {"epoch", "step"} <= set(columns):
        raise ValueError("no columns epoch and step")
    epochs, step = 0, None
    for line in reversed(whole[1:]):
        cells = next(csv.reader([line]))
        if len(cells) != len(columns):
            continue
        row = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
        epoch = int(row["epoch"])
        step = int(row["step"]) if step is None else step
        validated = VALIDATION in row
        epochs = max(epochs, epoch + validated)  # an epoch is validated at its end
        if validated:
            return MetricsEnd(epochs=epochs, step=step, validation={name: float(row[name]) for name in row})
    return None if step is None else MetricsEnd(epochs=epochs, step=step, validation={})
