"""`mobile-vla stats` from the command line to its folder: the fields that programs read, and a page for people."""

import json
from pathlib import Path

import pytest

from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli import small_training


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that is not given lies in an empty folder: the output, and what is remembered of files."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def episodes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "에피소드 (1), a=b"
    write_episodes(SynthConfig(episodes=16, resolution=(27, 48), workers=1), folder)
    (folder / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return folder


def run(*words: str) -> int | str | None:
    return small_training.run("stats", *words)


def test_a_users_first_command(episodes: Path, home: Path, capsys):
    assert run(f"data.root={episodes}") == 0
    captured = capsys.readouterr()
    (folder,) = (Path.cwd() / "runs" / "stats").iterdir()
    assert captured.out.splitlines()[-1] == str(folder)
    assert "16 good of 17 files" in captured.out
    assert "left 8, right 8" in captured.out
    assert sorted(path.name for path in folder.iterdir()) == ["figures", "stats.html", "stats.json"]
    assert not list(home.rglob("*.npy")), "training may want frames of another size: nothing is packed"

    found = json.loads((folder / "stats.json").read_text())
    assert found["schema"] == 1
    assert (found["episodes"], found["frames"]) == (16, 16 * 18)
    assert found["labels"]["direction"] == {"left": 8, "right": 8}
    assert sum(found["instructions"].values()) == 16
    assert found["bounds"] == {
        "linear_x": [0.0, pytest.approx(1.15)],
        "linear_y": [pytest.approx(-1.15), pytest.approx(1.15)],
    }
    (fault,) = found["faults"]
    assert (fault["file"], set(fault)) == (str(episodes / "broken.h5"), {"file", "reason"})
    windows = found["windows"]
    assert (windows["count"], windows["window"], windows["chunk"], windows["ends"]) == (16 * 11, 8, 10, "pad")
    assert windows["padded_share"] == pytest.approx(1 - windows["valid_entries"] / (16 * 11 * 80))
    assert found["notes"][0].startswith("1 of 17 files are left out")
    assert found["step_durations"]["median"] == pytest.approx(0.4)
    assert found["actions"]["angular_z"]["zero_share"] == 1
    assert found["copies"] == []


def test_settings_reach_the_survey(episodes: Path):
    words = ("data=synthetic", "data.components=[linear_y]", "data.window=4", "data.bounds.linear_y=[-2,2]")
    assert run(f"data.root={episodes}", *words, "contact_sheet=1", "out=there") == 0
    found = json.loads(Path("there/stats.json").read_text())
    assert found["bounds"] == {"linear_y": [-2, 2]}
    assert (found["windows"]["window"], found["trajectories"]["unit"]) == (4, "m")
    assert Path("there/stats.html").read_text().count('class="episode"') == 1


def test_what_training_refuses_is_shown(episodes: Path, tmp_path: Path, capsys):
    """Most files broken, a component that never moves, no whole window: this is the command to see that with."""
    mostly_broken = tmp_path / "broken"
    mostly_broken.mkdir()
    (mostly_broken / "good.h5").write_bytes(next(episodes.glob("episode*")).read_bytes())
    for i in range(9):
        (mostly_broken / f"{i}.h5").write_bytes(b"")
    words = ("data.components=[angular_z]", "data.ends=drop", "data.window=12", "data.faults=error")
    assert run(f"data.root={mostly_broken}", *words, "out=there") == 0
    found = json.loads(Path("there/stats.json").read_text())
    assert (found["episodes"], len(found["faults"]), found["windows"]["count"]) == (1, 9, 0)
    assert found["bounds"] == {"angular_z": [0, 0]}
    told = " ".join(found["notes"])
    for word in ("9 of 10 files", "'angular_z' has (near) zero range", "data.ends=drop", "cannot be split"):
        assert word in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "missing setting 'data.root'"),
        (("data.root=nowhere",), "no such folder"),
        (("data.root={episodes}", "contact_sheet=-1"), "contact_sheet: a number of at least 0"),
        (("data.root={episodes}", "contact_shet=1"), "did you mean 'contact_sheet'"),
        (("data.root={episodes}", "data.split.by=[directoin]"), "did you mean 'direction'"),
        (("data.root={episodes}", "data.pattern=broken.h5"), "broken"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(episodes: Path, words, message, capsys):
    assert run(*(word.format(episodes=episodes) for word in words)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mobile-vla: error: ")
    assert message in last
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_a_sweep_over_folders_and_settings(episodes: Path, tmp_path: Path):
    (tmp_path / "one").symlink_to(episodes)
    assert run("--multirun", f"data.root={tmp_path / 'one'}", "data.window=4,8", "out=sweep") == 0
    counts = [json.loads(file.read_text())["windows"]["count"] for file in sorted(Path("sweep").glob("*/stats.json"))]
    assert counts == [16 * 15, 16 * 11]
