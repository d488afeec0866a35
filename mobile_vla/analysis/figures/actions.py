"""What the head answers: errors by step and component, and what moves when an input changes.

In: an `ActionError`, effects of variants. Out: figures.
"""

from collections.abc import Sequence

import numpy as np

from mobile_vla.analysis.descriptions.action_error import ActionError
from mobile_vla.analysis.descriptions.intervened import Effect, Moved, map_tokens
from mobile_vla.analysis.figures.style import COLOURS, MARKERS, SOFT, Drawn, caption, fonts, new_figure


def draw_action_error(found: ActionError) -> Drawn:
    figure, axes = new_figure(1, 2, 2.7)
    steps = np.arange(1, len(found.rmse) + 1)
    for axis, values, title in zip(
        axes.flat, (found.rmse, found.r2), ("RMSE, in recorded velocities", "R² against the mean action of the step")
    ):
        for place, name in enumerate(found.components):
            style = {
                "color": COLOURS[place % len(COLOURS)],
                "marker": MARKERS[place % len(MARKERS)],
                "ms": 4,
                "lw": 1.4,
            }
            axis.plot(steps, values[:, place], label=name, **style)
        caption(axis, title)
        axis.set_xlabel("step of the chunk")
        axis.set_xticks(steps[:: max(len(steps) // 10, 1)])
    axes[0, 0].set_ylim(0, 1.15 * float(found.rmse.max()) or 1.0)
    axes[0, 1].axhline(0, color=SOFT, lw=0.8)
    axes[0, 0].legend(fontsize=8, frameon=False)
    return Drawn(figure, "Error and R² of the predicted chunk by step and component.")


def draw_effects(effects: Sequence[Effect]) -> Drawn | None:
    """Of the variants that hide no image tokens; those have a map of their own."""
    shown = [effect for effect in effects if effect.block is None]
    if not shown:
        return None
    with_chunks = any(effect.chunk is not None for effect in shown)
    figure, axes = new_figure(1, 1 + with_chunks, 0.9 + 0.32 * len(shown), width=9.0 if with_chunks else 5.4)
    for axis, name in zip(axes.flat, ("context", "chunk")):
        for place, effect in enumerate(shown):
            moved: Moved | None = getattr(effect, name)
            if moved is not None:
                axis.barh(place, moved.value, color=COLOURS[0], height=0.55, alpha=0.85)
                if moved.ci is not None:
                    axis.plot(moved.ci, [place, place], color="#111", lw=1.4)
        axis.set_yticks(range(len(shown)), [effect.variant for effect in shown], **fonts())
        axis.set_ylim(len(shown) - 0.5, -0.5)
        axis.set_xlabel("distance moved, in mean distances from the centre")
        caption(axis, "context" if name == "context" else "predicted chunk")
    said = "How far contexts and predicted chunks move under each variant, with 90 % intervals."
    noted = [f"{effect.variant} is {effect.note}." for effect in shown if effect.note]
    return Drawn(figure, " ".join([said, *noted]))


def draw_tokens(effects: Sequence[Effect]) -> Drawn | None:
    """The image tokens as a grid, in their order."""
    found = map_tokens(effects)
    if found is None:
        return None
    side = int(np.ceil(np.sqrt(len(found))))
    grid = np.full(side * -(-len(found) // side), np.nan)
    grid[: len(found)] = found
    figure, axes = new_figure(1, 1, 3.4, width=4.6)
    drawn = axes[0, 0].imshow(grid.reshape(-1, side), cmap="viridis", vmin=0)
    bar = figure.colorbar(drawn, ax=axes[0, 0], shrink=0.85)
    bar.set_label("predicted chunk moved", fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    axes[0, 0].set(xlabel="image token, in their order", xticks=[], yticks=[])
    return Drawn(figure, "What hiding each block of image tokens does to the predicted chunk.")
