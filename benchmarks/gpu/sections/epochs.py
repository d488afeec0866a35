"""A frozen backbone: the first epoch, which computes every context, against later ones, which read them.

As `cached_contexts` measures it: through the real cache and the real Trainer, by the default batch and a larger one.
"""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.cached_contexts import FROZEN, bound, compare_epochs, fill_own, time_epochs
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.findings import Note
from benchmarks.setting import prepare_training
from benchmarks.table import Line

BATCHES = (8, 64)  # windows a step


def run(bench: Bench) -> Iterator[Line | Note]:
    setting = bench.setting(*FROZEN)
    yield Line.number("operations of all contexts, in those of a later epoch", bound(setting), "times")
    features, filling = fill_own(setting)
    for size in BATCHES:
        words = (*bench.size.model, *FROZEN, f"data.batch_size={size}", "trainer.precision=bf16-mixed")
        training = prepare_training(bench.folder, words, bench.size.episodes)
        training.data.features = features
        epochs = time_epochs(replace(setting, training=training), bench.folder, bench.size.epochs)
        yield from compare_epochs(f"{size} windows a step", filling + epochs[0], epochs[1:])
