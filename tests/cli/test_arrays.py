"""`import` makes a store of arrays and `export` arrays of a store; what is wrong is told before anything is written."""

import json
from pathlib import Path

import numpy as np
import pytest

from mobile_vla.cli.registry import load_command
from mobile_vla.jobs.launch import launch
from mobile_vla.jobs.outcome import find_outcome
from mobile_vla.settings.conf_folder import find_conf_folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MOBILE_VLA_OUT", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> int:
        return find_outcome(lambda: launch(load_command(name), arguments, find_conf_folder()))

    return run


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    folder = tmp_path / "덤프 (1)"
    folder.mkdir()
    np.save(folder / "context_vectors.npy", np.arange(30, dtype=np.float32).reshape(6, 5))
    annotations = [
        {"vector_idx": i, "episode": f"e{i // 3}", "frame_idx": i % 3, "progress": i % 3 / 2, "direction": "left"}
        for i in range(6)
    ]
    (folder / "context_metadata.json").write_text(json.dumps({"annotations": annotations}))
    return folder


def test_in_and_out(run, dump, tmp_path, capsys):
    assert run("import", f"path={dump}", "out=store") == 0
    captured = capsys.readouterr().out
    assert captured.splitlines()[-1] == str(tmp_path / "store")
    assert "6 of 2 episodes" in captured
    report = json.loads((tmp_path / "store" / "import.json").read_text())
    assert (report["rows"], report["episodes"], report["labels"]) == (6, 2, ["direction"])
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["complete"] is True

    assert run("export", "store=store") == 0
    out = Path(capsys.readouterr().out.splitlines()[-1])
    assert out.parent == tmp_path / "runs" / "export"
    found = np.load(out / "context_vectors.npy")
    assert np.array_equal(found, np.load(dump / "context_vectors.npy"))
    report = json.loads((out / "export.json").read_text())
    assert (report["rows"], report["dimension"], report["variants"]) == (6, 5, {"own": 6})


def test_mistakes_write_nothing(run, dump, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for name, arguments, message in [
        ("export", [], "missing setting 'store': give store=<folder of a store of contexts> or run=<a run's folder>"),
        ("export", ["store=empty"], "no manifest.json there; expected the folder of a store of contexts"),
        ("export", ["stores=empty"], "unknown setting 'stores': did you mean 'store'?"),
        ("import", [], "missing setting 'path': give path=<value>"),
        ("import", ["path=empty"], "holds no checkpoint that could be found"),
    ]:
        assert run(name, *arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tap_or_variant_that_is_not_there_is_told(run, dump, tmp_path, capsys):
    assert run("import", f"path={dump}", "out=store") == 0
    capsys.readouterr()
    for argument, message in {
        "tap=image": "no tap 'image'; there are context",
        "variant=swap": "there are own",
    }.items():
        assert run("export", "store=store", argument, "out=arrays") == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "arrays").exists()
