"""What is to be reached on a GPU, and what was: of the numbers that a section found, and of no others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.gpu.findings import DONE, Findings
from benchmarks.gpu.words import (
    CONTEXTS,
    DIFFERENCE,
    EAGER,
    ENTRIES,
    GRADIENTS,
    HZ,
    LORA_ALL,
    MFU,
    RATE,
    TAKEN,
    TRAINER,
)

if TYPE_CHECKING:
    from benchmarks.table import Line

NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """read  a line's number, or None where it is another line's"""

    what: str
    section: str
    read: Callable[["Line"], float | None]
    bound: float
    side: Literal["at least", "at most"]
    unit: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """measured, by: the best number and the line that has it; None where there is none."""

    goal: Goal
    measured: float | None
    by: str = ""
    why: str = ""

    @property
    def word(self) -> str:
        if self.measured is None:
            return f"{NOT_MEASURED}: {self.why}"
        good = self.measured >= self.goal.bound if self.goal.side == "at least" else self.measured <= self.goal.bound
        return "reached" if good else "missed"


def _median_of(unit: str, *parts: str) -> Callable[["Line"], float | None]:
    """Of a line in this unit whose name has these parts."""
    return lambda line: line.spread.median if line.unit == unit and all(part in line.what for part in parts) else None


def _ratio_of(unit: str, *parts: str) -> Callable[["Line"], float | None]:
    """To another line, of a line in this unit whose name has these parts."""
    median = _median_of(unit, *parts)
    return lambda line: None if median(line) is None or line.ratio is None else line.ratio.median


GOALS = (
    Goal(
        what="LoRA all, bf16: share of the device's measured bf16 peak (MFU), through the Trainer",
        section="training",
        read=_median_of(MFU, LORA_ALL, TRAINER),
        bound=45,
        side="at least",
        unit="%",
    ),
    Goal(
        what="LoRA all, bf16: windows a second, in those of upstream, through the Trainer",
        section="training",
        read=_ratio_of(RATE, LORA_ALL, TRAINER),
        bound=12,
        side="at least",
        unit="times",
    ),
    Goal(
        what="LoRA all, bf16: memory that batch 1 takes of the device",
        section="memory",
        read=_median_of("GB", LORA_ALL, TAKEN),
        bound=12,
        side="at most",
        unit="GB",
    ),
    Goal(
        what="a control step, eager: steps a second",
        section="control",
        read=_median_of(HZ, EAGER),
        bound=20,
        side="at least",
        unit="Hz",
    ),
    Goal(
        what="float32: contexts, difference from the CPU",
        section="equality",
        read=_median_of(DIFFERENCE, CONTEXTS),
        bound=1e-4,
        side="at most",
        unit="of their norm",
    ),
    Goal(
        what="float32: gradients, difference from the CPU",
        section="equality",
        read=_median_of(DIFFERENCE, GRADIENTS),
        bound=1e-3,
        side="at most",
        unit="of their norm",
    ),
    Goal(
        what="fp16, killed and resumed: entries of the last checkpoint that differ from the undisturbed run's",
        section="resumed",
        read=_median_of(ENTRIES),
        bound=0,
        side="at most",
        unit="entries",
    ),
)


def judge(goals: Sequence[Goal], found: Sequence[Findings], is_full: bool) -> list[Verdict]:
    """Only the full-size model on a GPU is judged."""
    by_name = {findings.name: findings for findings in found}
    return [_judge(goal, by_name.get(goal.section), is_full) for goal in goals]


def _judge(goal: Goal, findings: Findings | None, is_full: bool) -> Verdict:
    if not is_full:
        return Verdict(goal=goal, measured=None, why="not the full-size model on a GPU")
    if findings is None:
        return Verdict(goal=goal, measured=None, why="no GPU has run this yet")
    numbers = [(number, line.what) for line in findings.lines if (number := goal.read(line)) is not None]
    if not numbers:
        why = "no number was found" if findings.ended == DONE else findings.ended or "not begun"
        return Verdict(goal=goal, measured=None, why=why)
    best = (max if goal.side == "at least" else min)(numbers)
    return Verdict(goal=goal, measured=best[0], by=best[1])
