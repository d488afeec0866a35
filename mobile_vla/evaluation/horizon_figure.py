"""The loss at each step of the chunk, with its interval over episodes, beside the baselines' on the same windows."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mobile_vla.display.figures import PREDICTED
from mobile_vla.evaluation.intervals import loss_by_horizon
from mobile_vla.evaluation.metrics import EpisodeSums

GREYS = ("#000000", "#4d4d4d", "#808080", "#b3b3b3")
DASHES = ("-", "--", "-.", ":")


def horizon_figure(
    sums: EpisodeSums, own: Float[np.ndarray, "E K"], baselines: Mapping[str, Float[np.ndarray, "E K"]]
) -> Figure:
    """Curves over the horizon; the band is the policy's 95 % interval over episodes."""
    figure = Figure(figsize=(6, 4))  # no global state: closing it is nobody's task
    axis = figure.add_subplot()
    steps = np.arange(1, sums.chunk + 1)
    losses, intervals = loss_by_horizon(sums, own)
    for (name, table), color, dash in zip(baselines.items(), GREYS, DASHES, strict=False):
        axis.plot(
            steps, _floats(loss_by_horizon(sums, table)[0]), dash, color=color, lw=1, label=name.replace("_", " ")
        )
    axis.plot(steps, _floats(losses), "o-", ms=3, color=PREDICTED, label="policy")
    low, high = (_floats([None if interval is None else interval[side] for interval in intervals]) for side in (0, 1))
    axis.fill_between(steps, low, high, color=PREDICTED, alpha=0.2, lw=0)
    axis.set_xlabel("step of the chunk")
    axis.set_ylabel("loss (Huber)")
    axis.set_ylim(bottom=0)
    axis.set_title(
        f"{int((own[:, sums.columns['windows']] > 0).sum())} episodes; band: 95 % interval over them", fontsize=9
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    figure.tight_layout()
    return figure


def _floats(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
