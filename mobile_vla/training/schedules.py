"""Learning-rate schedules, as a factor of the learning rate at each optimizer step."""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["constant", "cosine"]


def learning_rate_factor(
    schedule: Schedule, *, warmup_steps: int, total_steps: int, final: float
) -> Callable[[int], float]:
    """Linear warm-up over `warmup_steps`, then 1 (`constant`) or half a cosine down to `final` at the last step."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if schedule == "constant":
            return 1.0
        done = min((step - warmup_steps) / max(total_steps - 1 - warmup_steps, 1), 1.0)
        return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2

    return factor
