"""What a benchmark found, as a table for people and as json.

In: `Line`s. Out: text, with the machine on top, since no number means anything without it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import Clock, Spread, Timings
from mobile_vla.core.durable import write_text
from mobile_vla.runs.provenance import provenance

SCHEMA = 1
HEADINGS = ("what", "median", "quartiles", "unit", "ratio", "its quartiles", "to", "rounds")
ASKED = "asked"  # a further column, where a line has one


@dataclass(frozen=True, kw_only=True)
class Line:
    """One number: `spread` in `unit`, over so many rounds, and how many times as much it is as the line `to`.

    asked  what the ratio, or without one the number itself, is to reach
    """

    what: str
    spread: Spread
    unit: str
    rounds: int
    ratio: Spread | None = None
    to: str | None = None
    asked: str | None = None

    @classmethod
    def of(cls, timings: Timings, name: str, to: str | None, clock: Clock) -> "Line":
        """What one variant took, beside another one."""
        return cls(
            what=name,
            spread=timings.spread(name, clock),
            unit=f"s {clock}",
            rounds=timings.rounds,
            ratio=None if to is None else timings.ratio(name, to, clock),
            to=to,
        )

    @classmethod
    def rate(
        cls,
        timings: Timings,
        name: str,
        to: str | None,
        amounts: Mapping[str, float],
        unit: str,
        asked: str | None = None,
        clock: Clock = "wall",
    ) -> "Line":
        """How many things a second one variant does; `amounts`: things in a run of each."""
        rates = timings.rates(name, amounts[name], clock)
        ratio = None
        if to is not None:
            ratio = Spread.of([a / b for a, b in zip(rates, timings.rates(to, amounts[to], clock), strict=True)])
        return cls(
            what=name, spread=Spread.of(rates), unit=unit, rounds=timings.rounds, ratio=ratio, to=to, asked=asked
        )

    @classmethod
    def number(cls, what: str, value: float, unit: str, asked: str | None = None) -> "Line":
        """What is counted and not timed."""
        return cls(what=what, spread=Spread.of([value]), unit=unit, rounds=1, asked=asked)

    def cells(self) -> tuple[str, ...]:
        ratio = ("", "", "") if self.ratio is None else (f"{self.ratio.median:.3f}", _range(self.ratio, ".3f"), self.to)
        spread = self.spread
        quartiles = _range(spread, ".4g") if self.rounds > 1 else ""
        return (self.what, f"{spread.median:.4g}", quartiles, self.unit, *map(str, ratio), str(self.rounds))


def format_table(lines: Sequence[Line]) -> str:
    """Aligned, and Markdown too."""
    rows: list[tuple[str, ...]] = [HEADINGS, *(line.cells() for line in lines)]
    if any(line.asked for line in lines):
        rows = [(*row, more) for row, more in zip(rows, [ASKED, *(line.asked or "" for line in lines)], strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    )


def describe_machine(threads: int) -> str:
    machine = provenance()
    versions = f"Python {machine['python']}, torch {machine['packages']['torch']}"
    gpus = f", {', '.join(machine['gpus'])}" if machine["gpus"] else ""
    return f"{machine['cpus']} cores{gpus}, torch computes with {threads} threads, {versions}, {machine['platform']}"


def save(found: Mapping[str, Sequence[Line]], threads: int, file: Path) -> None:
    """All that was printed: benchmark -> lines."""
    content: dict[str, Any] = {"schema": SCHEMA, **provenance(), "threads": threads}
    content["benchmarks"] = {name: [asdict(line) for line in lines] for name, lines in found.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(content, indent=1))


def _range(spread: Spread, form: str) -> str:
    return f"{spread.low:{form}} .. {spread.high:{form}}"
