"""`metrics.csv` grows, keeps what it has, and on resume loses only what will be logged again."""

import csv

import pytest

from mobile_vla.display.loggers import CsvMetrics
from mobile_vla.display.tensorboard import Board
from tests.training.comparing import read_scalars


def rows(file) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "metrics.csv"


def test_rows_are_appended(file):
    logger = CsvMetrics(file)
    logger.log_metrics({"loss": 0.5, "epoch": 0}, step=1)
    size = file.stat().st_size
    logger.log_metrics({"loss": 0.25, "epoch": 1}, step=2)
    assert file.stat().st_size > size
    assert rows(file) == [
        {"epoch": "0", "step": "1", "loss": "0.5"},
        {"epoch": "1", "step": "2", "loss": "0.25"},
    ]


def test_a_new_metric_adds_a_column_and_keeps_earlier_rows(file):
    logger = CsvMetrics(file)
    logger.log_metrics({"loss": 0.5, "epoch": 0}, step=1)
    logger.log_metrics({"val_loss": 0.75, "epoch": 0}, step=1)
    logger.log_metrics({"loss": 0.125, "epoch": 1}, step=2)
    assert rows(file) == [
        {"epoch": "0", "step": "1", "loss": "0.5", "val_loss": ""},
        {"epoch": "0", "step": "1", "loss": "", "val_loss": "0.75"},
        {"epoch": "1", "step": "2", "loss": "0.125", "val_loss": ""},
    ]


def test_another_process_continues_the_file(file):
    CsvMetrics(file).log_metrics({"b": 2.0, "a": 1.0, "epoch": 0}, step=1)
    again = CsvMetrics(file)
    again.log_metrics({"a": 3.0, "epoch": 0}, step=2)
    assert [row["a"] for row in rows(file)] == ["1.0", "3.0"]
    assert [row["b"] for row in rows(file)] == ["2.0", ""]


def test_resuming_drops_later_steps_only(file):
    logger = CsvMetrics(file)
    for step in range(6):
        logger.log_metrics({"loss": step / 2, "epoch": step // 3}, step=step)
    before = rows(file)
    again = CsvMetrics(file)
    again.resume_at(4)
    assert rows(file) == before[:4]
    again.log_metrics({"loss": 9.0, "epoch": 1}, step=4)
    assert rows(file)[:4] == before[:4]
    assert rows(file)[4]["loss"] == "9.0"


def test_a_row_that_a_killed_run_left_unfinished_does_not_stop_the_resume(file):
    logger = CsvMetrics(file)
    for step in range(3):
        logger.log_metrics({"loss": step / 2, "epoch": 0}, step=step)
    with file.open("a") as stream:
        stream.write("1")  # power off
    again = CsvMetrics(file)
    again.resume_at(3)
    assert [row["step"] for row in rows(file)] == ["0", "1", "2"]


def test_a_run_killed_before_its_first_checkpoint_begins_its_table_anew(file):
    CsvMetrics(file).log_metrics({"loss": 0.5, "epoch": 0}, step=0)
    again = CsvMetrics(file)
    again.resume_at(0)
    assert again.count_rows() == 0
    again.log_metrics({"loss": 0.25, "epoch": 0}, step=0)
    assert rows(file) == [{"epoch": "0", "step": "0", "loss": "0.25"}]


def test_columns_are_the_same_bytes_whether_resumed_or_not(file, tmp_path):
    """The dropped rows brought a column of their own, before the rows that bring it again."""
    logged = [({"loss": 0.5}, 0), ({"loss": 0.1234567}, 1), ({"val_loss": 0.75, "val/rmse": 1e-7}, 1), ({"loss": 2}, 2)]
    whole = CsvMetrics(tmp_path / "whole.csv")
    for metrics, step in logged:
        whole.log_metrics({**metrics, "epoch": 0}, step)
    for first, last in ((0, 3), (2, 4), (1, 4)):
        parted = CsvMetrics(file)
        parted.resume_at(first)
        for metrics, step in logged[first:last]:
            parted.log_metrics({**metrics, "epoch": 0}, step)
    assert file.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_what_a_clock_measured_is_left_out(file):
    logger = CsvMetrics(file)
    logger.log_metrics({"speed/windows_per_s": 100.0, "epoch": 0}, step=0)
    assert not file.exists()
    logger.log_metrics({"speed/windows_per_s": 100.0, "loss": 0.5, "epoch": 0}, step=0)
    assert rows(file) == [{"epoch": "0", "step": "0", "loss": "0.5"}]


def test_what_is_logged_only_because_training_stops_is_left_out(file, tmp_path):
    """Of every third step the loss is logged, and of the step that is the last; a run that goes on has no such row."""
    table, board = CsvMetrics(file, every_n_steps=3), Board(tmp_path / "board", every_n_steps=3)
    for logger in (table, board):
        for step in (2, 4, 5):
            logger.log_metrics({"train/loss": 0.5, "epoch": 0}, step=step)
        logger.log_metrics({"val_loss": 0.75, "epoch": 0}, step=4)
        logger.save()
    assert [(row["step"], row["train/loss"], row["val_loss"]) for row in rows(file)] == [
        ("2", "0.5", ""), ("5", "0.5", ""), ("4", "", "0.75")
    ]  # fmt: skip
    scalars = read_scalars(tmp_path / "board")
    assert scalars["train/loss"] == [(2, 0.5), (5, 0.5)]
    assert scalars["val_loss"] == [(4, 0.75)]


def test_a_resumed_board_takes_back_what_will_be_logged_again(tmp_path):
    """From the step on; and only once, also where the writer is closed and opened again for the findings."""
    first = Board(tmp_path)
    for step in range(4):
        first.log_metrics({"train/loss": step / 4}, step)
    first.finalize("failed")
    again = Board(tmp_path, resumed_at=2)
    for step in (2, 3, 4):
        again.log_metrics({"train/loss": step / 2}, step)
    again.finalize("success")
    again.log_findings({"effect/image": 3.0}, [], 5)
    again.finalize("success")
    assert read_scalars(tmp_path)["train/loss"] == [(0, 0.0), (1, 0.25), (2, 1.0), (3, 1.5), (4, 2.0)]
