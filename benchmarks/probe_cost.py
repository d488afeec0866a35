"""What storing contexts costs: of a validation while training runs, and of a probe by itself.

In: nothing. Out: lines for the demo's tiny model over 100 validation episodes of 18 frames, and for a middle-sized
Kosmos-2 over some. A validation is measured whole, from its first hook to its last: opening the store, capturing,
completing it, describing it and writing histograms are part of it; the Projector's files, which are written while
training goes on, are not, as far as they come after it.

Two further lines take the cost apart: what a store costs whatever is in it (one of two rows), and each further row.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.setting import MIDDLE, Setting
from benchmarks.table import Line
from benchmarks.timing import CLOCKS, Spread, Stopwatch, Timings, Took, Variant, alternate
from mobile_vla.data.requests import WindowRequest
from mobile_vla.probing.context_probe import ContextProbe, ProbeConfig
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.probing.sampling import make_plan
from mobile_vla.probing.subject import Subject
from mobile_vla.taps.places import starts_of
from mobile_vla.training.callbacks.probe import ProbeCallbackConfig

TINY = ("experiment=demo",)  # eight episodes a batch
EPISODE_A_BATCH = (
    *MIDDLE,
    "data.batch_size=11",  # an episode a batch
    "trainer.precision=bf16-mixed",  # the faster the model, the more its probe weighs
)
ROUNDS = 40  # at most; the limit of seconds comes first
OFF, FORWARD = "validation, nothing stored", "forward passes alone"
FEW, MOST = "two rows", "all rows"
PLANS = {
    FEW: PlanConfig(episodes=2, progress=(1.0,)),
    "as planned by default": PlanConfig(),
    MOST: PlanConfig(kind="all"),
}


def run_tiny(limit_s: float, threads: int) -> list[Line]:
    return _run(TINY, 100, PLANS, limit_s, threads)


def run_middle(limit_s: float, threads: int) -> list[Line]:
    return _run(EPISODE_A_BATCH, 8, {MOST: PLANS[MOST]}, limit_s, threads)


def _run(
    overrides: Sequence[str], episodes: int, plans: Mapping[str, PlanConfig], limit_s: float, threads: int
) -> list[Line]:
    """Two thirds of the time for validations, the rest for probes."""
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting.prepare(Path(folder), overrides, episodes)
        validations = _validate(setting, Path(folder), plans, limit_s * 2 / 3, threads)
        return [*validations, *_probe(setting, Path(folder), limit_s / 3, threads)]


def _validate(
    setting: Setting, folder: Path, plans: Mapping[str, PlanConfig], limit_s: float, threads: int
) -> list[Line]:
    """With several plans, also what the rows cost and what the store costs."""
    rows = {name: count_rows(setting, plan) for name, plan in plans.items()}
    names = {name: f"contexts stored: {name} ({count})" for name, count in rows.items()}
    variants: dict[str, Variant] = {OFF: in_new_folder(folder, lambda out: setting.validate(out, None))}
    for name, plan in plans.items():
        config = ProbeCallbackConfig(plan=plan)
        variants[names[name]] = in_new_folder(folder, lambda out, config=config: setting.validate(out, config))
    timings = alternate(variants, rounds=ROUNDS, limit_s=limit_s, threads=threads)
    lines = _compare(timings, OFF)
    if FEW in plans:
        fixed = timings.differences(names[FEW], OFF, "cpu")
        further = timings.differences(names[MOST], names[FEW], "cpu")
        each = [1e3 * seconds / (rows[MOST] - rows[FEW]) for seconds in further]
        for what, values, unit in (("whatever is stored", fixed, "s cpu"), ("each further row", each, "ms cpu")):
            lines.append(Line(what=f"of it, {what}", spread=Spread.of(values), unit=unit, rounds=timings.rounds))
    return lines


def _probe(setting: Setting, folder: Path, limit_s: float, threads: int) -> list[Line]:
    """`mobile-vla probe`, from opening the store to completing it, beside the forward passes that it consists of."""
    plan = PlanConfig()
    prepared = ContextProbe.prepare(ProbeConfig(plan=plan), make_subject(setting), folder)
    name = f"probe, {count_rows(setting, plan)} rows stored"
    variants: dict[str, Variant] = {
        FORWARD: lambda: run_alone(setting, plan),
        name: in_new_folder(folder, lambda out: time_probe(prepared, out)),
    }
    return _compare(alternate(variants, rounds=ROUNDS, limit_s=limit_s, threads=threads), FORWARD)


def make_subject(setting: Setting, device: str = "cpu") -> Subject:
    """Its policy, over the validation episodes."""
    training = setting.training
    return Subject(
        config=training.config,
        machine=training.machine,
        data=training.data,
        split="validation",
        parts=dict.fromkeys(training.split.parts["validation"], "validation"),
        device=torch.device(device),
        build=lambda device: setting.policy.to(device),
        trained=True,
        run={"folder": None, "checkpoint": None, "epoch": None, "step": None},
    )


def time_probe(prepared: ContextProbe, out: Path) -> Took:
    watch = Stopwatch()
    prepared.run(out)
    return watch.stop()


@torch.no_grad()
def run_alone(setting: Setting, config: PlanConfig) -> None:
    """The batches that a probe runs."""
    data, policy = setting.training.data, setting.policy
    device = policy.backbone.action_token.device
    episodes = data.episodes("validation")
    assembler = data.assembler(episodes)
    index = {episode.id: i for i, episode in enumerate(episodes)}
    windows = [
        WindowRequest(episode=index[id], start=start)
        for id, frames in make_plan(episodes, config).frames.items()
        for start in starts_of(frames, data.config.window)
    ]
    for first in range(0, len(windows), data.config.batch_size):
        policy(assembler(windows[first : first + data.config.batch_size]).to(device))


def _compare(timings: Timings, to: str) -> list[Line]:
    """Every variant beside the one named `to`, on both clocks."""
    return [Line.of(timings, name, None if name == to else to, clock) for clock in CLOCKS for name in timings.took]


def count_rows(setting: Setting, plan: PlanConfig) -> int:
    return make_plan(setting.training.data.episodes("validation"), plan).num_rows


def in_new_folder(parent: Path, work: Callable[[Path], Took]) -> Variant:
    """`work` times itself: the folder's making and removal are not its own."""

    def run() -> Took:
        out = Path(tempfile.mkdtemp(dir=parent))
        try:
            return work(out)
        finally:
            shutil.rmtree(out)

    return run
