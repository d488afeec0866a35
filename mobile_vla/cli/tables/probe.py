"""What a probe stored, as rows for people; beside an earlier probe each number as before -> now.

In: the fields of `probe.json`. Out: rows of two cells.
"""

import re
from collections.abc import Mapping
from typing import Any

from mobile_vla.cli.tables.findings import Row, rows_of_notes
from mobile_vla.core.plural import plural

BLOCK = re.compile(r"mask_tokens_[\d-]+")


def rows_of_probe(found: Mapping[str, Any]) -> list[Row]:
    parts = ", ".join(f"{count} {part}" for part, count in found["parts"].items())
    variants = ", ".join(_tell_variants(found["variants"]))
    there = found["rows"] - found["rows_computed"]
    rows = [
        (
            "rows",
            f"{found['rows']} of {plural(found['episodes'], 'episode')}"
            + (f", {there} stored before" if there else ""),
        ),
        ("parts of the run's split", parts or "none: nothing was trained"),
        ("variants", variants),
        ("on disk", f"{found['bytes'] / 1e6:.1f} MB"),
    ]
    for tap, told in found["description"].items():
        rows += _rows_of_tap(tap, told, (found["before_description"] or {}).get(tap))
    for tap, drift in (found["drift"] or {}).items():
        cosine = "" if drift["cosine"] is None else f", cosine {drift['cosine']:.2f}"
        rows.append((f"drift of {tap}", f"{drift['distance']:.2f} spreads{cosine}   over {drift['rows']} rows"))
    for tap, lines in (found["change"] or {}).items():
        rows += [(f"{tap} in words" if index == 0 else "", line) for index, line in enumerate(lines)]
    if found["windows_per_s"] is not None:
        speed = f"{found['windows_per_s']:.1f} windows/s, {found['data_wait_share']:.1%} of it waiting for data"
        rows.append(("speed", speed))
    return [*rows, *rows_of_notes(found["notes"])]


def _tell_variants(counts: Mapping[str, int]) -> list[str]:
    """How many rows of each; blocks of image tokens, of which there may be dozens, together."""
    blocks = [count for name, count in counts.items() if BLOCK.fullmatch(name)]
    told = [f"{count} {name}" for name, count in counts.items() if not BLOCK.fullmatch(name)]
    return [*told, f"{sum(blocks)} of {len(blocks)} mask_tokens"] if blocks else told


def _rows_of_tap(tap: str, now: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[Row]:
    """How many directions the vectors fill, and which dimensions do not work."""
    told = [now] if before is None else [before, now]
    rank = "no dimension varies"
    if all(one["raw"] is not None and one["z"] is not None for one in told):
        ranks, shares = (
            {kind: " -> ".join(format(one[kind][name], spec) for one in told) for kind in ("raw", "z")}
            for name, spec in (("effective_rank", ".1f"), ("top_share", ".0%"))
        )
        rank = (
            f"effective rank {ranks['raw']} of {now['dimensions']} (z-scored {ranks['z']}), first component "
            f"{shares['raw']} (z-scored {shares['z']})"
        )
    elif before is not None:
        rank = "no dimension varies in one of the two"
    counts = [f"{' -> '.join(str(len(one[name])) for one in told)} {name}" for name in ("dead", "constant", "massive")]
    lengths = " -> ".join(f"{one['norm']['mean']:.2f}" for one in told)
    return [
        (tap, f"{rank}   over {now['vectors']} vectors of {now['rows']} rows"),
        ("", f"dimensions: {', '.join(counts)}; length {lengths}"),
    ]
