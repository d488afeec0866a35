"""Everything that is known of a checkpoint without a model: what it is, its parts, its faults, what it fits.

In: an opened file. Out: an `Inspection`. A fault is what keeps a file from being used as it is; a note is what its
user should know.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from mobile_vla.checkpoints.fitting import Fit, find_fit, find_own
from mobile_vla.checkpoints.formats import Format, recognise
from mobile_vla.checkpoints.opened import Opened
from mobile_vla.checkpoints.parts import TRAINED, Parts, take_apart
from mobile_vla.checkpoints.scanning import Scan, scan
from mobile_vla.models.backbones.model_config import ModelConfig

Scanned = Literal["trained", "all", "none"]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    opened: Opened
    format: Format
    parts: Parts
    fit: Fit | None
    scan: Scan
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def dtypes(self) -> dict[str, int]:
        """Number of tensors by dtype."""
        return dict(Counter(spec.dtype for spec in self.opened.weights.specs.values()).most_common())


def inspect_checkpoint(
    opened: Opened,
    candidates: Mapping[str, ModelConfig],
    scanned: Scanned = "trained",
    progress: Callable[[str, int, int], None] | None = None,
) -> Inspection:
    """candidates: models by name that the file may fit; its own configuration is tried first."""
    form = recognise(opened)
    own = find_own(opened)
    parts = take_apart(opened.weights, form.keys, own[0][1].anatomy if own else None)
    fit = find_fit(opened, parts, candidates)
    seen = scan(opened.weights, _choose(parts, scanned), progress)
    return Inspection(
        opened=opened,
        format=form,
        parts=parts,
        fit=fit,
        scan=seen,
        faults=tuple(_find_faults(form, parts, fit, seen)),
        notes=(*opened.notes, *_find_notes(form, parts, seen)),
    )


def _choose(parts: Parts, scanned: Scanned) -> list[str]:
    """Each distinct tensor once. Where there are no adapters, the backbone may be what was trained, but it is large."""
    wanted = {"trained": set(TRAINED), "all": set(parts.counts), "none": set()}[scanned]
    return [name for name in parts.first if parts.of[name] in wanted]


def _find_faults(form: Format, parts: Parts, fit: Fit | None, seen: Scan) -> list[str]:
    faults = []
    if seen.not_finite:
        name, number = next(iter(seen.not_finite.items()))
        faults.append(
            f"{len(seen.not_finite)} of {seen.tensors} scanned tensors hold NaN or infinity: {name} has {number}"
        )
    if parts.differ:
        one, other = parts.differ[0]
        faults.append(f"{len(parts.differ)} parameters are there twice with different values: {one} and {other}")
    missing = () if fit is None else fit.missing
    if form.name == "peft":  # its adapters may leave layers out, but no layer's half
        here = {own.partition(".lora_")[0] for own in parts.own.values() if own is not None}
        missing = tuple(name for name in missing if name.partition(".lora_")[0] in here)
    if missing:
        faults.append(f"{len(missing)} weights are missing of parts that are there: {missing[0]}")
    if fit is not None and fit.wrong_shape:
        name, (expected, got) = next(iter(fit.wrong_shape.items()))
        faults.append(f"{len(fit.wrong_shape)} weights have another shape: {name} is {got}, expected {expected}")
    return faults


def _find_notes(form: Format, parts: Parts, seen: Scan) -> list[str]:
    notes = []
    if form.convert is not None:
        notes.append(f"to read its weights: {form.convert}")
    if any(parts.of[name] == "action_token" for name in seen.zero):
        notes.append("the action token is zero: the head reads what the layers make of an empty input")
    halves = [name for name in seen.zero if ".lora_B." in name]
    if halves:
        notes.append(f"{len(halves)} adapters are as they began (lora_B is zero): they change nothing")
    return notes
