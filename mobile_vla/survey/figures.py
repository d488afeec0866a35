"""The survey's figures. In: a `Survey`. Out: a figure each, by name, and what it shows in words.

Text that the figures' font may not have (Korean instructions) is drawn as a short key; `Keys` says what it stands for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mobile_vla.sources.schema import UNKNOWN
from mobile_vla.survey.survey import Survey
from mobile_vla.survey.trajectories import reckon_all

COLOURS = ("#1f6fb4", "#d1491b", "#2b8a3e", "#7b3fa0", "#b8860b", "#0f8b8d", "#a3195b", "#555555")  # legible on white
OTHER = "#9aa0a6"
MAX_SHOWN = 8  # colours there are; further values are drawn grey
MAX_BARS = 12
MAX_TEXT = 22
WIDTH = 10.6  # inches; the page is about this wide


@dataclass(frozen=True)
class Drawn:
    """A figure, what it is for a reader who cannot see it, and what its keys stand for."""

    figure: Figure
    alt: str
    keys: dict[str, str]


def shorten(texts: Sequence[str]) -> dict[str, str]:
    """text -> what is drawn for it: itself, where it is short and Latin; else a key (#1, #2, ...)."""
    return {
        text: text if text.isascii() and len(text) <= MAX_TEXT else f"#{number}"
        for number, text in enumerate(texts, start=1)
    }


def draw_all(survey: Survey) -> dict[str, Drawn]:
    """name -> figure, in the order of the page; those for which there is nothing to draw are left out."""
    return dict(_draw_each(survey))


def _draw_each(survey: Survey) -> Iterator[tuple[str, Drawn]]:
    if survey.counts.labels:
        yield "labels", _draw_labels(survey)
    yield "lengths", _draw_lengths(survey)
    if survey.actions.components:
        yield "actions", _draw_actions(survey)
        if (reckoned := reckon_all(survey.episodes)) is not None:
            yield "trajectories", _draw_trajectories(survey, *reckoned)
    if survey.course.components:
        yield "course", _draw_course(survey)


def _draw_labels(survey: Survey) -> Drawn:
    labels = survey.counts.labels
    columns = min(4, len(labels))
    rows = -(-len(labels) // columns)
    bars = [min(len(values), MAX_BARS) for values in labels.values()]
    tallest_of = [max(bars[row * columns : (row + 1) * columns]) for row in range(rows)]
    heights = [0.5 + 0.2 * tallest for tallest in tallest_of]
    figure, axes = _new(rows, columns, WIDTH, sum(heights), {"height_ratios": heights})
    keys: dict[str, str] = {}
    for index, (axis, (name, values)) in enumerate(zip(axes.flat, labels.items())):
        tallest = tallest_of[index // columns]
        shown = dict(list(values.items())[:MAX_BARS])
        more = f" (the first {MAX_BARS} of {len(values)})" if len(values) > MAX_BARS else ""
        short = shorten(list(shown))
        keys |= {f"{name} {key}": text for text, key in short.items() if key != text}
        colours = [OTHER if value == UNKNOWN else COLOURS[0] for value in shown]
        bar = axis.barh(range(len(shown)), list(shown.values()), color=colours, height=0.7)
        axis.bar_label(bar, padding=2, fontsize=7)
        axis.set_yticks(range(len(shown)), [short[value] for value in shown], fontsize=7.5)
        axis.set_ylim(tallest - 0.4, -0.6)  # bars of one row are equally thick
        axis.set_xlim(0, max(shown.values()) * 1.2)
        axis.set_xticks([])
        axis.set_title(name + more, fontsize=9, loc="left")
    for axis in list(axes.flat)[len(labels) :]:
        axis.set_axis_off()
    return Drawn(figure, f"Episodes by the values of {', '.join(labels)}.", keys)


def _draw_lengths(survey: Survey) -> Drawn:
    columns = 2 if len(survey.durations) else 1
    figure, axes = _new(1, columns, WIDTH if columns == 2 else WIDTH * 0.6, 2.5)
    lengths = [episode.num_frames for episode in survey.episodes]
    axis = axes.flat[0]
    axis.hist(lengths, bins=_whole_bins(min(lengths), max(lengths)), color=COLOURS[0], rwidth=0.9)
    axis.set_xlim(min(lengths) - 3, max(lengths) + 3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if min(lengths) <= survey.config.window <= max(lengths):
        axis.axvline(survey.config.window, color=COLOURS[1], lw=1.2, ls="--", label=f"window, {survey.config.window}")
        axis.legend(fontsize=7, frameon=False)
    axis.set(xlabel="frames an episode", ylabel="episodes")
    alt = f"Histogram of episode lengths, {min(lengths)} to {max(lengths)} frames."
    if len(survey.durations):
        low, high = np.quantile(survey.durations, [0.0, 0.99])
        margin = max(0.2 * high, 0.1 * (high - low))
        axes.flat[1].hist(survey.durations, bins=41, range=(max(low - margin, 0), high + margin), color=COLOURS[2])
        axes.flat[1].set(xlabel="seconds a step, as the files tell (without the longest 1 %)", ylabel="steps")
        alt += " Histogram of step durations."
    return Drawn(figure, alt, {})


def _draw_actions(survey: Survey) -> Drawn:
    components = survey.actions.components
    figure, axes = _new(1, len(components), WIDTH, 2.6)
    for axis, (name, part) in zip(axes.flat, components.items()):
        edges = np.asarray(part.histogram.edges)
        colour = COLOURS[0] if part.chosen else OTHER
        axis.bar(edges[:-1], part.histogram.counts, width=np.diff(edges), align="edge", color=colour)
        if name in survey.actions.bounds:
            for bound in survey.actions.bounds[name]:
                axis.axvline(bound, color=COLOURS[1], lw=1.2, ls="--")
        axis.set_yscale("log")
        axis.set_ylim(0.5)
        axis.set_title(name + ("" if part.chosen else " (not in data.components)"), fontsize=9, loc="left")
        axis.set_xlabel("velocity")
    axes.flat[0].set_ylabel("frames (log)")
    return Drawn(figure, "Histograms of the action components, with the bounds that training would take dashed.", {})


def _draw_trajectories(survey: Survey, unit: str, paths: Sequence[np.ndarray]) -> Drawn:
    label = survey.config.instruction_label
    values = [episode.label(label) for episode in survey.episodes]
    colours = _colours(survey.counts.labels.get(label, {UNKNOWN: len(values)}))
    short = shorten(list(colours))
    figure, axes = _new(1, 1, WIDTH * 0.62, 4.2)
    axis = axes.flat[0]
    alpha = float(np.clip(12 / len(paths), 0.08, 0.7))
    # The driver's quantised commands put many episodes on one line: a little offset shows how many.
    spread = 0.006 * max(float(np.abs(np.concatenate(paths)).max()), 1e-9)
    offsets = np.random.default_rng(0).normal(0, spread, (len(paths), 2))
    for path, value, offset in zip(paths, values, offsets, strict=True):
        axis.plot(-path[:, 1] + offset[0], path[:, 0] + offset[1], color=colours[value], alpha=alpha, lw=1)
        axis.plot(-path[-1, 1] + offset[0], path[-1, 0] + offset[1], ".", color=colours[value], alpha=0.6, ms=3)
    for value, colour in colours.items():
        axis.plot([], [], color=colour, label=f"{short[value]} ({values.count(value)})")
    axis.plot(0, 0, "k+", ms=9)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(xlabel=f"to the right [{unit}]", ylabel=f"forward [{unit}]")
    axis.legend(fontsize=7.5, frameon=False, title=label, title_fontsize=8)
    keys = {key: text for text, key in short.items() if key != text}
    return Drawn(figure, f"Paths by dead reckoning from one start, coloured by {label}, in {unit}.", keys)


def _draw_course(survey: Survey) -> Drawn:
    course = survey.course
    figure, axes = _new(1, len(course.components), WIDTH, 2.8)
    short = shorten(course.names)
    bins = course.mean.shape[1]
    progress = (np.arange(bins) + 0.5) / bins
    colours = _colours(dict.fromkeys(course.names, 1))
    for a, (axis, name) in enumerate(zip(axes.flat, course.components)):
        for m, meaning in enumerate(course.names[:MAX_SHOWN]):
            mean, std = course.mean[m, :, a], course.std[m, :, a]
            axis.plot(progress, mean, color=colours[meaning], lw=1.6, label=short[meaning])
            axis.fill_between(progress, mean - std, mean + std, color=colours[meaning], alpha=0.13, lw=0)
        axis.set_title(name, fontsize=9, loc="left")
        axis.set(xlabel="progress", xlim=(0, 1))
    axes.flat[0].set_ylabel("mean velocity")
    axes.flat[0].legend(fontsize=7.5, frameon=False)
    keys = {key: text for text, key in short.items() if key != text}
    alt = "Mean action and its standard deviation over progress, by what the instruction asks for"
    more = len(course.names) - MAX_SHOWN
    return Drawn(figure, alt + (f" (the first {MAX_SHOWN} of {len(course.names)})." if more > 0 else "."), keys)


def _colours(counts: dict[str, int] | object) -> dict[str, str]:
    """value -> colour; unknown is grey, and so is what comes after the last colour."""
    values = list(counts)  # type: ignore[call-overload]
    known = [value for value in values if value != UNKNOWN]
    return {value: COLOURS[known.index(value)] if value in known[:MAX_SHOWN] else OTHER for value in values}


def _whole_bins(low: int, high: int) -> np.ndarray:
    """Edges at half frames, at most 40 bins, all of the same width."""
    width = max(1, -(-(high - low + 1) // 40))
    return np.arange(low - 0.5, high + width + 0.5, width)


def _new(rows: int, columns: int, width: float, height: float, grid: dict | None = None) -> tuple[Figure, np.ndarray]:
    """A figure without a display, and its axes as (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid)
    for axis in axes.flat:
        _tidy(axis)
    return figure, axes


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7.5)
    axis.xaxis.label.set_size(8)
    axis.yaxis.label.set_size(8)
