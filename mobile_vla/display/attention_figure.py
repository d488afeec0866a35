"""Attention maps over their frames: a film strip of one episode, or a grid of frames from anywhere.

In: `AttendedFrame`s, see `attending`. Out: a figure that nothing needs to close; a PNG that holds its own caption; the
caption as text, for TensorBoard. Colours say how many times as much attention a patch gets as if all were given the
same; all maps of a figure share one scale, and how much goes to patches at all stands below each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display is needed, nor looked for

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch.nn import functional as F

from mobile_vla.core.batch import PairId
from mobile_vla.display.figures import FONTS

COLORS = "inferno"
OPACITY = 0.6
LEAST_RANGE = 2.0  # of the colours, so that an even map looks even
MAX_CAPTION = 90  # characters of an instruction that are drawn; the text beside the figure has all


@dataclass(frozen=True, kw_only=True)
class AttendedFrame:
    """A frame as the model sees it, and where the action token looks.

    map           shares of the patches, see `contexts.attention.AttentionMaps`
    text_shares, image_shares  see there
    """

    pair: PairId
    progress: float
    frame: UInt8[np.ndarray, "height width 3"]
    map: Float[np.ndarray, "rows columns"]
    text_shares: dict[str, float]
    image_shares: dict[str, float]

    @property
    def times_even(self) -> Float[np.ndarray, "rows columns"]:
        """What each patch gets of all that goes to patches: 1 where it is what an even spread would give it."""
        return self.map * (self.map.size / self.map.sum())


def film_strip(shown: Sequence[AttendedFrame]) -> Figure:
    """One column a frame of an episode: above the frame, below the map over it."""
    figure = Figure(figsize=(1.7 * len(shown) + 1.2, 4.4), layout="constrained")
    axes = figure.subplots(2, len(shown), squeeze=False)
    figure.suptitle(caption(shown[0].pair), fontsize=8, fontfamily=FONTS)
    for item, (above, below) in zip(shown, axes.T, strict=True):
        above.set_title(_when(item), fontsize=7)
        _draw(item, above, below, _highest(shown))
    _add_color_bar(figure, axes, shown)
    return figure


def frame_grid(shown: Sequence[AttendedFrame]) -> Figure:
    """One row a frame, of any episode: on the left the frame, on the right the map over it."""
    figure = Figure(figsize=(6, 2.5 * len(shown) + 0.4), layout="constrained")
    axes = figure.subplots(len(shown), 2, squeeze=False)
    for item, (left, right) in zip(shown, axes, strict=True):
        left.set_title(f"{caption(item.pair)}\n{_when(item)}", fontsize=7, loc="left", fontfamily=FONTS)
        _draw(item, left, right, _highest(shown))
    _add_color_bar(figure, axes, shown)
    return figure


def overlay(item: AttendedFrame) -> Float[np.ndarray, "height width"]:
    """`times_even` at the frame's size: bilinear between the centres of the patches."""
    maps = torch.from_numpy(np.ascontiguousarray(item.times_even, dtype=np.float32))[None, None]
    return F.interpolate(maps, item.frame.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()


def caption(pair: PairId) -> str:
    """The instruction, if the installed fonts have its letters; else the episode."""
    text = pair.instruction
    if not text.strip() or not _can_be_drawn(text):
        return pair.episode
    return text if len(text) <= MAX_CAPTION else f"{text[:MAX_CAPTION]}…"


def describe(shown: Sequence[AttendedFrame]) -> str:
    """What a figure shows, in full: instructions, frames, and where the attention goes that is on no patch."""
    lines = []
    for (episode, instruction, variant), items in groupby(shown, lambda item: item.pair[:1] + item.pair[2:]):
        lines.append(f"{episode}, {variant}: {instruction}")
        lines += [
            f"- {_when(item)}: {_list(item.text_shares)}; of the image {_list(item.image_shares)}" for item in items
        ]
    return "\n".join(lines)


def save_png(figure: Figure, file: Path, shown: Sequence[AttendedFrame]) -> None:
    """The figure, with `describe(shown)` in the file's metadata: it holds what no font could draw."""
    figure.savefig(file, dpi=110, metadata={"Description": describe(shown)})


def _draw(item: AttendedFrame, plain: Axes, covered: Axes, highest: float) -> None:
    """The frame, and the map over its grey version, so that colours mean attention alone; a box round its maximum."""
    height, width = item.frame.shape[:2]
    plain.imshow(item.frame)
    covered.imshow(item.frame.mean(2), cmap="gray", vmin=0, vmax=255)
    covered.imshow(overlay(item), cmap=COLORS, vmin=0, vmax=highest, alpha=OPACITY)
    rows, columns = item.map.shape
    row, column = np.unravel_index(item.map.argmax(), item.map.shape)
    corner = (column * width / columns - 0.5, row * height / rows - 0.5)  # pixels' centres are whole numbers
    box = Rectangle(corner, width / columns, height / rows, fill=False, edgecolor="white", linewidth=1)
    covered.add_patch(box)
    image, patches = item.text_shares["image"], item.image_shares["patches"]
    covered.set_xlabel(f"{image:.0%} to the image,\n{patches:.0%} of it to patches", fontsize=6)
    for axis in (plain, covered):
        axis.set_xticks([])
        axis.set_yticks([])


def _add_color_bar(figure: Figure, axes: np.ndarray, shown: Sequence[AttendedFrame]) -> None:
    bar = figure.colorbar(axes.flat[-1].images[-1], ax=axes, fraction=0.05, pad=0.01)
    bar.set_label(f"attention, times an even spread over {shown[0].map.size} patches", fontsize=7)
    bar.ax.tick_params(labelsize=7)


def _highest(shown: Sequence[AttendedFrame]) -> float:
    return max(LEAST_RANGE, *(float(item.times_even.max()) for item in shown))


def _when(item: AttendedFrame) -> str:
    return f"frame {item.pair.frame}, {item.progress:.0%}"


def _can_be_drawn(text: str) -> bool:
    """Each letter is in one of the fonts."""
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in FONTS]
    return all(any(font.get_char_index(ord(letter)) for font in fonts) for letter in text)


def _list(shares: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items())
