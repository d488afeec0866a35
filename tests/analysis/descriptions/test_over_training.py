"""Epochs beside the loss: decoding that grows, a rank that collapses, and epochs without the tap."""

from pathlib import Path

import numpy as np
import pytest

from mobile_vla.analysis.descriptions.over_training import follow_epochs, read_losses
from mobile_vla.contexts.reader import Store
from tests.analysis.conftest import write_store
from tests.analysis.planted_store import Wanted, write_planted

METRICS = "epoch,step,val_loss,train/loss\n0,9,,0.9\n0,10,0.5,\n1,20,0.4,\n1,21,0.25,\n"


@pytest.fixture
def epochs(tmp_path: Path) -> dict[int, Store]:
    (tmp_path / "metrics.csv").write_text(METRICS)
    strengths = {0: 0.0, 1: 4.0}
    return {
        epoch: write_planted(tmp_path / f"e{epoch}", Wanted(label=label, action=label / 2, swap=False))
        for epoch, label in strengths.items()
    }


def test_what_the_loss_and_the_decoding_did(epochs, tmp_path):
    course = follow_epochs(epochs, tmp_path, "context", "scenario")
    assert course is not None
    first, last = course.points
    assert (first.epoch, first.val_loss, last.epoch, last.val_loss) == (0, 0.5, 1, 0.25)
    assert first.accuracy is not None
    assert last.accuracy is not None
    assert first.accuracy < 0.7 < 0.9 < last.accuracy
    assert last.accuracy_ci is not None
    assert last.accuracy_ci[0] < last.accuracy <= last.accuracy_ci[1] <= 1
    assert first.r2 is not None
    assert last.r2 is not None
    assert first.r2 < 0.2 < 0.4 < last.r2
    assert any("the validation loss went from 0.5 to 0.25" in sentence for sentence in course.sentences)
    assert "as the loss fell, the balanced accuracy of scenario improved" in course.sentences
    assert course.sentences[-1].endswith("no collapse to less than half")
    turned = follow_epochs({0: epochs[1], 1: epochs[0]}, tmp_path, "context", "scenario")
    assert turned is not None
    assert "as the loss fell, the balanced accuracy of scenario got worse" in turned.sentences
    same = follow_epochs({0: epochs[0], 1: epochs[0]}, tmp_path, "context", None)
    assert same is not None
    assert any("is not shown to change (its 90 % intervals overlap)" in sentence for sentence in same.sentences)


def test_a_collapse_is_called_so(tmp_path):
    rng = np.random.default_rng(0)
    clouds = {0: rng.standard_normal((40, 16)), 1: rng.standard_normal((40, 2)) @ rng.standard_normal((2, 16))}
    stores = {
        epoch: write_store(
            tmp_path / f"e{epoch}", {"context": cloud}, [f"e{i}" for i in range(40)], [0] * 40, [0.0] * 40
        )
        for epoch, cloud in clouds.items()
    }
    course = follow_epochs(stores, tmp_path, "context", None)
    assert course is not None
    assert course.sentences[-1].endswith("it collapsed")
    assert course.points[0].val_loss is None
    assert course.points[0].accuracy is None
    assert course.points[0].r2 is None


def test_one_epoch_with_the_tap_is_no_course(epochs, tmp_path):
    assert follow_epochs({0: epochs[0]}, tmp_path, "context", None) is None
    assert follow_epochs(epochs, tmp_path, "text_layer_12", None) is None


def test_losses_are_the_last_of_each_epoch(tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    assert read_losses(tmp_path / "metrics.csv") == {0: 0.5, 1: 0.25}
    assert read_losses(tmp_path / "none.csv") == {}
