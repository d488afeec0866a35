"""Two folders' values (`reading.py`), before and now: which differ by more than `quantities.py` allows.

In: the values of each. Out: a `Line` for each quantity: how many were compared, how far they are apart, and whether
that is allowed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from benchmarks.unchanged.quantities import QUANTITIES, Quantity, find_quantity

Outcome = Literal["ok", "BROKEN", "accepted"]
MISSING = object()


@dataclass(kw_only=True)
class Line:
    """largest  the largest absolute difference of floating-point numbers
    wrong     values that are not allowed to be as they are, each with what it was and is
    moved     whether any bit differs, also where that is allowed
    reshaped  whether a value is missing, new, or of another type or shape
    """

    quantity: Quantity
    count: int = 0
    largest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    moved: bool = False
    reshaped: bool = False
    outcome: Outcome = "ok"

    def add(self, place: str, before: Any, now: Any) -> None:
        self.count += 1
        if self.quantity.free and before is not MISSING and now is not MISSING:
            return
        if before is MISSING or now is MISSING or not _same_form(before, now):
            self.reshaped = True
            self._refuse(place, before, now)
            return
        one, other = np.asarray(before), np.asarray(now)
        if one.dtype.kind != "f":
            if one.tolist() != other.tolist():  # also where the objects of an array are lists
                self._refuse(place, before, now)
            return
        both_nan = np.isnan(one) & np.isnan(other)
        with np.errstate(invalid="ignore"):
            apart = np.where(both_nan | (one == other), 0.0, np.abs(one.astype(float) - other))
            too_far = ~(apart <= self.quantity.atol + self.quantity.rtol * np.abs(one))  # also where one is NaN
        self.moved |= bool(np.any(apart != 0))
        self.largest = max(self.largest, float(np.max(np.nan_to_num(apart, nan=np.inf), initial=0.0)))
        if np.any(too_far & ~both_nan):
            self._refuse(place, before, now, float(np.max(np.nan_to_num(apart, nan=np.inf))))

    def _refuse(self, place: str, before: Any, now: Any, apart: float | None = None) -> None:
        self.moved = True
        difference = "" if apart is None else f" (apart by {apart:.3g})"
        self.wrong.append(f"{place}: {_show(before)} -> {_show(now)}{difference}")


def compare(before: Mapping[str, Any], now: Mapping[str, Any], accepted: Collection[str] = ()) -> list[Line]:
    """One line for each quantity that occurs, in the table's order; `accepted` names those that may differ."""
    lines = {one.name: Line(quantity=one) for one in QUANTITIES}
    for place, one, other in _pair(before, now):
        lines[find_quantity(place, other if one is MISSING else one).name].add(place, one, other)
    for line in lines.values():
        follows = any(lines[name].moved for name in line.quantity.follows) and not line.reshaped
        if line.wrong and not follows:
            line.outcome = "accepted" if line.quantity.name in accepted else "BROKEN"
    return [line for line in lines.values() if line.count]


def _pair(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for place in before.keys() | now.keys():
        yield place, before.get(place, MISSING), now.get(place, MISSING)


def format_table(lines: Sequence[Line]) -> str:
    rows: list[tuple[str, ...]] = [("quantity", "compared", "largest difference", "allowed", "")]
    for line in lines:
        quantity = line.quantity
        bits = quantity.rtol == quantity.atol == 0
        allowed = "any" if quantity.free else "none" if bits else f"{quantity.rtol:g} of it + {quantity.atol:g}"
        largest = "" if quantity.free else f"{line.largest:.2g}" if line.largest else "0"
        rows.append((quantity.name, str(line.count), largest, allowed, line.outcome))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _same_form(before: Any, now: Any) -> bool:
    if type(before) is not type(now):
        return False
    return not isinstance(before, np.ndarray) or (before.shape, before.dtype) == (now.shape, now.dtype)


def _show(value: Any) -> str:
    if value is MISSING:
        return "nothing"
    if isinstance(value, np.ndarray) and value.size > 3:
        return f"{value.dtype} {value.shape}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
