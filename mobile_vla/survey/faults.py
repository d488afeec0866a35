"""The files that are left out, by what is wrong with them: numbers in a reason do not make another one of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mobile_vla.sources.schema import Fault

NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class FaultKind:
    """A reason as the first of its files has it, and the faults of that kind."""

    reason: str
    faults: tuple[Fault, ...]


def sort_faults(faults: Sequence[Fault]) -> list[FaultKind]:
    """Kinds, the commonest first."""
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(NUMBER.sub("0", fault.reason), []).append(fault)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    return [FaultKind(members[0].reason, tuple(members)) for members in ordered]
