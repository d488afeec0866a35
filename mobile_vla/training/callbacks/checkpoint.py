"""Which checkpoints are kept: the best by `val_loss`, and the last; also when the run's folder was moved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

LAST = "last.ckpt"


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """save_top_k best by `val_loss` (-1 keeps all), and the last one."""

    save_top_k: int = 3
    save_last: bool = True

    def __post_init__(self):
        if self.save_top_k < -1:
            raise ValueError(f"callbacks.checkpoint.save_top_k must be at least -1 (all), got {self.save_top_k}")


class RunCheckpoints(ModelCheckpoint):
    """Lightning remembers its files by absolute paths, and forgets them all when the folder is another one."""

    def __init__(self, config: CheckpointConfig, run_folder: Path):
        super().__init__(
            dirpath=run_folder / "checkpoints",
            filename="epoch={epoch:03d}-val_loss={val_loss:.5f}",
            auto_insert_metric_name=False,
            monitor="val_loss",
            save_top_k=config.save_top_k,
            save_last=config.save_last,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Look for the same files in the folder at hand; those that are gone no longer compete."""
        folder = Path(self.dirpath or ".")

        def here(path: str) -> str:
            found = folder / Path(path).name
            return str(found) if path and found.exists() else ""

        best = {here(path): score for path, score in state_dict["best_k_models"].items() if here(path)}
        paths = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": str(folder)})
