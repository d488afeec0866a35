"""How Lightning writes and reads checkpoint files: verified, and without unpickling anything but plain values."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from mobile_vla.checkpoints.files import save


class VerifiedCheckpointIO(TorchCheckpointIO):
    """Writes beside, reads back, renames (see `checkpoints.files`)."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        save(checkpoint, Path(path))
