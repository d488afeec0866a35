"""Reading windows: the lab's loader against packed frames, and a first epoch with packing against reading every file.

In: nothing. Out: windows a second of each, and how many times as many they are.

Episodes are files as the lab has them: 18 frames of 720x1280 with a camera's noise, gzip, 25 MB each. A window of the
lab's is read by opening the file and taking its 8 frames one by one; that it reads all 18 for one window, as its
loader does for the chunk behind it, is a line of its own. Ours are batches of 8 windows as training deals them, whole:
frames, prompts, chunks and masks, in one process.

The first epoch is held against the least that a loader of this kind can do in an epoch: every file opened once and
its frames read once, one by one. (One window an episode; with stride 1 an episode has 11, and the lab's loader would
read each of them anew.)
"""

import itertools
import shutil
import tempfile
from pathlib import Path

from benchmarks.lab_loader import load_frames
from benchmarks.setting import prepare_training
from benchmarks.table import Line
from benchmarks.timing import Stopwatch, Took, Variant, alternate
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import open_dataset
from mobile_vla.data.splits import Part
from mobile_vla.sources.schema import Episode
from mobile_vla.sources.synthetic.writer import SynthConfig
from mobile_vla.training.run import Training

OVERRIDES = ("model=kosmos2", "model.weights=random", "trainer=cpu")  # no weight is made: only its 224x224 matters
EPISODES = SynthConfig(episodes=6, noise=2.0, workers=1)
EPOCHS = 50  # of ours in a run: one takes some hundredths of a second
PARTS: tuple[Part, ...] = ("train", "validation")
ROUNDS = 20  # at most; the limit of seconds comes first
LAB, LAB_WHOLE, OURS = "lab's loader, 8 frames a window", "lab's loader, 18 frames a window", "packed frames"
LAB_EPOCH, FIRST_EPOCH = "every file read once, as the lab does", "first epoch, packing included"
ASKED, ASKED_FIRST = ">= 500", ">= 1"


def run(limit_s: float, threads: int) -> list[Line]:
    return measure(EPISODES, EPOCHS, limit_s, threads)


def measure(episodes: SynthConfig, epochs: int, limit_s: float, threads: int) -> list[Line]:
    """Two thirds of the time for windows, the rest for first epochs."""
    with tempfile.TemporaryDirectory() as folder:
        training = prepare_training(Path(folder), OVERRIDES, episodes)
        windows = _measure_windows(training, epochs, limit_s * 2 / 3, threads)
        return [*windows, *_measure_first_epoch(training, limit_s / 3, threads)]


def _measure_windows(training: Training, epochs: int, limit_s: float, threads: int) -> list[Line]:
    files = [(episode.path, start) for episode, start in _windows(training.data)]
    size, window = training.source.preprocessing.size, training.config.data.window
    turn = itertools.cycle(files)  # the lab's loader reads the same windows, another one in each round

    def read_window() -> None:
        file, start = next(turn)
        load_frames(file, start, start + window, size)

    def read_whole() -> None:
        file, _ = next(turn)
        load_frames(file, 0, EPISODES.frames, size)

    def read_packed() -> None:
        for _ in range(epochs):
            _read_epoch(training.data)

    variants: dict[str, Variant] = {LAB: read_window, LAB_WHOLE: read_whole, OURS: read_packed}
    timings = alternate(variants, rounds=ROUNDS, limit_s=limit_s, threads=threads)
    amounts = {LAB: 1.0, LAB_WHOLE: 1.0, OURS: float(epochs * len(files))}
    return [
        Line.rate(timings, LAB, None, amounts, "windows/s"),
        Line.rate(timings, LAB_WHOLE, LAB, amounts, "windows/s"),
        Line.rate(timings, OURS, LAB, amounts, "windows/s", ASKED),
        Line.rate(timings, OURS, LAB_WHOLE, amounts, "windows/s", ASKED),
    ]


def _measure_first_epoch(training: Training, limit_s: float, threads: int) -> list[Line]:
    """Ours begins with the folder of files (scan, examination, packing) and ends with the last batch of the epoch."""
    config, source = training.config.data, training.source
    files = [episode.path for part in PARTS for episode in training.data.episodes(part)]

    def read_files() -> None:
        for file in files:
            load_frames(file, 0, EPISODES.frames, source.preprocessing.size)

    def pack_and_read() -> Took:
        shutil.rmtree(config.pack_dir)
        watch = Stopwatch()
        dataset = open_dataset(config, source.preprocessing)
        _read_epoch(EpisodeDataModule(config, dataset, training.split, training.actions, training.data.tokenize))
        return watch.stop()

    variants: dict[str, Variant] = {LAB_EPOCH: read_files, FIRST_EPOCH: pack_and_read}
    timings = alternate(variants, rounds=ROUNDS, limit_s=limit_s, threads=threads)
    epochs = dict.fromkeys(variants, 1.0)
    first = Line.rate(timings, FIRST_EPOCH, LAB_EPOCH, epochs, "epochs/s", ASKED_FIRST)
    return [Line.rate(timings, LAB_EPOCH, None, epochs, "epochs/s"), first]


def _windows(data: EpisodeDataModule) -> list[tuple[Episode, int]]:
    """Every window of the epoch that `_read_epoch` reads: its episode, and the first of its frames."""
    return [
        (episode, start)
        for part in PARTS
        for episode in data.episodes(part)
        for start in data.config.starts(episode.num_frames)
    ]


def _read_epoch(data: EpisodeDataModule) -> None:
    for part in PARTS:
        assembler = data.assembler(data.episodes(part))
        for planned in data.plan(part).batches(epoch=0):
            assembler(assembler.requests(planned), planned.denominator)
