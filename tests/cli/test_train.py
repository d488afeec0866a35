"""`mobile-vla train` from the command line to the run's folder, on real files and real transformers classes."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mobile_vla.api.training import FOLDERS
from mobile_vla.cli.train import find_logdir
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli import small_training
from tests.cli.small_training import SMALL

WORDS = (*SMALL, "data.pack=false")


def run(*words: str) -> int | str | None:
    return small_training.run("train", *words)


@pytest.fixture(scope="module")
def episodes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "에피소드 (1), a=b"  # a folder as users have them
    write_episodes(SynthConfig(episodes=20, resolution=(27, 48), workers=1), folder)
    return folder


@pytest.fixture(scope="module")
def trained(episodes: Path, tmp_path_factory) -> Path:
    """A run of three epochs."""
    out = tmp_path_factory.mktemp("runs") / "three"
    assert run(*WORDS, f"data.root={episodes}", "trainer.max_epochs=3", f"out={out}") == 0
    return out


def weights(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["state_dict"]


def rows(run_folder: Path) -> list[dict[str, str]]:
    with (run_folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_run_folder_holds_what_is_promised(trained: Path):
    there = {path.name for path in trained.iterdir() if not path.name.startswith(("events.", ".lock"))}
    assert there == {
        "checkpoints", "config.yaml", "faults.json", "machine.json", "metrics.csv", "split.json", "train.json"
    }  # fmt: skip
    assert {path.name for path in (trained / "checkpoints").iterdir()} >= {"last.ckpt"}
    assert len(list((trained / "checkpoints").glob("epoch=*.ckpt"))) == 3  # save_top_k


def test_train_json_has_its_fields(trained: Path):
    found = json.loads((trained / "train.json").read_text())
    assert found["schema"] == 1
    assert set(found["baselines"]) == {"mean_action", "previous_action", "progress_only", "instruction_only"}
    assert found["denominators"]["episodes"] == 7  # a third of 20
    assert found["denominators"]["windows"] == 7 * 11
    assert found["parameters"]["total"] > found["parameters"]["trainable"] > 0
    checkpoint = Path(found["checkpoint"])
    assert checkpoint.stat().st_size == found["checkpoint_bytes"]
    for name in ("val_loss", "rmse", "image_effect", "windows_per_s", "data_wait_share", "seconds"):
        assert isinstance(found[name], float), name
    assert found["memory_bytes"] > 10**8
    for name in ("instruction_effect", "paraphrase_effect", "image_effect"):
        assert found[name] is not None or found["reasons"][name]


def test_the_reported_loss_is_that_of_the_best_checkpoint(trained: Path):
    found = json.loads((trained / "train.json").read_text())
    losses = [float(row["val_loss"]) for row in rows(trained) if row["val_loss"]]
    assert len(losses) == 3
    assert found["val_loss"] == pytest.approx(min(losses), rel=1e-5)
    # "loss=0.12345" in the file's name is the same number
    assert float(Path(found["checkpoint"]).stem.split("val_loss=")[1]) == pytest.approx(min(losses), abs=1e-5)


def test_tensorboard_has_scalars_hparams_figures_and_findings(trained: Path):
    board = EventAccumulator(str(trained), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    tags = board.Tags()
    assert {"val_loss", "val/rmse", "baseline/instruction_only", "effect/image", "train/loss"} <= set(tags["scalars"])
    assert len(board.Scalars("val_loss")) == 3
    assert "val_label/direction=left/loss" in tags["scalars"]
    assert {"chunks/predicted_and_true", "frames/arrows"} <= set(tags["images"])
    assert "findings/text_summary" in tags["tensors"]
    assert "_hparams_/session_start_info" in board.summary_metadata


def test_the_table_of_runs_says_the_same(trained: Path, tmp_path: Path):
    copy = tmp_path / "runs" / "killed_at_the_end"
    shutil.copytree(trained, copy)
    (copy / "train.json").unlink()
    assert small_training.run("runs", f"runs=[{trained},{copy}]", f"out={tmp_path / 'out'}") == 0
    told = {Path(row["folder"]).name: row for row in json.loads((tmp_path / "out" / "runs.json").read_text())["runs"]}
    found, ended, killed = json.loads((trained / "train.json").read_text()), told["three"], told[copy.name]
    for name in ("val_loss", "baselines", "best_baseline", "image_effect", "parameters", "epochs"):
        assert ended[name] == found[name]
    assert (ended["state"], ended["problems"]) == ("ended", [])
    assert (killed["state"], killed["problems"], killed["epochs"]) == ("interrupted", [], 3)
    assert killed["val_loss"] == [float(row["val_loss"]) for row in rows(trained) if row["val_loss"]][-1]
    assert killed["denominators"]["windows"] == found["denominators"]["windows"]


def test_tensorboard_is_to_be_opened_where_probes_are_too(tmp_path: Path):
    """`probe` puts them beside trainings by default; a folder of the user's own holds what the user puts there."""
    assert find_logdir(tmp_path / "runs" / "train" / "2026-01-31_09-00-00_demo") == tmp_path / "runs"
    assert find_logdir(tmp_path / "mine" / "first") == tmp_path / "mine"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_does_not(trained: Path, tmp_path: Path):
    config = f"config={trained / 'config.yaml'}"
    assert run(config, f"out={tmp_path / 'again'}") == 0
    assert run(config, "seed=1", "trainer.max_epochs=1", f"out={tmp_path / 'other'}") == 0
    once, again, other = (
        weights(folder / "checkpoints" / "last.ckpt") for folder in (trained, tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not all(torch.equal(once[name], other[name]) for name in once)
    # another training seed holds out the same episodes
    split = [json.loads((folder / "split.json").read_text())["splits"] for folder in (trained, tmp_path / "other")]
    assert split[0] == split[1]


@pytest.mark.slow
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(trained: Path, tmp_path: Path):
    config, out = f"config={trained / 'config.yaml'}", tmp_path / "resumed"
    assert run(config, "trainer.max_epochs=2", f"out={out}") == 0
    before = rows(out)
    assert run(f"run={out}", "trainer.max_epochs=3") == 0
    whole, resumed = (weights(folder / "checkpoints" / "last.ckpt") for folder in (trained, out))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [r["val_loss"] for r in rows(out)] == [r["val_loss"] for r in rows(trained)]
    assert rows(out)[: len(before)] == before


def test_bounds_layout_and_base_travel_with_the_checkpoint(trained: Path):
    known = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["mobile_vla"]
    assert known["actions"]["components"] == ["linear_x", "linear_y"]
    np.testing.assert_allclose(known["actions"]["high"], [1.15, 1.15], rtol=1e-6)
    assert known["layout"] == "robovlms"
    assert known["preprocessing"]["size"] == 32
    assert len(known["base_fingerprint"]) == 16


def test_config_yaml_is_resolved_with_absolute_paths(trained: Path, episodes: Path):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["data"]["root"] == str(episodes)
    assert all(Path(config[group][key]).is_absolute() for group, key in FOLDERS)
    assert "${" not in (trained / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.root={missing}"], "no such folder"),
        (["data.root={empty}"], "no file in .* matches"),
        (["data.root={broken}"], "all 1 files are broken"),
        (["data.components=[linear_x,linear_z]"], "unknown action component 'linear_z'"),
        (["data.components=[linear_x,angular_z]"], "'angular_z' has .near. zero range"),
        (["trainer.precision=16-mixed"], "16-mixed needs a GPU"),
        (["trainer=gpu"], "no CUDA device"),
        (["model.weights={empty}"], "holds no config.json"),
        (["model=tinny"], "did you mean 'tiny'"),
        (["trainer.max_epoch=2"], "did you mean 'trainer.max_epochs'"),
        (["model.lora=text"], "model/lora=text"),
        (["trainer.max_epochs=many"], "trainer.max_epochs"),
        (["data.ends=drop", "data.chunk=20"], "needs episodes of at least 27 frames"),
        (["data.split.validation=0.9", "data.split.test=0.1"], "leave room"),
        (["data.window=0"], "data.window must be at least 1"),
        (["trainer.devices=0"], "must be at least 1"),
        (["trainer.strategy=foo"], "trainer.strategy must be one of"),
        (["trainer.max_time=abc"], "days:hours:minutes:seconds"),
        (["trainer.limit_train_batches=2.5"], "share up to 1.0"),
        (["trainer.gradient_clip_val=-1"], "must be positive, or null"),
        (["callbacks.checkpoint.save_top_k=-2"], "at least -1"),
        (["model.prompt={foo} {instruction}"], "no other braces"),
        (["optimization.betas=[1.5,2]"], "lie in .0, 1"),
        (["model.architecture.text_config.attention_heads=3"], "no architecture of Kosmos-2"),
        (["data.split.by=[directoin]"], "did you mean 'direction'"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    words: list[str], message: str, episodes: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folders = {name: tmp_path / name for name in ("missing", "empty", "broken")}
    folders["empty"].mkdir()
    folders["broken"].mkdir()
    (folders["broken"] / "a.h5").write_text("no HDF5")
    given = [*WORDS, f"data.root={episodes}"]
    wanted = [word.format(**folders) if re.search("{(missing|empty|broken)}", word) else word for word in words]
    given = [word for word in given if word.split("=")[0] not in {w.split("=")[0] for w in wanted}]
    if any(word.startswith("model.weights") for word in wanted):
        given = [word for word in given if not word.startswith("model")] + ["model=kosmos2"]
    before = sorted(tmp_path.rglob("*"))
    assert run(*given, *wanted) == 2
    captured = capsys.readouterr()
    line = captured.err.strip().splitlines()[-1]
    assert "Traceback" not in captured.err
    assert re.search(message, line), line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_training_that_stops_within_an_epoch_is_validated_and_can_go_on(trained: Path, tmp_path: Path):
    config, out = f"config={trained / 'config.yaml'}", tmp_path / "stopped"
    assert run(config, "trainer.max_steps=5", f"out={out}") == 0
    found = json.loads((out / "train.json").read_text())
    assert found["steps"] == 5
    assert Path(found["checkpoint"]).name.startswith("epoch=000-val_loss=")
    last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 5
    assert last["position"]["epoch"] == 0
    assert last["position"]["batch"] > 0


def test_a_damaged_last_checkpoint_is_noticed(trained: Path, tmp_path: Path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    last, previous = (tmp_path / "run" / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt"))
    last.write_bytes(last.read_bytes()[:1000])
    assert run(f"run={tmp_path / 'run'}") == 0
    assert "checkpoints/last.ckpt is damaged" in capsys.readouterr().out
    for file in (last, previous):
        file.write_bytes(file.read_bytes()[:1000])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert run(f"run={tmp_path / 'run'}", "trainer.max_epochs=4") == 2
    assert "nothing left to continue from" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_refused_continuation_leaves_the_run_as_it_was(trained: Path, tmp_path: Path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for change in ("model.head.hidden=32", "data.window=6", "seed=5"):
        assert run(f"run={tmp_path / 'run'}", change, "trainer.max_epochs=4") == 2
        assert change.split("=")[0] in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_that_was_moved_keeps_its_best_checkpoint(trained: Path, tmp_path: Path):
    before = json.loads((trained / "train.json").read_text())
    moved = tmp_path / "moved"
    shutil.copytree(trained, moved)
    assert run(f"run={moved}") == 0  # nothing left to train
    after = json.loads((moved / "train.json").read_text())
    assert Path(after["checkpoint"]) == moved / "checkpoints" / Path(before["checkpoint"]).name
    assert after["val_loss"] == pytest.approx(before["val_loss"], rel=1e-6)


def test_several_folders_with_names_in_korean(episodes: Path, tmp_path: Path):
    other = tmp_path / "둘째 날"
    shutil.copytree(episodes, other)
    for file in sorted(other.glob("*.h5"))[2:]:
        file.unlink()
    assert run(*WORDS, f"data.root=[{other},{tmp_path / '없음'}]", "trainer.max_epochs=1") == 2
    plain = tmp_path / "첫날"
    shutil.copytree(episodes, plain)
    out = tmp_path / "run"
    assert run(*WORDS, f"data.root=[{plain},{other}]", "trainer.max_epochs=1", f"out={out}") == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["data"]["root"] == [str(plain), str(other)]
