"""Files that go bad while training runs: named in the run's table, with epoch and step, until they are too many."""

import pytest
import torch

from mobile_vla.core.errors import UserError
from mobile_vla.data.faults import append_faults, load_faults, save_faults
from mobile_vla.sources.schema import BrokenEpisode, Fault
from mobile_vla.training.callbacks.faults import FaultKeeper


@pytest.fixture
def fit(lab, tmp_path):
    """Trains on 5 episodes and validates on 3, with batches of one span; `bad`: episode -> reads until it breaks."""

    class Breaking(lab.RandomFrames):
        def __init__(self, bad):
            self.bad = dict(bad)

        def read(self, episode, low, high):
            if episode.id in self.bad:
                self.bad[episode.id] -= 1
                if self.bad[episode.id] < 0:
                    raise BrokenEpisode("is gone")
            return super().read(episode, low, high)

    def run(bad, max_share=1.0, max_epochs=2, **settings):
        data = lab.make_data(faults="skip", **settings)
        object.__setattr__(data.dataset, "frames", Breaking(bad))
        keeper = FaultKeeper(tmp_path / "faults.json", max_share, 8)
        module = lab.make_module(lab.make_policy(), data, max_epochs)
        lab.make_trainer(tmp_path, max_epochs=max_epochs, callbacks=[keeper]).fit(module, data)
        return module, data

    save_faults([], tmp_path / "faults.json")
    return run


def test_each_is_named_once_with_its_epoch_and_step(fit, tmp_path, capsys):
    module, data = fit({"e03": 0, "e01": 0})
    steps = data.plan("train").num_batches()
    stored = {fault.file: fault for fault in load_faults(tmp_path / "faults.json")}
    assert stored.keys() == {"e03", "e01"}
    first = next(i for i, b in enumerate(data.plan("train").batches(0)) if any(s.episode == 0 for s in b.spans))
    assert stored["e03"].found == f"epoch 1, step {first}"
    assert stored["e01"].found == f"epoch 1, step {steps}"  # one of validation
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert sorted(lines) == sorted(f"left out from here on ({f.found}): {f.file}: is gone" for f in stored.values())
    assert all(torch.isfinite(weight).all() for weight in module.policy.trained().values())


def test_more_than_the_share_stops_with_the_reasons(fit, tmp_path):
    """One was bad before training; the second of eight is one too many for a tenth."""
    save_faults([Fault("old.h5", "is empty (0 bytes)")], tmp_path / "faults.json")
    expected = r"2 of 8 files \(25%\) are broken, more than data\.max_fault_share=0\.1: old\.h5: .*; e03: is gone; mend"
    with pytest.raises(UserError, match=expected):
        fit({"e03": 0}, max_share=0.1)
    assert len(load_faults(tmp_path / "faults.json")) == 2


def test_as_many_as_allowed_do_not(fit, tmp_path):
    save_faults([Fault("old.h5", "is empty (0 bytes)")], tmp_path / "faults.json")
    fit({"e03": 0}, max_share=0.25)


def test_a_run_that_goes_on_does_not_tell_again(fit, tmp_path, capsys):
    append_faults([Fault("e03", "is gone")], tmp_path / "faults.json", "epoch 1, step 3")
    fit({"e03": 0})
    assert "left out" not in capsys.readouterr().err
    (stored,) = load_faults(tmp_path / "faults.json")
    assert stored.found == "epoch 1, step 3"


def test_a_line_that_another_rank_overwrote_is_written_again(fit, tmp_path, monkeypatch):
    lose = []

    def lost_once(faults, file, found):
        lose.append(faults)
        return append_faults(faults, file, found) if len(lose) > 1 else []

    monkeypatch.setattr("mobile_vla.training.callbacks.faults.append_faults", lost_once)
    fit({"e03": 0})
    assert [fault.file for fault in load_faults(tmp_path / "faults.json")] == ["e03"]


def test_batches_of_which_nothing_is_left_keep_the_weights_finite(fit):
    """One of five episodes can be read, so most batches are wholly masked: no step may turn anything into NaN."""
    module, _ = fit({f"e{i:02d}": 0 for i in range(4, 8)}, max_epochs=1, batch_size=2, span=2)
    assert all(torch.isfinite(weight).all() for weight in module.policy.trained().values())


def test_what_breaks_later_is_trained_on_until_then(fit, tmp_path):
    fit({"e03": 1})
    (stored,) = load_faults(tmp_path / "faults.json")
    assert stored.found.startswith("epoch ")
    assert not stored.found.endswith("step 0")
