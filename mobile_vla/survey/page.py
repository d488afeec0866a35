"""The survey as one HTML page: self-contained, images and all, so that it can be sent and kept.

In: a `Survey`, its notes, the episodes to show, a folder. Out: `stats.html` in that folder, and its figures as PNG
files under `figures/`, which the page embeds as well.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import mobile_vla
from mobile_vla.sources.schema import Episode
from mobile_vla.survey.balance import cross_table
from mobile_vla.survey.faults import sort_faults
from mobile_vla.survey.figures import draw_all
from mobile_vla.survey.notes import Note
from mobile_vla.survey.sketches import POINTS
from mobile_vla.survey.survey import Survey

TEMPLATE = "page.html.j2"
PAGE, FIGURES = "stats.html", "figures"
DPI = 110
THUMBNAIL_WIDTH = 150  # pixels on the page
MAX_ROWS = 40  # of a table on the page; stats.json holds all
MAX_FILES = 30  # of one reason for leaving files out
MAX_GROUPS, MAX_COPIES = 12, 3  # shown with their frames


def write_page(survey: Survey, notes: Sequence[Note], shown: Sequence[Episode], out: Path) -> Path:
    """Draw the figures, write them and the page; returns the page's path."""
    folder = out / FIGURES
    folder.mkdir(exist_ok=True)
    figures = {}
    for name, drawn in draw_all(survey).items():
        drawn.figure.savefig(folder / f"{name}.png", dpi=DPI)
        content = (folder / f"{name}.png").read_bytes()
        width, height = (round(side) for side in drawn.figure.get_size_inches() * DPI)
        figures[name] = {
            "source": embed(content, "png"),
            "alt": drawn.alt,
            "keys": drawn.keys,
            "width": width,
            "height": height,
        }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # file names, labels and instructions are whatever the files hold
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "share": _share, "size": format_bytes}
    text = environment.get_template(TEMPLATE).render(_context(survey, notes, shown, figures))
    file = out / PAGE
    file.write_text(text, encoding="utf-8")
    return file


def embed(content: bytes, kind: str) -> str:
    """An image as the address of itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def format_bytes(number: float) -> str:
    """Three digits, in the unit that they fit."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = 0
    while number >= 999.5 and power + 1 < len(units):
        number, power = number / 1000, power + 1
    return f"{number:.3g} {units[power]}"


def _context(
    survey: Survey, notes: Sequence[Note], shown: Sequence[Episode], figures: dict[str, Any]
) -> dict[str, Any]:
    label = survey.config.instruction_label
    known = {episode.id: episode for episode in survey.episodes}
    by_label = [episode.label(label) for episode in survey.episodes]
    sessions = cross_table([episode.label("session") for episode in survey.episodes], by_label)
    return {
        "version": mobile_vla.__version__,
        "survey": survey,
        "roots": survey.config.places(),
        "notes": notes,
        "figures": figures,
        "points": [f"{point:.0%}" for point in POINTS],
        "shown": [_row(survey, episode) for episode in shown],
        "groups": [
            (group, [_row(survey, known[id]) for id in group.episodes[:MAX_COPIES]])
            for group in survey.copies[:MAX_GROUPS]
        ],
        "faults": sort_faults(survey.faults),
        "max_rows": MAX_ROWS,
        "max_files": MAX_FILES,
        "label_values": sorted(set(by_label)),
        "sessions": sessions if len(sessions) > 1 else {},
    }


def _row(survey: Survey, episode: Episode) -> dict[str, Any]:
    """One episode of the contact sheet: thumbnails in the shape of its frames."""
    height, width = episode.resolution
    return {
        "episode": episode,
        "images": [embed(content, "jpeg") for content in survey.sketches[episode.id].thumbnails],
        "width": THUMBNAIL_WIDTH,
        "height": round(THUMBNAIL_WIDTH * height / width),
    }


def _number(value: float | None) -> str:
    """Four digits; all digits of what is large or whole."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
