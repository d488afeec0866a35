"""The whole examination: everything that is measured, and what is found wrong with it.

In: a `Case`. Out: an `Examined`. `check_wiring` is the fast part, before a training: seconds of it on a full-size
model, a fraction of one on a tiny one.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np

from mobile_vla.core.batch import Batch
from mobile_vla.doctor.adapters import judge_adapters, judge_loaded, judge_parts
from mobile_vla.doctor.bounds import judge_bounds, judge_padding
from mobile_vla.doctor.case import Case
from mobile_vla.doctor.finding import Finding, Severity
from mobile_vla.doctor.gradients import find_gradients, judge_gradients, summarize
from mobile_vla.doctor.machine import judge_machine
from mobile_vla.doctor.numerics import HALF, judge_contexts, judge_overflow, judge_rounding, watch_layers
from mobile_vla.doctor.reading import judge_reading
from mobile_vla.doctor.real_weights import judge_real_weights
from mobile_vla.doctor.sample import Sample
from mobile_vla.doctor.sensitivity import (
    Sensitivity,
    SingleInputs,
    WholeInputs,
    move_single_inputs,
    move_whole_inputs,
    reaches,
)
from mobile_vla.doctor.sequence import SequenceMap, judge_sequence, map_sequence
from mobile_vla.doctor.windows import WindowMap, judge_windows, map_windows
from mobile_vla.doctor.wiring import judge_single, judge_whole
from mobile_vla.models.policy import Policy

SEVERITIES = get_args(Severity)
FEW = 2  # pairs, where a backward pass or a start of training must be cheap
Progress = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True, kw_only=True)
class Examined:
    """findings  errors first;  gradients  the largest of each trained part;  activations  the largest of each layer"""

    findings: tuple[Finding, ...]
    sequence: SequenceMap
    whole: WholeInputs
    single: SingleInputs
    windows: WindowMap
    gradients: dict[str, float]
    activations: dict[str, float]

    def to_plain(self) -> dict[str, Any]:
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "sensitivities": {
                "context_size": self.whole.size,
                **{name: asdict(moved) for name, moved in self.wholes().items()},
                **{name: [asdict(moved) for moved in singles] for name, singles in self.singles().items()},
                "window": [list(row) for row in self.windows.changes],
                "gradients": self.gradients,
                "activations": self.activations,
            },
            "map": self.sequence.to_plain(),
        }

    def wholes(self) -> dict[str, Sensitivity]:
        """Of whole inputs, by name."""
        names = ("instruction", "image", "action_token", "everything")
        return {name: getattr(self.whole, name) for name in names}

    def singles(self) -> dict[str, Sequence[Sensitivity]]:
        """Of each prompt token, image token and region, by name."""
        names = ("text_tokens", "image_tokens", "regions")
        return {name: getattr(self.single, name) for name in names}


def examine(case: Case, progress: Progress | None = None) -> Examined:
    """Measure and judge; the policy is as it was afterwards."""
    total = 7 if case.first_time else 6
    steps = iter(range(1, total + 1))

    def tell() -> None:
        if progress is not None:
            progress("examining", next(steps), total)

    policy, window = case.policy, case.config.data.window
    batch = None if case.recorded is None else case.recorded.batch
    sample = Sample.of(policy, batch, window)
    few = sample.first_pairs(FEW)
    layout = policy.backbone.layout.name
    findings = judge_parts(policy)
    if case.state is not None:
        findings += judge_loaded(policy, case.state)
    with watch_layers(policy) as activations:
        whole = move_whole_inputs(policy, sample)
    tell()
    sequence = map_sequence(policy, sample)
    single = move_single_inputs(policy, sample)
    tell()
    windows = map_windows(policy, window)
    on_adapters = judge_adapters(policy, case.config.model.lora, few.own, case.has_trained("lora"))
    tell()
    numeric = judge_contexts(whole.contexts)
    if not any(finding.name == "contexts_not_finite" for finding in numeric):
        dtype = policy.backbone.compute_dtype
        reached = reaches(policy, few) if dtype in HALF else None
        on_whole = judge_whole(whole, sequence, layout, case.has_trained("action_head"))
        findings += on_whole + judge_single(single, on_whole, sequence, reached)
        numeric += judge_rounding(whole.contexts, whole.other_words, dtype) if not on_whole else []
        numeric += judge_overflow(activations, dtype)
        findings += judge_sequence(sequence)
    findings += judge_windows(windows)
    tell()
    largest = find_gradients(policy, few.own)
    inactive = any(finding.name == "adapters_inactive" for finding in on_adapters)
    findings += on_adapters + judge_gradients(policy, largest, ("lora_",) if inactive else ())
    tell()
    findings += _judge_data(case, sample) + numeric
    tell()
    if case.first_time:
        findings += judge_real_weights(case.source) + judge_machine(case)
        tell()
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Examined(
        findings=tuple(findings),
        sequence=sequence,
        whole=whole,
        single=single,
        windows=windows,
        gradients=summarize(policy, largest),
        activations=activations,
    )


def check_wiring(policy: Policy, batch: Batch) -> list[Finding]:
    """The fast part: is there an input that changes exactly nothing? On two pairs, and without a backward pass."""
    window = batch.windows.shape[1]
    sample = Sample.of(policy, batch, window).first_pairs(FEW)
    whole = move_whole_inputs(policy, sample)
    sequence = map_sequence(policy, sample)
    found = judge_parts(policy) + judge_whole(whole, sequence, policy.backbone.layout.name, trained=False)
    return found + judge_sequence(sequence) + judge_windows(map_windows(policy, window))


def _judge_data(case: Case, sample: Sample) -> list[Finding]:
    """What needs episodes, or at least a frame."""
    frames = sample.frames
    raw: Sequence[np.ndarray] = ()
    findings: list[Finding] = []
    if case.recorded is not None and case.actions is not None:
        raw = case.recorded.raw
        episodes = case.recorded.episodes
        rows = [episode.components(case.actions.components)[episode.action_known] for episode in episodes]
        findings += judge_bounds(case.actions, np.concatenate(rows), case.policy.head.bounded)
        findings += judge_padding(case.recorded.batch, episodes)
    shown = frames[: len(raw)] if raw else frames[:FEW]
    asked_for = case.config.model.preprocessing is not None
    return findings + judge_reading(case.policy, case.source.weights_preprocessing, shown, raw, asked_for)
