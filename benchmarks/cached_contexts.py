"""A frozen backbone: the first epoch, which computes every context, against the later ones, which read them.

In: nothing. Out: seconds of both, and how many times as fast the later ones are. The first is filling the cache for the
training episodes (each frame with its own instruction) and the epoch behind it. What a later epoch takes is the head's
own training, so the ratio grows with the backbone, and with the windows of a step: reading and writing 12.7 million
weights, their gradients and moments takes as long for one window as for all. It is measured on the 166 M model and on
the full-size one, both with random weights and the default head, by the default batch and with all windows in one step.

`heads`: two seeds over one cache, through the command line, as `--multirun model/lora=none seed=1,2` is typed.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import torch

from benchmarks.device import Device, find_device
from benchmarks.setting import RESOLUTION, NoCheckpoints, Setting, prepare_training
from benchmarks.steps import ON_CPU
from benchmarks.table import Line
from benchmarks.timing import Spread, Stopwatch
from benchmarks.work import count_work
from mobile_vla.data.features import FeatureFiles
from mobile_vla.data.requests import WindowRequest
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from mobile_vla.training.cache_plan import Wanted
from mobile_vla.training.feature_cache import fill
from mobile_vla.training.run import Training
from mobile_vla.training.trainer import build_trainer

FULL = ("model=kosmos2", "model.weights=random", "trainer=cpu")
FROZEN = ("model/lora=none",)
EPISODES = SynthConfig(episodes=4, resolution=RESOLUTION, workers=1)  # two are trained on: 36 frames, 22 windows
LATER = 10  # epochs
BATCHES = (8, 22)  # windows a step: the default, and all there are
ASKED = ">= 300"
SEEDS = (1, 2)
HEADS = (*ON_CPU, *FROZEN, "trainer.precision=bf16-mixed", "trainer.max_epochs=10", "trainer.enable_progress_bar=false")
HEAD_EPISODES = SynthConfig(episodes=16, resolution=RESOLUTION, workers=1)


def run(limit_s: float, threads: int) -> list[Line]:
    """As all benchmarks are called; this one has a fixed length, and torch's own number of threads."""
    lines = []
    for name, model in (("166 M", ON_CPU), ("full size", FULL)):
        for precision in ("bf16-mixed", "32-true"):
            lines += measure(f"{name}, {precision}", [*model, f"trainer.precision={precision}"])
    return lines


def run_heads(limit_s: float, threads: int) -> list[Line]:
    return measure_heads(HEADS, HEAD_EPISODES)


class EpochTimes(pl.Callback):
    """Seconds of each epoch, without what validation follows."""

    def __init__(self, device: Device):
        self.clocks, self.seconds = device.clocks, list[float]()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._watch = Stopwatch(self.clocks)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(self._watch.stop().wall)


def measure(name: str, model: Sequence[str]) -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        trainings = [
            prepare_training(Path(folder), [*model, *FROZEN, f"data.batch_size={size}"], EPISODES) for size in BATCHES
        ]
        training = trainings[0]
        setting = Setting.of(training)
        lines = [Line.number(f"{name}: operations of all contexts, in those of a later epoch", bound(setting), "times")]
        features, filling = fill_own(setting)
        for size, training in zip(BATCHES, trainings, strict=True):
            training.data.features = features
            epochs = time_epochs(replace(setting, training=training), Path(folder), LATER)
            lines += compare_epochs(f"{name}, {size} windows a step", filling + epochs[0], epochs[1:])
    return lines


def fill_own(setting: Setting) -> tuple[FeatureFiles | None, float]:
    """The cache of what is trained on, and the seconds that it took."""
    training = setting.training
    plan = replace(training.cache, wanted=own_texts(training))
    watch = Stopwatch(find_device(training.machine.accelerator).clocks)
    features = fill(plan, training.config.cache, setting.policy, training.dataset.frames)
    return features, watch.stop().wall


def bound(setting: Setting) -> float:
    """What the ratio of the epochs would be if an operation took as long in both, and nothing else took any time."""
    training, policy = setting.training, setting.policy
    episodes = training.data.episodes("train")
    batch = training.data.assembler(episodes)([WindowRequest(episode=0, start=0)])
    batch = batch.to(policy.backbone.action_token.device)
    with torch.no_grad():
        computed = count_work(lambda: policy.contexts(batch)).operations / len(batch.pair_frame)
        contexts = policy.contexts(batch)[batch.windows]
    trained = count_work(lambda: policy.head(contexts).sum().backward()).operations
    policy.zero_grad()
    frames = sum(episode.num_frames for episode in episodes)
    return frames * computed / (training.data.plan("train").num_windows * trained)


def time_epochs(setting: Setting, folder: Path, later: int) -> list[float]:
    """Seconds of the first, and of each later one."""
    training = setting.training
    times = EpochTimes(find_device(training.machine.accelerator))
    config = replace(training.config.trainer, max_epochs=1 + later, limit_val_batches=0)
    trainer = build_trainer(config, training.machine, folder, [times, NoCheckpoints()], [])
    trainer.fit(setting.module(), training.data)
    return times.seconds


def compare_epochs(name: str, first: float, later: Sequence[float]) -> list[Line]:
    ratio = Spread.of([first / seconds for seconds in later])
    return [
        Line.number(f"{name}: the first epoch", first, "s"),
        Line(what=f"{name}: a later one", spread=Spread.of(later), unit="s", rounds=len(later)),
        Line(what=f"{name}: the first, in later ones", spread=ratio, unit="times", rounds=len(later), asked=ASKED),
    ]


def measure_heads(overrides: Sequence[str], episodes: SynthConfig) -> list[Line]:
    """Whole trainings: baselines, validation and effects are part of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_episodes(episodes, folder / "episodes")
        places = [f"data.root={folder}/episodes", f"data.pack_dir={folder}/packed", f"cache.dir={folder}/features"]
        seeds = f"seed={','.join(map(str, SEEDS))}"
        command = [sys.executable, "-m", "mobile_vla", "train", "--multirun", *overrides, *places, seeds]
        watch = Stopwatch()
        subprocess.run([*command, f"out={folder}/runs"], check=True, stdout=subprocess.DEVNULL)
        whole = watch.stop().wall
        found = [json.loads(file.read_text()) for file in sorted((folder / "runs").glob("*/train.json"))]
    seconds = [run["seconds"] for run in found]
    return [
        *(Line.number(f"seed {seed} over one cache", each, "s") for seed, each in zip(SEEDS, seconds, strict=True)),
        Line.number("both, from the command to its end", whole, "s"),
    ]


def own_texts(training: Training) -> tuple[Wanted, ...]:
    """Of what is wanted, the training episodes with their own instruction, which is the first of each."""
    trained = {episode.id for episode in training.data.episodes("train")}
    return tuple(Wanted(one.episode, one.texts[:1]) for one in training.cache.wanted if one.episode.id in trained)
