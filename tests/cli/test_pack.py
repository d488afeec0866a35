"""`mobile-vla pack` from the command line to its copies: what it tells, and what training then need not do."""

import json
from pathlib import Path

import pytest

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.dataset import DataConfig, open_dataset
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli import small_training


@pytest.fixture
def episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = tmp_path / "에피소드 (1), a=b"
    write_episodes(SynthConfig(episodes=4, resolution=(27, 48), workers=1), folder)
    (folder / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return folder


def run(*words: str) -> int | str | None:
    return small_training.run("pack", *words)


def found(folder: str) -> dict:
    return json.loads((Path(folder) / "pack.json").read_text())


def test_what_is_packed_is_what_training_reads(episodes: Path, tmp_path: Path, capsys, monkeypatch):
    assert run(f"data.root={episodes}", "model=tiny", "out=one") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(Path.cwd() / "one")
    assert "4 good of 5 files" in captured.out
    told = found("one")
    assert (told["packed"]["episodes"], told["known"], told["frames"]) == (4, 0, 4 * 18)
    assert (told["size"], told["interpolation"], told["bytes"]) == (64, "bicubic", 4 * 18 * 64 * 64 * 3)
    assert [fault["file"] for fault in told["faults"]] == [str(episodes / "broken.h5")]
    copies = sorted(Path(told["folder"]).rglob("*.npy"))
    assert copies[0].is_relative_to(tmp_path / "home")
    seen = []
    open_dataset(DataConfig(root=str(episodes)), Preprocessing(size=64), lambda *step: seen.append(step))
    assert "packing frames" not in {what for what, *_ in seen}


def test_broken_files_are_errors_where_that_is_asked_for(episodes: Path, capsys):
    assert run(f"data.root={episodes}", "size=16", "data.faults=error", "out=one") == 2
    assert "1 of 5 files are broken" in capsys.readouterr().err
    assert not Path("one").exists()


def test_what_has_changed_since_is_told_and_pruned(episodes: Path, capsys):
    files = sorted(episodes.glob("episode*"))
    assert run(f"data.root={episodes}", "size=16", "out=one") == 0
    files[0].write_bytes(files[1].read_bytes())
    files[2].unlink()
    capsys.readouterr()
    assert run(f"data.root={episodes}", "size=16", "out=two") == 0
    assert "1 of them changed since" in (shown := capsys.readouterr().out)
    assert "2 copies of 1 changed and 1 removed files" in shown
    told = found("two")
    assert (told["packed"], told["known"]) == ({"episodes": 1, "frames": 18, "changed_since": 1}, 2)
    assert (told["outdated"]["changed"], told["outdated"]["removed"]) == ([str(files[0])], [str(files[2])])
    assert run(f"data.root={episodes}", "size=16", "prune=true", "out=three") == 0
    assert found("three")["freed_bytes"] == 2 * (128 + 18 * 16 * 16 * 3)
    assert len(list(Path(told["folder"]).rglob("*.npy"))) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "missing setting 'data.root'"),
        (("data.root=nowhere", "size=16"), "no such folder"),
        (("data.root={episodes}", "size=0"), "size: expected 1 to 4096 pixels"),
        (("data.root={episodes}", "size=1000000"), "size: expected 1 to 4096 pixels"),
        (("data.root={episodes}", "size=true"), "size: expected 1 to 4096 pixels"),
        (("data.root={episodes}", "size=16", "processes=0"), "processes: expected a number of at least 1"),
        (("data.root={episodes}", "size=16", "prune=yes"), "prune: expected true or false, got yes"),
        (("data.root={episodes}", "model.weights=./nothing"), "give size=<pixels>"),
        (("data.root={episodes}", "sise=16"), "did you mean 'size'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(episodes: Path, tmp_path: Path, words, message, capsys):
    assert run(*(word.format(episodes=episodes) for word in words)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mobile-vla: error: ")
    assert message in last
    assert list(Path.cwd().iterdir()) == []
    assert not list(tmp_path.rglob("*.npy"))
