"""How fast a policy went through windows, and how long it waited for them."""

from dataclasses import dataclass


@dataclass
class Pace:
    """How fast an evaluation ran; a window counts once for each variant of it that was predicted."""

    windows: int = 0
    waiting_s: float = 0.0  # for batches to be read and assembled
    seconds: float = 0.0

    @property
    def windows_per_s(self) -> float:
        return self.windows / max(self.seconds, 1e-9)

    @property
    def data_wait_share(self) -> float:
        return self.waiting_s / max(self.seconds, 1e-9)
