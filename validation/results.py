"""What has been simulated so far: a file with one line of json a case, so that an interrupted validation continues.

In: a file, which may hold lines of an earlier run. Out: `Found` of each case and strength of each calibration. The
first line says what they were made with; lines made with other versions are refused.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy

import mobile_vla
from mobile_vla.core.errors import UserError

SCHEMA = 1
PACKAGE, SIMULATIONS = Path(mobile_vla.__file__).parent, Path(__file__).parent
JUDGING = (PACKAGE / "analysis", PACKAGE / "contexts", SIMULATIONS)  # what the rates depend on, but for
TELLING = ("__main__.py", "detectable.py", "rates.py", "report.py", "results.py", "unknown.py")  # of SIMULATIONS


@dataclass(frozen=True, kw_only=True)
class Found:
    """counts  event -> (times that it happened, stores);  seconds  of processor time for all stores"""

    stores: int
    counts: Mapping[str, tuple[int, int]]
    seconds: float

    def __add__(self, other: "Found") -> "Found":
        """Of other stores of the same case."""
        counts = dict(self.counts)
        for event, (count, total) in other.counts.items():
            before = counts.get(event, (0, 0))
            counts[event] = (before[0] + count, before[1] + total)
        return Found(stores=self.stores + other.stores, counts=counts, seconds=round(self.seconds + other.seconds, 2))


NOTHING = Found(stores=0, counts={}, seconds=0.0)


def describe_versions() -> dict[str, str]:
    return {
        "mobile_vla": mobile_vla.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def sum_sources() -> str:
    """Of the code that the rates depend on; equal when nothing in it changed."""
    files = sorted(file for folder in JUDGING for file in folder.rglob("*.py"))
    files = [file for file in files if file.parent != SIMULATIONS or file.name not in TELLING]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


class Results:
    """cases, strengths  by key, as far as they are known"""

    def __init__(self, file: Path, keep: bool):
        """keep: go on with what the file holds; else it is begun anew. `UserError` where it is of other code."""
        self.file = file
        self.cases: dict[str, Found] = {}
        self.strengths: dict[str, float] = {}
        head = {"schema": SCHEMA, "sources": sum_sources(), **describe_versions()}
        if keep and file.is_file():
            self._read(head)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(head) + "\n", encoding="utf-8")

    def add_case(self, key: str, found: Found) -> None:
        self.cases[key] = found
        self._append({"case": key, **asdict(found)})

    def add_strength(self, name: str, strength: float) -> None:
        self.strengths[name] = strength
        self._append({"calibration": name, "strength": strength})

    @property
    def seconds(self) -> float:
        return sum(found.seconds for found in self.cases.values())

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self, head: Mapping[str, Any]) -> None:
        lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
        there = json.loads(lines[0]) if lines else {}
        if there != head:
            raise UserError(
                f"{self.file}: simulated with {there}, expected {head}: rates of different code do not belong on one "
                "page; run it again without --continue"
            )
        whole = [line for line in lines[1:] if line.endswith("\n")]  # the last one may be cut off by a kill
        if len(whole) < len(lines) - 1:
            self.file.write_text("".join([lines[0], *whole]), encoding="utf-8")
        for line in map(json.loads, whole):
            if "calibration" in line:
                self.strengths[line["calibration"]] = line["strength"]
            else:
                counts = {event: (count[0], count[1]) for event, count in line["counts"].items()}
                self.cases[line["case"]] = Found(stores=line["stores"], counts=counts, seconds=line["seconds"])
