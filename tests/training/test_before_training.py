"""Contexts before the first step are those of `checkpoint=start`, stored once, and training is the same without."""

import pytest
import torch

from mobile_vla.core.errors import UserError
from mobile_vla.opening.stored_run import StoredRun
from mobile_vla.opening.subject import open_subject
from mobile_vla.probing.context_probe import ContextProbe, ProbeConfig
from tests.training.comparing import compare, read_scalars
from tests.training.run_training import make_config, train
from tests.training.test_ddp import train_in_two
from tests.training.test_probe_callback import ALL, TAPS, Fails, content, hooks_of, stores

PROBE = {**ALL, "taps": TAPS, "before_training": True}
NAME = "before_training"


@pytest.fixture(scope="module")
def begun(episode_files, tmp_path_factory):
    out = tmp_path_factory.mktemp("before") / "run"
    config = make_config(episode_files, probe=PROBE)
    train(out, config)
    return out, config


def test_it_holds_the_bits_of_a_probe_of_the_start(begun, tmp_path):
    out, config = begun
    assert sorted(stores(out)) == [NAME, "epoch_000", "epoch_001", "epoch_002"]
    store = stores(out)[NAME]
    assert (store.manifest.info.run["epoch"], store.manifest.info.run["step"]) == (0, 0)
    assert store.rows["predicted"].null_count == len(store) > 0
    subject = open_subject(StoredRun.open(out, config, "start"))
    wanted = ProbeConfig(taps=TAPS, plan=config.callbacks.probe.plan)
    probed = ContextProbe.prepare(wanted, subject, tmp_path).run(tmp_path).store
    assert content(store.folder) == content(probed.folder)
    assert store.manifest.info.fingerprints == probed.manifest.info.fingerprints
    assert store.manifest.info.configuration == probed.manifest.info.configuration


def test_drift_is_told_from_there(begun):
    out, _ = begun
    before, *epochs = (store.vectors("context")[:].astype(float) for store in stores(out).values())
    apart = sum(sum((row - before.mean(axis=0)) ** 2) ** 0.5 for row in before)
    scalars = read_scalars(out)["contexts/context/drift_distance"]
    steps = [step for step, _ in read_scalars(out)["val_loss"]]
    assert [step for step, _ in scalars] == [0, *steps]
    for (_, told), now in zip(scalars, (before, *epochs), strict=True):
        moved = sum(sum((a - b) ** 2) ** 0.5 for a, b in zip(now, before, strict=True))
        assert told == pytest.approx(moved / apart, rel=1e-5)
    assert scalars[1][1] > 0.01


def test_training_is_the_same_without(begun, whole):
    out, _ = begun
    names = ("state_dict", "optimizer_states", "lr_schedulers", "position", "loops", "callbacks")
    found, expected = (
        {name: torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[name] for name in names}
        for run in (out, whole)
    )
    assert compare(found, expected, "last.ckpt") == []
    assert (out / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_a_run_that_is_continued_within_its_first_epoch_keeps_it(begun, episode_files, tmp_path, capsys):
    out, fails = tmp_path / "run", Fails(epoch=0)
    with pytest.raises(UserError, match="the disk is full"):
        train(out, make_config(episode_files, probe=PROBE), fails)
    assert hooks_of(fails.policy) == 0
    table = out / "contexts" / NAME / "manifest.json"
    written = table.stat().st_mtime_ns
    assert "before training: " in capsys.readouterr().err
    train(out, make_config(episode_files, probe=PROBE))
    assert "before training: " not in capsys.readouterr().err
    assert table.stat().st_mtime_ns == written
    for name, store in stores(out).items():
        assert content(store.folder) == content(begun[0] / "contexts" / name)


@pytest.mark.slow
def test_two_processes_store_what_one_does(episode_files, tmp_path):
    config = make_config(episode_files, probe=PROBE, data={"batch_size": 4}, trainer={"max_epochs": 1})
    train(tmp_path / "one", config)
    two = {"devices": 2, "strategy": "ddp", "max_epochs": 1}
    ended = train_in_two(tmp_path / "two", episode_files, probe=PROBE, trainer=two)
    assert [end["why"] for end in ended] == ["finished"] * 2
    assert content(stores(tmp_path / "two")[NAME].folder) == content(stores(tmp_path / "one")[NAME].folder)
