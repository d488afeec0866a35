"""A training step on one window of 8 frames, against the upstream step and against the machine's own peak.

In: nothing. Out: windows a second of each variant and how many times as fast as upstream it is; floating-point
operations, bytes moved, and the share that the step reaches of what this machine does with large square matrices.

The model has 166 million parameters (text 6 x 1024, vision 6 x 512, 65,037 words) and the prompt 14 tokens. Upstream
runs as `upstream_step` says: float32, adapters on all linear layers. Variants of ours differ in what is adapted, in
precision, and in what comes out of the cache; all are run through Lightning's Trainer, upstream through a plain loop.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.peak import Product
from benchmarks.policy_step import FrozenPart, PolicyStep, as_upstream, take_windows, with_cached
from benchmarks.setting import MIDDLE, RESOLUTION, Setting, prepare_training
from benchmarks.table import Line
from benchmarks.timing import Spread, Timings, Variant, alternate
from benchmarks.upstream_step import UpstreamPolicy, UpstreamStep
from benchmarks.work import Work, count_work
from mobile_vla.sources.synthetic.writer import SynthConfig

ON_CPU = (*MIDDLE, "trainer=cpu")
EPISODES = SynthConfig(episodes=4, resolution=RESOLUTION, workers=1)
NUM_TOKENS = 14
STEPS = 3  # that are timed at a time, behind one that is not: what ran before has left memory and caches cold
ROUNDS = 20  # at most; the limit of seconds comes first
UPSTREAM = "upstream, float32"
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One variant of ours. asked: how many times as fast as upstream;  asked_share: of the matrix product's peak."""

    overrides: tuple[str, ...]
    precision: str
    cached: FrozenPart = "nothing"
    asked: float | None = None
    asked_share: float | None = None

    @property
    def product(self) -> str:
        """What its operations are held against."""
        return f"matrix product, {str(DTYPES[self.precision]).removeprefix('torch.')}"

    def setting(self, folder: Path, model: Sequence[str]) -> Setting:
        """model: overrides that say which."""
        overrides = [*model, *self.overrides, f"trainer.precision={self.precision}"]
        return Setting.of(prepare_training(folder, overrides, EPISODES))

    def step(self, setting: Setting, num_windows: int) -> PolicyStep:
        batch = take_windows(setting, num_windows, NUM_TOKENS)
        return PolicyStep(setting, [with_cached(setting.policy, batch, self.cached)], passes=STEPS)


TEXT, LAST = ("model/lora=text",), ("model/lora=text", "model.lora.layers=last:2")
CASES = {
    "LoRA all, float32": Case(overrides=(), precision="32-true", asked=1.2),
    "LoRA all, bf16": Case(overrides=(), precision="bf16-mixed", asked=1.9),
    "LoRA text, image tokens cached, float32": Case(
        overrides=TEXT, precision="32-true", cached="image_tokens", asked=2.5, asked_share=0.65
    ),
    "LoRA text, image tokens cached, bf16": Case(
        overrides=TEXT, precision="bf16-mixed", cached="image_tokens", asked=4.5
    ),
    "LoRA text on the last 2 layers, states cached, bf16": Case(
        overrides=LAST, precision="bf16-mixed", cached="states", asked=8.0
    ),
}


def run(limit_s: float, threads: int) -> list[Line]:
    return measure(ON_CPU, CASES, limit_s, threads)


def measure(model: Sequence[str], cases: Mapping[str, Case], limit_s: float, threads: int) -> list[Line]:
    """model: overrides that say which."""
    with tempfile.TemporaryDirectory() as folder:
        steps = {name: prepare(Path(folder), model, case) for name, case in cases.items()}
        upstream = prepare_upstream(next(iter(steps.values())).setting)
    products = {case.product: Product(DTYPES[case.precision]) for case in cases.values()}
    works = {name: count_work(step.compute_gradients) for name, step in {UPSTREAM: upstream, **steps}.items()}
    variants: dict[str, Variant] = {UPSTREAM: upstream, **steps, **products}
    timings = alternate(variants, rounds=ROUNDS, limit_s=limit_s, threads=threads)
    return [
        *compare_speed(timings, cases),
        *describe_work(works),
        *compare_with_peak(timings, cases, works, {name: product.operations for name, product in products.items()}),
    ]


def prepare(folder: Path, model: Sequence[str], case: Case) -> PolicyStep:
    """One window a step."""
    return case.step(case.setting(folder, model), num_windows=1)


def prepare_upstream(setting: Setting) -> UpstreamStep:
    """On the same window."""
    window = as_upstream(setting.policy, take_windows(setting, 1, NUM_TOKENS))
    return UpstreamStep(build_upstream(setting), window, steps=STEPS)


def build_upstream(setting: Setting) -> UpstreamPolicy:
    """Of the same sizes, with random weights, where torch puts new tensors."""
    source, config = setting.training.source, setting.training.config
    components = len(setting.training.actions.components)
    torch.manual_seed(config.model.weights_seed)
    return UpstreamPolicy(source.architecture, source.special_ids, config.model.head, config.data.chunk, components)


def compare_speed(timings: Timings, cases: Mapping[str, Case]) -> list[Line]:
    """Windows a second."""
    one = dict.fromkeys((UPSTREAM, *cases), 1.0)
    lines = [Line.rate(timings, UPSTREAM, None, one, "windows/s")]
    for name, case in cases.items():
        asked = None if case.asked is None else f">= {case.asked:g}"
        lines.append(Line.rate(timings, name, UPSTREAM, one, "windows/s", asked))
    return lines


def describe_work(works: Mapping[str, Work]) -> list[Line]:
    """Of a window's forward and backward pass."""
    lines = []
    for name, work in works.items():
        lines.append(Line.number(f"{name}: operations", work.operations / 1e9, "GFLOP"))
        lines.append(Line.number(f"{name}: read and written", work.bytes / 1e9, "GB"))
    return lines


def compare_with_peak(
    timings: Timings, cases: Mapping[str, Case], works: Mapping[str, Work], operations: Mapping[str, int]
) -> list[Line]:
    """The peak, and the share of it that each step reaches in the same round. operations: of one run of a product."""
    peaks = {name: timings.rates(name, count / 1e9) for name, count in operations.items()}
    lines = [
        Line(what=name, spread=Spread.of(rates), unit="GFLOP/s", rounds=timings.rounds) for name, rates in peaks.items()
    ]
    for name, case in cases.items():
        reached = timings.rates(name, works[name].operations / 1e9)
        shares = [100 * rate / peak for rate, peak in zip(reached, peaks[case.product], strict=True)]
        asked = None if case.asked_share is None else f">= {100 * case.asked_share:g}"
        what, unit = f"{name}: reached", f"% of {case.product}"
        lines.append(Line(what=what, spread=Spread.of(shares), unit=unit, rounds=timings.rounds, asked=asked))
    return lines
