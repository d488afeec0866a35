"""`mobile-vla doctor` from the command line, and what `train` does before its first step."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mobile_vla.doctor import figures
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli.test_eval import WORDS, run

LEGACY = ("model.layout=legacy", "model.architecture.latent_query_num=32")


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> tuple[str, ...]:
    """Settings of a tiny training on ten episodes."""
    folder = tmp_path_factory.mktemp("doctor")
    write_episodes(SynthConfig(episodes=10, frames=10, resolution=(27, 48), workers=1), folder / "episodes")
    return (*WORDS, f"data.root={folder / 'episodes'}", f"data.pack_dir={folder / 'pack'}", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def trained(words, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    assert run("train", *words, "optimization.lr=3e-3", f"out={out}") == 0
    return out


def read(folder: Path) -> dict:
    return json.loads((folder / "doctor.json").read_text())


def test_a_healthy_run(trained, tmp_path, capsys):
    assert run("doctor", f"run={trained}", f"out={tmp_path / 'd'}") == 0
    found = read(tmp_path / "d")
    assert found["findings"] == []
    assert found["counts"] == {"error": 0, "warning": 0}
    assert (found["schema"], found["trained"], found["run"]) == (1, True, str(trained))
    assert found["checkpoint"].startswith(str(trained / "checkpoints"))
    assert {file.name for file in (tmp_path / "d").iterdir()} == {"doctor.json", "sequence.png", "sensitivity.png"}
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(tmp_path / "d")
    drawn = "".join(found["map"]["roles"][i][0].upper() for i in range(5))
    assert printed[0].startswith(drawn)


def test_a_checkpoint_without_its_folder_and_without_its_episodes(trained, words, tmp_path, capsys, monkeypatch):
    """What it knows of itself is enough; what cannot be looked at is said."""
    monkeypatch.setattr(figures, "save_figures", lambda *_: None)  # drawn above
    file = shutil.copy(trained / "checkpoints" / "last.ckpt", tmp_path / "x.ckpt")
    assert run("doctor", f"path={file}", f"out={tmp_path / 'there'}") == 0
    assert read(tmp_path / "there")["data"] is not None
    content = torch.load(file, weights_only=True)
    content["mobile_vla"]["config"]["data"]["root"] = str(tmp_path / "gone")
    torch.save(content, file)
    assert run("doctor", f"path={file}", f"out={tmp_path / 'gone_too'}") == 0
    found = read(tmp_path / "gone_too")
    assert found["data"] is None
    assert "not at" in found["notes"][0]
    assert found["findings"] == []
    assert run("doctor", f"path={file}", "seed=3", f"out={tmp_path / 'no'}") == 2
    assert "a checkpoint says itself how it was trained" in capsys.readouterr().err


def test_a_model_without_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "save_figures", lambda *_: None)
    words = [word for word in WORDS if word.startswith("model")]
    assert run("doctor", *words, *LEGACY, f"out={tmp_path / 'd'}") == 0
    found = read(tmp_path / "d")
    assert [finding["name"] for finding in found["findings"]] == ["instruction_not_wired", "image_tokens_not_wired"]
    assert found["counts"] == {"error": 2, "warning": 0}
    assert found["data"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("path=nothing.ckpt",), "no such file or folder"),
        (("model=tiny", "trust=true"), "trust=true is of a checkpoint's file"),
        (("model=tiny", "checkpoint=last"), "checkpoint=last is a run's"),
        (("model=tiny", "data.root=nowhere"), "no such folder"),
    ],
)
def test_mistakes_are_one_line(words, said, tmp_path, capsys):
    assert run("doctor", *words, f"out={tmp_path / 'd'}") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("mobile-vla: error: ")
    assert said in line
    assert not (tmp_path / "d").exists()


class TestBeforeTraining:
    def test_what_is_not_wired_is_refused_with_nothing_written(self, words, tmp_path, capsys):
        assert run("train", *words, *LEGACY, f"out={tmp_path / 'r'}") == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert "the instruction changes the context by exactly 0" in line
        assert "doctor.refuse=false" in line
        assert not (tmp_path / "r").exists()

    def test_or_only_said(self, words, tmp_path, capsys):
        assert run("train", *words, *LEGACY, "doctor.refuse=false", "trainer.max_steps=1", f"out={tmp_path / 'r'}") == 0
        assert "not wired: the instruction changes the context by exactly 0" in capsys.readouterr().out
        capsys.readouterr()
        # A run that goes on is not asked again.
        assert run("train", f"run={tmp_path / 'r'}", "trainer.max_steps=2", "doctor.refuse=true") == 0
        assert "not wired" not in capsys.readouterr().out
