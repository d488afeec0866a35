"""`synth` hands its settings to the writer, with a bar, and reports what the writer says."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

from mobile_vla.cli.synth import COMMAND
from mobile_vla.jobs.launch import launch
from mobile_vla.jobs.outcome import find_outcome
from mobile_vla.settings.conf_folder import find_conf_folder


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A writer that writes one small text file an episode."""
    module = ModuleType("writer")

    @dataclass(frozen=True, kw_only=True)
    class SynthConfig:
        episodes: int
        seed: int
        layout: Literal["flat", "nested", "jpeg"]
        world: str
        resolution: tuple[int, int]
        frames: int
        noise: float
        workers: int | None

        def __post_init__(self):
            if self.episodes < 1:
                raise ValueError(f"episodes: a whole number of at least 1 expected, got {self.episodes}")

    def write_episodes(config, out, progress):
        for index in range(config.episodes):
            (out / f"{index}.txt").write_text(config.layout)
            progress(index + 1, config.episodes)
        labels = {"direction": {"left": config.episodes}}
        return {
            "files": config.episodes,
            "bytes": 2**20,
            "labels": labels,
            "instructions": {"go left": config.episodes},
        }

    module.SynthConfig, module.write_episodes = SynthConfig, write_episodes
    monkeypatch.setitem(__import__("sys").modules, "mobile_vla.sources.synthetic.writer", module)
    return module


def run(*arguments: str) -> int:
    return find_outcome(lambda: launch(COMMAND, arguments, find_conf_folder()))


def test_episodes_and_report_lie_in_out(writer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("out=my data", "episodes=3", "layout=jpeg", "resolution=[90,160]") == 0
    folder = tmp_path / "my data"
    assert sorted(path.name for path in folder.iterdir()) == ["0.txt", "1.txt", "2.txt", "synth.json"]
    report = json.loads((folder / "synth.json").read_text())
    assert (report["schema"], report["files"], report["settings"]["resolution"]) == (1, 3, [90, 160])
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(folder)
    assert "left 3" in captured.out
    assert run("out=my data") == 2
    assert "is not empty" in capsys.readouterr().err


def test_wrong_settings_write_nothing(writer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for argument, message in {
        "episodes=3.5": "episodes: expected a whole number, got 3.5",
        "episodes=0": "episodes: a whole number of at least 1 expected, got 0",
        "layout=flatt": "layout: expected one of 'flat', 'nested', 'jpeg', got 'flatt': did you mean 'flat'?",
        "resolution=[1,2,3]": "resolution: expected 2 values, got [1, 2, 3]",
    }.items():
        assert run(argument) == 2
        assert capsys.readouterr().err == f"mobile-vla: error: {message}\n"
    assert list(Path(tmp_path).iterdir()) == []


def test_the_settings_are_those_of_the_writer():
    from dataclasses import fields

    import yaml

    from mobile_vla.sources.synthetic.writer import SynthConfig

    settings = yaml.safe_load((find_conf_folder() / "synth.yaml").read_text(encoding="utf-8"))
    assert settings.keys() - {"out", "name"} == {field.name for field in fields(SynthConfig)}
