"""The two pictures: the sequence as the decoder gets it, and what each input can change.

In: an `Examined`. Out: figures. An input that changes exactly nothing is drawn in its own colour, never as a small bar.
"""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from mobile_vla.doctor.examination import Examined
from mobile_vla.doctor.sensitivity import REGIONS
from mobile_vla.doctor.sequence import Role, SequenceMap

COLOURS: dict[Role, str] = {
    "special": "#7b3fa0", "image": "#1f5fa8", "text": "#2b8a3e", "action": "#c8491b", "padding": "#c9d0d8",
}  # fmt: skip
INK, SILENT, FLOOR = "#1c2430", "#d6006c", 1e-8
A_ROW = 32  # positions side by side
NAMES = {"instruction": "instruction", "image": "image", "action_token": "action token", "everything": "both"}


def draw_sequence(found: SequenceMap) -> Figure:
    """A box a position: its colour says what it holds; hatched where nothing can attend to it."""
    rows = -(-len(found.roles) // A_ROW)
    figure, axis = plt.subplots(figsize=(9.6, 0.9 + 0.55 * rows), layout="constrained")
    for position, (role, attended) in enumerate(zip(found.roles, found.attended, strict=True)):
        row, column = divmod(position, A_ROW)
        box: dict[str, Any] = {"facecolor": COLOURS[role], "edgecolor": "white"}
        if not attended:
            box |= {"facecolor": "white", "edgecolor": COLOURS[role], "hatch": "////"}
        axis.add_patch(Rectangle((column, -row), 0.94, 0.8, **box))
        if position % 8 == 0:
            axis.text(column + 0.05, -row + 0.83, str(position), fontsize=6, color=INK)
    axis.set(xlim=(-0.2, A_ROW + 0.2), ylim=(-rows + 0.9, 1.2))
    axis.axis("off")
    keys = [Patch(facecolor=COLOURS[role], label=role) for role in COLOURS if role in found.roles]
    keys.append(Patch(facecolor="white", edgecolor=INK, hatch="////", label="cannot be attended to"))
    axis.legend(handles=keys, ncols=len(keys), loc="upper center", bbox_to_anchor=(0.5, 0), fontsize=7, frameon=False)
    left = f"{len(found.text_left)} of {found.num_text} prompt tokens are in the sequence"
    axis.set_title(f"What the decoder gets for one pair: {left}", fontsize=9.5, loc="left", color=INK)
    return figure


def draw_sensitivity(found: Examined) -> Figure:
    """Change of the context by each input, on a logarithmic scale, and window positions against chunks."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
    wholes = {NAMES[name]: moved for name, moved in found.wholes().items()}
    _bars(axes[0, 0], [moved.context for moved in wholes.values()], "context, by whole inputs", list(wholes))
    _bars(axes[0, 1], [moved.context for moved in found.single.text_tokens], "context, by prompt token")
    _bars(axes[0, 2], [moved.context for moved in found.single.image_tokens], "context, by image token")
    _bars(axes[1, 0], [moved.chunk for moved in wholes.values()], "chunk, by whole inputs", list(wholes))
    regions = np.array([moved.context for moved in found.single.regions]).reshape(REGIONS, REGIONS)
    _field(figure, axes[1, 1], regions, "context, by region of the frame", "", "")
    windows = np.array(found.windows.changes)
    windows = np.where((windows == 0) & np.tri(len(windows), k=-1, dtype=bool), np.nan, windows)  # as it should be
    _field(figure, axes[1, 2], windows, "chunk, by the window's context", "chunk at position", "context at position")
    figure.suptitle(
        "Root mean square change by a random input in its place (tests wiring, not use); pink: exactly 0, not wired",
        fontsize=10,
    )
    return figure


def save_figures(found: Examined, out: Path) -> None:
    for name, figure in (("sequence", draw_sequence(found.sequence)), ("sensitivity", draw_sensitivity(found))):
        figure.savefig(out / f"{name}.png", dpi=110)
        plt.close(figure)


def _bars(axis: Axes, values: list[float], title: str, names: list[str] | None = None) -> None:
    shown = np.array(values)
    silent = shown == 0
    bottom = max(shown[~silent].min() / 3, FLOOR) if (~silent).any() else FLOOR
    top = max(shown.max(), bottom * 10)
    heights = np.where(silent, top, shown)
    axis.bar(range(len(shown)), heights, color=np.where(silent, SILENT, COLOURS["image"]))
    axis.set(yscale="log", ylim=(bottom, top * 1.5))
    if names is not None:
        axis.set_xticks(range(len(names)), names, fontsize=7)
    _finish(axis, title)


def _field(figure: Figure, axis: Axes, values: np.ndarray, title: str, x: str, y: str) -> None:
    drawn = axis.imshow(np.ma.masked_invalid(values), cmap="viridis")
    for row, column in zip(*np.nonzero(values == 0), strict=True):
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=SILENT))
    axis.set(xlabel=x, ylabel=y, xticks=range(values.shape[1]), yticks=range(values.shape[0]))
    figure.colorbar(drawn, ax=axis, shrink=0.8)
    _finish(axis, title)


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=9, loc="left", color=INK)
    axis.tick_params(which="both", labelsize=7)
    axis.xaxis.label.set_size(8)
    axis.yaxis.label.set_size(8)
