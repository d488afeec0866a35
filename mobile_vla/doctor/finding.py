"""What was found wrong: in which words it is told, and how bad it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "passed"]  # cannot work as it is; works, but hardly as meant; as it should be


@dataclass(frozen=True, kw_only=True)
class Finding:
    """name  one of a fixed set, for programs;  what  was measured;  means  for training and use;  remedy  what to do"""

    name: str
    severity: Severity
    what: str
    means: str
    remedy: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """In one line, as an error is told."""
        return f"{self.what}: {self.means}; {self.remedy}"


def list_numbers(numbers: Sequence[int]) -> str:
    """Ascending numbers with runs made short: 0, 3-5, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
