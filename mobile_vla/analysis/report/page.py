"""A study as one HTML page, images and all, that can be sent, printed and kept.

In: a `Study`, its figures, what the run took. Out: `report.html`; figures as PNG files under `figures/`.
"""

import base64
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mobile_vla.analysis.account import Account
from mobile_vla.analysis.figures.gallery import draw_study
from mobile_vla.analysis.figures.verdicts import list_claims
from mobile_vla.analysis.report.strip import draw_strip
from mobile_vla.analysis.report.words import (
    CLAIM_TITLES,
    MEASURE_TITLES,
    METHODS,
    QUESTIONS,
    SIGNS,
    headline,
    is_short_of_episodes,
    list_baselines,
    write_interval,
    write_needed,
    write_number,
    write_p,
)
from mobile_vla.analysis.study import Study
from mobile_vla.contexts.manifest import name_folders

TEMPLATE, PAGE, FIGURES = "page.html.j2", "report.html", "figures"
DPI = 110
MAX_PICTURE_BYTES = 400_000  # an attention map that is larger stays beside the store
MOST_LISTED = 12  # dimensions that are listed by number


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure on disk: alt and keys as drawn; pixels."""

    file: Path
    alt: str
    keys: Mapping[str, str]
    width: int
    height: int

    @property
    def source(self) -> str:
        """The image as the address of itself."""
        return f"data:image/png;base64,{base64.b64encode(self.file.read_bytes()).decode('ascii')}"


@dataclass(frozen=True, kw_only=True)
class Took:
    """What the run took, and who made it."""

    seconds: float
    peak_bytes: int
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    date: str


def save_figures(study: Study, out: Path) -> dict[str, Picture]:
    """Draw and write them one by one; by name, in the order of the page."""
    folder = out / FIGURES
    folder.mkdir(exist_ok=True)
    drawn = dict(draw_study(study))
    files = name_folders(name.replace("/", "-") for name in drawn)
    pictures = {}
    for name, one in drawn.items():
        file = folder / f"{files[name.replace('/', '-')]}.png"
        one.figure.savefig(file, dpi=DPI)
        width, height = _read_size(file)
        pictures[name] = Picture(file=file, alt=one.alt, keys=one.keys, width=width, height=height)
    return pictures


def write_page(study: Study, pictures: Mapping[str, Picture], took: Took, out: Path) -> Path:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names, labels and instructions are whatever the store holds
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "num": write_number,
        "ci": write_interval,
        "p": write_p,
        "strip": draw_strip,
        "headline": headline,
        "baselines": list_baselines,
        "needed": write_needed,
        "bytes": lambda value: f"{value / 1e9:.2f} GB",
        "some": _list_some,
        "path": lambda path: Path(os.path.relpath(path, out)).as_posix(),  # as it is found from where the page lies
        "power": lambda text: text.replace("R^2", "R²").replace("R2", "R²"),
    }
    environment.tests["short_of_episodes"] = is_short_of_episodes
    text = environment.get_template(TEMPLATE).render(
        study=study,
        accounts=study.titled,
        claims={name: list_claims(one.judgement) for name, one in study.titled.items()},
        attention={name: list(_embed_attention(one)) for name, one in study.titled.items()},
        pictures=pictures,
        took=took,
        questions=QUESTIONS,
        titles=CLAIM_TITLES,
        signs=SIGNS,
        measures=MEASURE_TITLES,
        methods=METHODS,
    )
    file = out / PAGE
    file.write_text(text, encoding="utf-8")
    return file


def _read_size(png: Path) -> tuple[int, int]:
    """As its header says: inches x DPI are rounded by whoever draws."""
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    return width, height


def _embed_attention(account: Account) -> list[tuple[str, str | None]]:
    """(name, address of itself), None for one that is too large."""
    found = []
    for file in account.subject.pictures:
        content = file.read_bytes() if file.stat().st_size <= MAX_PICTURE_BYTES else None
        source = None if content is None else f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
        found.append((str(file), source))
    return found


def _list_some(values: Any) -> str:
    """The first of many."""
    told = ", ".join(str(value) for value in list(values)[:MOST_LISTED])
    rest = len(values) - MOST_LISTED
    return f"{told} and {rest} more" if rest > 0 else told or "none"
