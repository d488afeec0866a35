"""Figures of a few windows: chunks as curves, and frames with the arrows that were driven and predicted."""

import re

import matplotlib

matplotlib.use("Agg")  # no display is needed, nor looked for

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib import font_manager
from matplotlib.figure import Figure
from torch import Tensor

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch

HANGUL_FONTS = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo", "UnDotum")
TRUE, PREDICTED = "#1b7837", "#b2182b"
MAX_WINDOWS = 4


def _find_fonts() -> list[str]:
    """The default font, and behind it the Korean ones that are installed."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in HANGUL_FONTS if name in installed)]


FONTS = _find_fonts()


def _drawable(text: str) -> str:
    """Without a Korean font, Hangul is drawn as squares rather than with a warning for each letter."""
    return text if len(FONTS) > 1 else re.sub("[\uac00-\ud7a3]", "□", text)


def chunk_figure(predicted: Float[Tensor, "S W C A"], batch: Batch, space: ActionSpace) -> Figure:
    """Rows: windows (their last observed frame); columns: components. Velocities over the steps of the chunk."""
    count = min(batch.num_windows, MAX_WINDOWS)
    figure, axes = plt.subplots(
        count, len(space.components), figsize=(4 * len(space.components), 2 * count), squeeze=False, sharex=True
    )
    for s in range(count):
        position = len(batch.window_pairs(s)) - 1
        pair = batch.window_pairs(s)[position]
        mask = batch.chunk_mask[s, position].numpy()
        true = space.denormalize(batch.chunks[s, position]).numpy()
        guess = space.denormalize(predicted[s, position]).numpy()
        steps = np.arange(1, len(mask) + 1)
        for a, name in enumerate(space.components):
            axis = axes[s][a]
            axis.step(steps[mask], true[mask, a], where="mid", color=TRUE, label="true")
            axis.plot(steps[mask], guess[mask, a], "o-", ms=3, color=PREDICTED, label="predicted")
            low, high = space.low[a], space.high[a]
            axis.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
            axis.set_xlim(0.5, len(mask) + 0.5)
            axis.grid(alpha=0.3)
            if s == 0:
                axis.set_title(name)
            if a == 0:
                axis.set_ylabel(_drawable(f"{pair.episode[-28:]}\nframe {pair.frame}"), fontsize=6)
    axes[0][0].legend(fontsize=7)
    axes[-1][0].set_xlabel("step of the chunk")
    figure.tight_layout()
    return figure


def frame_strip(predicted: Float[Tensor, "S W C A"], batch: Batch, space: ActionSpace) -> Figure:
    """One row a window: its frames, with the first action of each chunk as an arrow (up is forward, left is left)."""
    count = min(batch.num_windows, MAX_WINDOWS)
    width = batch.windows.shape[1]
    figure, axes = plt.subplots(count, width, figsize=(1.5 * width, 1.8 * count), squeeze=False)
    for s in range(count):
        true = _arrows(space.denormalize(batch.chunks[s, :, 0]).numpy(), space)
        guess = _arrows(space.denormalize(predicted[s, :, 0]).numpy(), space)
        for w in range(width):
            axis = axes[s][w]
            axis.set_xticks([])
            axis.set_yticks([])
            pair = int(batch.windows[s, w])
            if pair < 0:
                axis.set_axis_off()
                continue
            assert batch.frames is not None, "a strip needs its frames"
            frame = batch.frames[batch.pair_frame[pair]].numpy()
            axis.imshow(frame)
            size = frame.shape[0]
            for (left, forward), color in ((true[w], TRUE), (guess[w], PREDICTED)):
                if color == TRUE and not bool(batch.chunk_mask[s, w, 0]):
                    continue
                axis.annotate(
                    "",
                    xy=(size * (0.5 - 0.35 * left), size * (0.8 - 0.35 * forward)),
                    xytext=(size * 0.5, size * 0.8),
                    arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2},
                )
        instruction = _drawable(batch.window_pairs(s)[0].instruction[:70])
        axes[s][0].set_title(instruction, fontsize=6, loc="left", fontfamily=FONTS)
    figure.suptitle("green: driven, red: predicted", fontsize=7)
    figure.tight_layout()
    return figure


def _arrows(velocities: Float[np.ndarray, "W A"], space: ActionSpace) -> list[tuple[float, float]]:
    """(left, forward) in units of the largest speed; turning counts as left where there is no sideways component."""
    fastest = max(max(abs(low), abs(high)) for low, high in zip(space.low, space.high, strict=True))
    forward = space.components.index("linear_x") if "linear_x" in space.components else None
    return [
        (
            float(row[space.lateral]) / fastest if space.lateral is not None else 0.0,
            float(row[forward]) / fastest if forward is not None else 0.0,
        )
        for row in velocities
    ]
