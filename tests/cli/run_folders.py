"""Folders of runs as trainings leave them, written by hand: what reads them needs no checkpoint."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

BASELINES = {"mean_action": 0.4, "previous_action": 0.6, "progress_only": 0.32, "instruction_only": 0.36}


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def configuration(seed: int = 0, lora: str = "all", epochs: int = 10, lr: float = 1e-4, chunk: int = 10) -> dict:
    return {
        "seed": seed,
        "optimization": {"lr": lr, "huber_delta": 1.0},
        "data": {"root": "/episodes", "chunk": chunk, "components": ["linear_x", "linear_y"]},
        "model": {
            "weights": "microsoft/kosmos-2-patch14-224",
            "architecture": {},
            "lora": {"preset": lora, "r": 32, "layers": "all"},
        },
        "trainer": {"max_epochs": epochs},
        "logger": {"tensorboard": True, "csv": True},
    }


def findings(val_loss: float, epochs: int = 10, steps: int = 50) -> dict:
    effect = {"ci": [1.5, 3.0], "windows": 40, "length_matched": None, "reason": None}
    return {
        "schema": 1,
        "version": "0.1.0",
        "val_loss": val_loss,
        "baselines": BASELINES,
        "best_baseline": "progress_only",
        "effects": {
            "instruction": {**effect, "ratio": 2.5, "episodes": 4},
            "image": {**effect, "ratio": 1.25, "episodes": 6},
        },
        "denominators": {"episodes": 6, "windows": 66},
        "parameters": {"trainable": 1_283_092, "total": 1_965_460},
        "epochs": epochs,
        "steps": steps,
    }


def write_metrics(file: Path, losses: Sequence[float], steps_per_epoch: int = 5) -> None:
    """As a training has written it after as many epochs: of each a validation, then a step."""
    columns = ["epoch", "step", *(f"baseline/{name}" for name in BASELINES), "val/episodes", "val/windows", "val_loss"]
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow([*columns, "train/loss"])
        for epoch, loss in enumerate(losses):
            step = (epoch + 1) * steps_per_epoch - 1
            table.writerow([epoch, step, *BASELINES.values(), 6.0, 66.0, loss, ""])
            table.writerow([epoch, step, *[""] * (len(columns) - 2), 0.5])


def write_run(
    folder: Path,
    *,
    val_loss: float | None = 0.16,
    losses: Sequence[float] = (0.3, 0.2, 0.16, 0.17),
    began: str = "2026-01-31T09:00:00+0000",
    validation: Sequence[str] = ("a", "b"),
    **settings: Any,
) -> Path:
    """A run that has ended; without val_loss one that was interrupted after as many epochs as it has losses."""
    (folder / "checkpoints").mkdir(parents=True)
    config = configuration(**settings)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    rows = [{"episode": name, "fingerprint": f"print of {name}"} for name in validation]
    write_json(folder / "split.json", {"schema": 2, "splits": {"train": [], "validation": rows, "test": []}})
    write_json(folder / "machine.json", {"at": began, "resumed": []})
    write_metrics(folder / "metrics.csv", losses)
    (folder / ".lock").write_text("process 1 on nowhere")
    if val_loss is not None:
        write_json(folder / "train.json", findings(val_loss, len(losses), 5 * len(losses)))
    return folder


def write_imported(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration()))
    parts: dict[str, list] = {"train": [], "validation": [], "test": []}
    write_json(folder / "split.json", {"schema": 2, "unknown": "imported from x.ckpt", "splits": parts})
    write_json(folder / "import.json", {"schema": 1, "parameters": {"trainable": 7, "total": 9}})
    return folder
