"""`mobile-vla eval` on runs of seconds: the same numbers as training, on held-out episodes only, wherever they are."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure

from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli.small_training import SMALL, run

WORDS = (*SMALL, "callbacks.figures=null", "data.split.validation=0.2")


def read(folder: Path, name: str = "eval") -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def episodes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "에피소드 (1), a=b"
    write_episodes(SynthConfig(episodes=30, frames=12, resolution=(27, 48), workers=1), folder)
    return folder


@pytest.fixture(scope="module")
def runs(episodes: Path, tmp_path_factory) -> tuple[Path, Path]:
    """Two runs that differ in their seed; of the first, the last epoch is not the best."""
    folder = tmp_path_factory.mktemp("runs")
    words = (*WORDS, f"data.root={episodes}", f"data.pack_dir={folder / 'pack'}", "optimization.lr=3e-2")
    assert run("train", *words, "trainer.max_epochs=3", f"out={folder / 'a'}") == 0
    assert run("train", *words, "trainer.max_epochs=1", "seed=1", f"out={folder / 'b'}") == 0
    return folder / "a", folder / "b"


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than evaluating."""
    for name in ("chunk_figure", "frame_strip", "horizon_figure"):
        monkeypatch.setattr(f"mobile_vla.opening.assessment.{name}", lambda *_: Figure(figsize=(0.1, 0.1)))


@pytest.fixture(scope="module")
def own(runs, tmp_path_factory) -> dict:
    """The first run on its validation split."""
    out = tmp_path_factory.mktemp("own") / "eval"
    assert run("eval", f"run={runs[0]}", f"out={out}") == 0
    return read(out)


@pytest.fixture
def copy(runs, tmp_path: Path) -> Path:
    """The first run, in another place."""
    return Path(shutil.copytree(runs[0], tmp_path / "옮긴 run"))


