"""What a probe found: its store in numbers, figures and TensorBoard, and how far its rows moved since an earlier one.

In: a probe that has run. Out: the fields of `probe.json`; figures and events in its folder.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobile_vla.analysis.descriptions.change import describe_before, tell_change
from mobile_vla.analysis.descriptions.description import Description, describe_tap
from mobile_vla.analysis.descriptions.description_figure import draw_descriptions, draw_map, save_figure
from mobile_vla.analysis.pairs.basis import explain_other_basis
from mobile_vla.analysis.pairs.drift import Drift, find_drift
from mobile_vla.contexts.reader import Store
from mobile_vla.core.file_names import make_file_name
from mobile_vla.display.attention_figure import film_strip, save_png
from mobile_vla.display.probe_board import ProbeBoard
from mobile_vla.probing.context_probe import STORE, ContextProbe, Probed
from mobile_vla.taps.points import list_described


def describe_probe(probe: ContextProbe, probed: Probed, before: Store | None, out: Path) -> dict[str, Any]:
    """before: an earlier probe of the same rows. Figures and events go into `out`, where the store is."""
    store, subject = probed.store, probe.subject
    taps = list_described(store.taps)
    described = {tap: describe_tap(store, tap) for tap in taps}
    save_figure(draw_descriptions(described), out / "spectra.png")
    label = next(iter(probe.config.plan.by), None)
    for number, tap in enumerate(taps):
        save_figure(draw_map(store, tap, label), out / f"map_{number}_{make_file_name(tap)}.png")
    drifts, earlier, words, missing = _find_changes(before, store, described)
    numbers = {tap: found.scalars() for tap, found in described.items()}
    for tap, drift in drifts.items():
        numbers[tap] |= drift.scalars()
    strips = {}
    for number, frames in enumerate(probe.attended()):
        strips[f"attention/{number}"] = strip = film_strip(frames)
        save_png(strip, out / f"attention_{number}.png", frames)
    board = ProbeBoard(store, probe.episodes, subject.data.dataset.frames, probe.config.plan.by)
    step = max((subject.run["step"] or 0) - 1, 0)  # where the training's own validation of these weights is
    notes = board.write(out, step, numbers, strips)
    notes += missing + probe.shortage
    if not subject.trained:
        notes.insert(0, "predicted chunks are not stored: the head was never trained, and its answers mean nothing")
    computed = min(probed.computed, len(store))
    return {
        **subject.run,
        "trained": subject.trained,
        "split": subject.split,
        "data": subject.data.config.places(),
        "contexts": str(out / STORE),
        "rows": len(store),
        "rows_computed": computed,
        "episodes": store.manifest.episodes,
        "parts": _count(store.column("part")),
        "variants": _count(store.column("variant")),
        "plan": probe.plan.to_plain(),
        "taps": store.manifest.to_json()["taps"],
        "fingerprints": store.manifest.info.fingerprints,
        "bytes": sum(file.stat().st_size for file in (out / STORE).rglob("*") if file.is_file()),
        "description": {tap: found.to_plain() for tap, found in described.items()},
        "before": None if before is None else str(before.folder),
        "before_description": {tap: found.to_plain() for tap, found in earlier.items()} or None,
        "drift": {tap: asdict(drift) for tap, drift in drifts.items()} or None,
        "change": words or None,
        "accelerator": subject.accelerator,
        "precision": subject.precision,
        "windows_per_s": probed.pace.windows_per_s if probed.pace.windows else None,
        "data_wait_share": probed.pace.data_wait_share if probed.pace.windows else None,
        "seconds": probed.seconds,
        "notes": notes,
    }


def _find_changes(
    before: Store | None, now: Store, described: Mapping[str, Description]
) -> tuple[dict[str, Drift], dict[str, Description], dict[str, list[str]], list[str]]:
    """By tap: how far the rows moved, what they looked like before, and both in words; and notes on what is missing."""

    drifts, earlier, words, notes = {}, {}, {}, []
    if before is None:
        return drifts, earlier, words, notes
    for tap in described:
        drift = explain_other_basis(before, now, tap) or find_drift(before, now, tap)
        if isinstance(drift, str):
            notes.append(f"no drift: {drift}")
            continue
        drifts[tap] = drift
        found = describe_before(before, now, tap)
        if isinstance(found, str):
            notes.append(f"{tap} is not described as it was before: {found}")
            continue
        earlier[tap], words[tap] = found, tell_change(found, described[tap], drift)
    return drifts, earlier, words, notes


def _count(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))
