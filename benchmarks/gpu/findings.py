"""What sections find, piece by piece, and how each of them ended.

A section hands over `Line`s (numbers) and `Note`s (words) as it finds them, so that what was found before it failed, or
before all was killed, is not lost. Every piece is one line of a json file.
"""

import json
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # its imports take a second, for which processes that measure nothing need not wait
    from benchmarks.table import Line

SCHEMA = 1
DONE = "done"


@dataclass(frozen=True, kw_only=True)
class Note:
    """What no number says: `what` it is about, and the text."""

    what: str
    text: str


@dataclass(kw_only=True)
class Findings:
    """Of one section. ended: `done`, `failed: …` or `skipped: …`, and None while it runs."""

    name: str
    pieces: list["Line | Note"] = field(default_factory=list)
    ended: str | None = None
    seconds: float = 0.0

    @property
    def lines(self) -> "list[Line]":
        return [piece for piece in self.pieces if not isinstance(piece, Note)]

    @property
    def notes(self) -> list[Note]:
        return [piece for piece in self.pieces if isinstance(piece, Note)]


def attempted(what: str, pieces: "Iterable[Line | Note]") -> "Iterator[Line | Note]":
    """The pieces of one variant; where it fails, a note says so, and the section goes on."""
    try:
        yield from pieces
    except Exception as error:
        traceback.print_exc()
        yield Note(what=what, text=f"failed: {describe_error(error)}")


def describe_error(error: BaseException) -> str:
    """In one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def append_piece(file: Path, section: str, piece: "Line | Note") -> None:
    _append(file, {"section": section, type(piece).__name__.lower(): asdict(piece)})


def append_end(file: Path, findings: Findings) -> None:
    _append(file, {"section": findings.name, "ended": findings.ended, "seconds": findings.seconds})


def _append(file: Path, content: dict[str, object]) -> None:
    with file.open("a") as lines:
        lines.write(f"{json.dumps({'schema': SCHEMA, **content})}\n")
