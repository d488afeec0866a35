"""What the callbacks count and log."""

import csv
import resource
import sys
import time

import lightning.pytorch as pl
import matplotlib.pyplot as plt
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.display.loggers import CsvMetrics
from mobile_vla.display.tensorboard import Board
from mobile_vla.training.callbacks.epoch_loss import NAME, EpochLoss
from mobile_vla.training.callbacks.figures import Figures
from mobile_vla.training.callbacks.memory import PeakMemory
from mobile_vla.training.callbacks.progress import ProgressBar
from mobile_vla.training.callbacks.reference import BaselineReference
from mobile_vla.training.callbacks.stopping import StopAfterSteps
from mobile_vla.training.callbacks.throughput import Throughput


def test_throughput_counts_windows_and_waiting(lab, tmp_path, monkeypatch):
    """A batch is made while a step is computed, so only each epoch's first is waited for; what is done between two
    steps is no waiting for data, and a validation does not count at all."""
    read_s, step_s, between_s = 0.05, 0.1, 0.05
    data = lab.make_data(batch_size=6)
    policy = lab.make_policy()
    module = lab.make_module(policy, data, max_epochs=2)
    make = BatchAssembler.__call__
    monkeypatch.setattr(BatchAssembler, "__call__", slow(make, read_s))
    monkeypatch.setattr(module, "training_step", slow(module.training_step, step_s))
    monkeypatch.setattr(module, "validation_step", slow(module.validation_step, 0.2))

    class Logger(pl.Callback):
        def on_train_batch_start(self, *_):
            time.sleep(between_s)

    throughput = Throughput()
    begun = time.perf_counter()
    lab.make_trainer(tmp_path, max_epochs=2, callbacks=[throughput, Logger()]).fit(module, data)
    took = time.perf_counter() - begun
    assert throughput.windows == 2 * data.plan("train").num_windows
    steps = 2 * data.plan("train").num_batches()
    assert 2 * read_s <= throughput.waiting_s < steps * read_s * 0.75
    assert throughput.seconds >= (step_s + between_s) * steps + 2 * read_s
    validated = 2 * len(list(data.plan("validation").batches(0))) * 0.2
    assert throughput.seconds < took - validated
    assert throughput.windows_per_s == pytest.approx(throughput.windows / throughput.seconds)
    assert throughput.data_wait_share == pytest.approx(throughput.waiting_s / throughput.seconds)


def slow(function, seconds):
    def run(*args, **kwargs):
        time.sleep(seconds)
        return function(*args, **kwargs)

    return run


def test_peak_memory_is_what_the_system_says_once_an_epoch(lab, tmp_path):
    """An epoch that was stopped has no point: the run that goes on will log it."""
    data = lab.make_data(batch_size=6)
    for stop, points in ((None, [4, 9]), (6, [4])):
        board, memory = Board(tmp_path / str(stop)), PeakMemory()
        callbacks = [memory] if stop is None else [memory, StopAfterSteps(stop)]
        trainer = lab.make_trainer(tmp_path, max_epochs=2, callbacks=callbacks, logger=board)
        trainer.fit(lab.make_module(lab.make_policy(), data, max_epochs=2), data)
        board.finalize("success")
        events = EventAccumulator(board.log_dir).Reload().Scalars("speed/memory_gb")
        assert [event.step for event in events] == points
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        assert memory.num_bytes == pytest.approx(peak, rel=0.05)
        assert events[0].value == pytest.approx(peak / 2**30, rel=0.05)


def test_throughput_before_training_is_nothing():
    assert Throughput().windows_per_s == 0
    assert Throughput().data_wait_share == 0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_epochs_loss_is_a_plain_mean_over_its_windows(lab, tmp_path, accumulate):
    """24 windows in batches of 7, 7, 7 and 3; logged once an epoch, at its last step, whoever else logs."""
    found = []

    class Listener(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            found.append((trainer.current_epoch, float(outputs["shown"]), batch.num_windows))

    data = lab.make_data(batch_size=7, accumulate=accumulate)
    table = CsvMetrics(tmp_path / "metrics.csv")
    trainer = lab.make_trainer(
        tmp_path,
        max_epochs=2,
        accumulate_grad_batches=accumulate,
        logger=[table],
        callbacks=[EpochLoss(), Listener()],
    )
    trainer.fit(lab.make_module(lab.make_policy(), data, 2), data)
    with table.file.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row[NAME]]
    steps = data.steps_per_epoch()
    assert [(int(row["epoch"]), int(row["step"])) for row in rows] == [(0, steps - 1), (1, 2 * steps - 1)]
    for epoch, row in enumerate(rows):
        windows = [loss for of, loss, count in found if of == epoch for _ in range(count)]
        assert len(windows) == data.plan("train").num_windows
        assert float(row[NAME]) == pytest.approx(sum(windows) / len(windows), rel=1e-6)
    assert len({count for _, _, count in found}) > 1


def test_baselines_stand_beside_every_validation_and_not_beside_the_sanity_check(lab, tmp_path):
    seen = []

    class Listener(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("baseline/")})

    data = lab.make_data(batch_size=24)
    reference = BaselineReference({"mean_action": 0.25, "instruction_only": 0.5})
    trainer = lab.make_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1, callbacks=[reference, Listener()])
    trainer.fit(lab.make_module(lab.make_policy(), data, 2), data)
    logged = {"baseline/mean_action": 0.25, "baseline/instruction_only": 0.5}
    assert seen == [{}, logged, logged]


def test_figures_come_every_n_epochs_and_at_the_end(lab, tmp_path, monkeypatch):
    data = lab.make_data(batch_size=24)  # two batches, so two steps, an epoch
    assembler = data.assembler(data.episodes("validation"))
    requests = [assembler.requests(planned)[0] for planned in data.plan("validation").batches(0)]
    board, drawn = Board(tmp_path), []
    monkeypatch.setattr(
        type(board.experiment), "add_figure", lambda self, tag, figure, step: drawn.append((tag, step, figure))
    )
    policy = lab.make_policy(lora={"dropout": 0.5})
    trainer = lab.make_trainer(tmp_path, max_epochs=4, logger=[board], callbacks=[Figures(assembler, requests, 2)])
    trainer.fit(lab.make_module(policy, data, 4), data)
    assert [step for tag, step, _ in drawn if tag == "chunks/predicted_and_true"] == [1, 5, 7]
    plt.close("all")


def test_the_progress_bar_shows_short_names(lab, tmp_path):
    data = lab.make_data(batch_size=24)
    bar, table = ProgressBar(), CsvMetrics(tmp_path / "metrics.csv")
    trainer = lab.make_trainer(tmp_path, logger=[table], callbacks=[bar, Throughput()], enable_progress_bar=True)
    module = lab.make_module(lab.make_policy(), data)
    trainer.fit(module, data)
    shown = bar.get_metrics(trainer, module)
    assert shown.keys() == {"loss", "val_loss", "windows/s", "waiting"}
    assert shown["val_loss"] == f"{float(trainer.callback_metrics['val_loss']):.4f}"