@pytest.fixture
def refused(tmp_path: Path, capsys, monkeypatch):
    """Runs `eval`, which must fail as a user's mistake and write nothing; its one line."""
    monkeypatch.chdir(tmp_path)

    def ask(*words: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert run("eval", *words) == 2
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        assert sorted(tmp_path.rglob("*")) == before
        return captured.err.strip().splitlines()[-1]

    return ask


def parts(run_folder: Path) -> dict[str, list[dict]]:
    return json.loads((run_folder / "split.json").read_text())["splits"]


class TestOwnSplit:
    def test_validation_gives_what_training_reported(self, runs, own):
        """The same split, weights, interventions and code: equal, not merely near."""
        trained = read(runs[0], "train")
        assert own["loss"] == pytest.approx(trained["val_loss"], rel=1e-6)
        for name in ("baselines", "denominators", "by_label", "by_horizon", "parameters", "checkpoint"):
            assert own[name] == trained[name], name
        for name, effect in trained["effects"].items():
            assert own["effects"][name]["ratio"] == pytest.approx(effect["ratio"], rel=1e-6), name
            assert own["effects"][name]["ci"] == pytest.approx(effect["ci"], rel=1e-6), name
        assert own["instruction_effect"] is not None

    def test_every_field_is_there(self, own):
        assert own["schema"] == 1
        for name in ("loss", "rmse", "image_effect", "checkpoint_bytes", "windows_per_s", "seconds"):
            assert own[name] > 0, name
        assert 0 < own["data_wait_share"] < 1
        assert own["instruction_effect"] is not None or own["reasons"]["instruction_effect"]
        low, high = own["intervals"]["loss"]
        assert low < own["loss"] < high

    def test_the_test_part_is_the_runs_own(self, runs, tmp_path, capsys):
        assert run("eval", f"run={runs[0]}", "split=test", f"out={tmp_path / 'o'}") == 0
        found = read(tmp_path / "o")
        assert [row["episode"] for row in found["by_episode"]] == [row["episode"] for row in parts(runs[0])["test"]]
        losses, entries = (np.array([row[name] for row in found["by_episode"]]) for name in ("loss", "entries"))
        assert found["loss"] == pytest.approx((losses * entries).sum() / entries.sum())
        assert found["denominators"]["episodes"] == len(losses)
        printed = capsys.readouterr().out.splitlines()
        assert printed[0].startswith("test loss (Huber)")
        assert printed[-1] == str(tmp_path / "o")
        assert {file.name for file in (tmp_path / "o").glob("*.png")} == {
            "chunks.png", "frames.png", "error_by_horizon.png"
        }  # fmt: skip

    def test_an_empty_part_says_so(self, copy, refused):
        content = json.loads((copy / "split.json").read_text())
        content["splits"]["test"] = []
        (copy / "split.json").write_text(json.dumps(content))
        assert "held out no test episodes" in refused(f"run={copy}", "split=test")
        assert "expected one of validation, test" in refused(f"run={copy}", "split=train")

    def test_a_part_that_holds_a_copy_of_a_training_episode_is_not_held_out(self, copy, refused):
        content = json.loads((copy / "split.json").read_text())
        held = content["splits"]["validation"][1]
        content["splits"]["train"].append({**held, "episode": "copied"})
        (copy / "split.json").write_text(json.dumps(content))
        line = refused(f"run={copy}")
        assert line.startswith("mobile-vla: error: 1 of 6 episodes cannot be called held out")
        assert f"{held['file']} (trained on as copied)" in line

    @pytest.mark.usefixtures("no_figures")
    def test_a_run_folder_may_be_moved(self, copy, own, tmp_path):
        assert run("eval", f"run={copy}", f"out={tmp_path / 'o'}") == 0
        found = read(tmp_path / "o")
        assert found["loss"] == own["loss"]
        assert Path(found["checkpoint"]).parent == copy / "checkpoints"


@pytest.mark.usefixtures("no_figures")
class TestOtherFiles:
    @pytest.fixture
    def renamed(self, episodes, tmp_path) -> Path:
        """All files of the data under other names, in another order, in another folder."""
        folder = tmp_path / "moved"
        folder.mkdir()
        for index, file in enumerate(sorted(episodes.glob("*.h5"), reverse=True)):
            shutil.copy(file, folder / f"x{index:02d}.h5")
        return folder

    def test_trained_episodes_are_refused_with_the_list_whatever_they_are_called(self, runs, renamed, refused):
        line = refused(f"run={runs[0]}", f"data.root={renamed}")
        trained = parts(runs[0])["train"]
        assert f"{len(trained)} of 30 episodes cannot be called held out" in line
        assert sum(row["episode"] in line for row in trained) == 10  # named, of more

    def test_moved_data_gives_the_same_numbers(self, runs, renamed, own, tmp_path):
        words = (f"run={runs[0]}", f"data.root={renamed}", "split=validation", f"out={tmp_path / 'o'}")
        assert run("eval", *words) == 0
        found = read(tmp_path / "o")
        assert found["loss"] == pytest.approx(own["loss"], rel=1e-6)
        assert found["baselines"] == own["baselines"]
        assert {row["file"] for row in found["by_episode"]} <= {str(file) for file in renamed.iterdir()}

    def test_moved_data_that_is_not_all_there_is_refused_with_the_list(self, runs, renamed, episodes, refused):
        row = parts(runs[0])["validation"][0]
        wanted = Path(row["file"]).read_bytes()
        gone = next(file for file in renamed.iterdir() if file.read_bytes() == wanted)
        gone.unlink()
        line = refused(f"run={runs[0]}", f"data.root={renamed}", "split=validation")
        assert "1 of the 6 episodes of the run's validation split are not in data.root any more" in line
        assert row["episode"] in line

    @pytest.fixture
    def other(self, tmp_path) -> Path:
        """New episodes in which the robot never moves sideways."""
        folder = tmp_path / "other"
        write_episodes(SynthConfig(episodes=6, frames=12, seed=9, resolution=(27, 48), workers=1), folder)
        for path in folder.glob("*.h5"):
            with h5py.File(path, "r+") as file:
                file["actions"][:, 1] = 0
        return folder

    def test_other_data_is_judged_by_the_runs_bounds_and_baselines(self, runs, other, tmp_path):
        """Their own bounds would be none: the lateral velocity has no range here."""
        assert run("eval", f"run={runs[0]}", f"data.root={other}", f"out={tmp_path / 'o'}") == 0
        found = read(tmp_path / "o")
        assert (found["split"], found["denominators"]["episodes"]) == (None, 6)
        trained = [h5py.File(row["file"])["actions"][:, :2] for row in parts(runs[0])["train"]]
        low, high = np.concatenate(trained).min(axis=0), np.concatenate(trained).max(axis=0)
        total, count = 0.0, 0
        mean = np.mean(np.concatenate([chunks(actions)[mask(len(actions))] for actions in trained]), axis=0)
        for path in other.glob("*.h5"):
            actions = h5py.File(path)["actions"][:, :2]
            for start in range(len(actions) - 7):  # windows of 8 frames, chunks of 10 actions
                for frame in range(start, start + 8):
                    error = np.abs((actions[frame : frame + 10] - mean) / (high - low) * 2)
                    total += np.where(error < 1, error**2 / 2, error - 0.5).sum()
                    count += error.size
        assert found["baselines"]["mean_action"] == pytest.approx(total / count, rel=1e-4)

    def test_without_the_training_episodes_there_is_no_baseline_and_a_reason(self, copy, other, own, tmp_path, refused):
        config = yaml.safe_load((copy / "config.yaml").read_text())
        config["data"]["root"] = str(tmp_path / "gone")
        (copy / "config.yaml").write_text(yaml.safe_dump(config))
        assert "where they were moved to, give data.root=<folder> split=validation" in refused(f"run={copy}")
        assert run("eval", f"run={copy}", f"data.root={other}", f"out={tmp_path / 'o'}") == 0
        found = read(tmp_path / "o")
        assert (found["baselines"], found["best_baseline"]) == ({}, None)
        assert "no such folder" in found["reasons"]["baselines"]
        assert any(line.startswith("This loss has no baseline to compare it with") for line in found["warnings"])
        assert found["loss"] > 0


def mask(length: int) -> np.ndarray:
    return np.arange(length)[:, None] + np.arange(10) < length


def chunks(actions: np.ndarray) -> np.ndarray:
    """(N, 10, A), what lies beyond the end repeated."""
    return actions[np.minimum(np.arange(len(actions))[:, None] + np.arange(10), len(actions) - 1)]


@pytest.mark.usefixtures("no_figures")
class TestCheckpoints:
    def test_best_and_last_are_different_weights(self, runs, own, tmp_path):
        assert run("eval", f"run={runs[0]}", "checkpoint=last", f"out={tmp_path / 'o'}") == 0
        found = read(tmp_path / "o")
        assert Path(found["checkpoint"]).name == "last.ckpt"
        assert Path(own["checkpoint"]).name != "last.ckpt"
        states = [torch.load(f["checkpoint"], weights_only=True)["state_dict"] for f in (found, own)]
        same = all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert same == (found["loss"] == own["loss"])

    def test_a_damaged_one_is_named(self, copy, own, refused):
        file = copy / "checkpoints" / Path(own["checkpoint"]).name
        file.write_bytes(file.read_bytes()[:2000])
        assert f"{file} is damaged" in refused(f"run={copy}")

    def test_a_head_that_was_never_trained_has_no_loss(self, runs, refused):
        assert "the head predicts at random, so its loss is meaningless" in refused(
            f"run={runs[0]}", "checkpoint=start"
        )

    @pytest.mark.parametrize("change", ["model.lora.alpha=99", "data.bounds.linear_x=[-3,3]", "data.chunk=5"])
    def test_another_model_than_the_one_that_was_trained_is_refused(self, runs, refused, change):
        """A LoRA's alpha scales what it adds: the weights fit as well, and mean something else."""
        line = refused(f"run={runs[0]}", change)
        assert f"the checkpoint is of another model: {change.split('=')[0]} (" in line

    def test_another_machine_takes_what_there_is_unless_it_was_asked_for(self, copy, own, tmp_path, refused, capsys):
        if torch.cuda.is_available():
            pytest.skip("this machine has what the run asks for")
        config = yaml.safe_load((copy / "config.yaml").read_text())
        config["trainer"] |= {"accelerator": "gpu", "precision": "16-mixed", "devices": [2, 3]}
        (copy / "config.yaml").write_text(yaml.safe_dump(config))
        assert run("eval", f"run={copy}", f"out={tmp_path / 'o'}") == 0
        assert "trained with accelerator gpu in 16-mixed, which is not there here: on cpu in 32-true" in (
            capsys.readouterr().out
        )
        assert read(tmp_path / "o")["loss"] == own["loss"]
        assert "no CUDA device is visible" in refused(f"run={copy}", "trainer.accelerator=gpu")


@pytest.mark.usefixtures("no_figures")
class TestSeveralRuns:
    def test_the_summary_is_that_of_the_runs_alone(self, runs, own, tmp_path, capsys):
        assert run("eval", f"run={runs[1]}", f"out={tmp_path / 'b'}") == 0
        capsys.readouterr()
        assert run("eval", f"run=[{runs[0]},{runs[1]}]", f"out={tmp_path / 'o'}") == 0
        alone, found = [own, read(tmp_path / "b")], read(tmp_path / "o")
        losses = [one["loss"] for one in alone]
        assert losses[0] != losses[1]
        assert [one["loss"] for one in found["runs"]] == losses
        assert found["loss"] == pytest.approx(np.mean(losses))
        assert found["spread"]["loss"]["std"] == pytest.approx(np.std(losses, ddof=1))
        assert found["denominators"]["runs"] == 2
        assert found["denominators"]["windows"] == own["denominators"]["windows"]
        assert all((tmp_path / "o" / name / "chunks.png").is_file() for name in ("a", "b"))
        assert found["warnings"] == [
            "The runs differ in more than their seed (trainer.max_epochs): the spread includes both."
        ]
        assert "sd" in capsys.readouterr().out

    def test_what_a_spread_mixes_is_told(self, runs, copy, tmp_path):
        content = json.loads((copy / "split.json").read_text())
        moved = content["splits"]["validation"].pop()
        content["splits"]["train"].append(moved)
        (copy / "split.json").write_text(json.dumps(content))
        assert run("eval", f"run=[{runs[0]},{copy}]", f"out={tmp_path / 'o'}") == 0
        found = read(tmp_path / "o")
        notes = " ".join(found["warnings"])
        assert "judged on different episodes" in notes
        assert "trained on different episodes" in notes
        assert "have the same seed" in notes
        assert found["denominators"]["episodes"] is None

    def test_a_mistake_names_its_run(self, runs, copy, refused):
        (copy / "split.json").unlink()
        assert f"run {copy}: " in refused(f"run=[{runs[0]},{copy}]")


def test_no_run_is_told(refused):
    assert "missing setting 'run'" in refused()
    assert "missing setting 'run'" in refused("data.root=somewhere")
