"""`mobile-vla runs`: every run has its row, also one that is being trained, was interrupted or is broken."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mobile_vla.data.splits import SCHEMA
from mobile_vla.runs.metrics_end import read_end
from mobile_vla.runs.summary import SPLIT_SCHEMA
from tests.cli.run_folders import BASELINES, findings, write_imported, write_json, write_metrics, write_run
from tests.cli.small_training import run

LOCK = """
import sys, time
from pathlib import Path
from mobile_vla.runs.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""


def ask(tmp_path: Path, sort: str = "time", runs: str = "runs", out: str = "out") -> dict[str, dict[str, Any]]:
    """The rows of `runs.json` by name, in their order."""
    folder = tmp_path / out
    assert run("runs", f"runs={tmp_path / runs}", f"out={folder}", f"sort={sort}") == 0
    content = json.loads((folder / "runs.json").read_text())
    assert content["schema"] == 1
    return {row["name"]: row for row in content["runs"]}


def test_the_model_is_told_by_backbone_weights_and_size(tmp_path: Path):
    """Runs from before there was a choice of backbones name none: they are of Kosmos-2."""
    smolvlm = {"text_config": {"num_hidden_layers": 2, "hidden_size": 96}}
    kosmos2 = {"text_config": {"layers": 2, "embed_dim": 128}}
    models = {
        "old": {},
        "tiny": {"name": "kosmos2", "weights": "random", "architecture": kosmos2},
        "other": {"name": "smolvlm", "weights": "random", "architecture": smolvlm},
    }
    for name, model in models.items():
        write_run(tmp_path / "runs/train" / name)
        file = tmp_path / "runs/train" / name / "config.yaml"
        values = yaml.safe_load(file.read_text())
        values["model"] |= model
        file.write_text(yaml.safe_dump(values))
    told = {name.removeprefix("train/"): row["model"] for name, row in ask(tmp_path).items()}
    assert told == {"old": "kosmos-2-patch14-224", "tiny": "random 2 x 128", "other": "smolvlm random 2 x 96"}


def test_every_state_has_its_row(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # parallel workers have it set
    runs = tmp_path / "runs"
    write_run(runs / "train/ended")
    write_run(runs / "train/sweep/0_seed-1", val_loss=None, losses=(0.3, 0.2), seed=1)
    write_run(runs / "train/longer", losses=(0.3, 0.2, 0.16, 0.17, 0.24))
    write_json(runs / "train/longer/train.json", findings(0.16, epochs=4, steps=20))  # went on after it had ended
    write_imported(runs / "import/lab")
    rows = ask(tmp_path)
    told = {name: (row["state"], row["epochs"], row["val_loss"], row["val_loss_of"]) for name, row in rows.items()}
    assert told == {
        "train/ended": ("ended", 4, 0.16, "best checkpoint"),
        "train/sweep/0_seed-1": ("interrupted", 2, 0.2, "last validation"),
        "train/longer": ("interrupted", 5, 0.24, "last validation"),
        "import/lab": ("imported", None, None, None),
    }
    assert rows["train/ended"]["loss_over_best_baseline"] == pytest.approx(0.16 / 0.32)
    assert rows["train/sweep/0_seed-1"]["loss_over_best_baseline"] == pytest.approx(0.2 / 0.32)
    assert rows["train/ended"]["denominators"] == {"episodes": 6, "windows": 66}
    assert rows["import/lab"]["parameters"]["trainable"] == 7
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(tmp_path / "out")
    ended = next(line for line in printed if line.startswith("train/ended"))
    for cell in ("ended", "4 of 10", "0.1600 ", "0.50", "x 2.50 (4)", "x 1.25 "):
        assert cell in ended
    assert "0.2000*" in next(line for line in printed if line.startswith("train/sweep"))
    assert any(line.startswith("* loss of the last validation") for line in printed)


def test_one_that_is_being_trained_is_told_by_its_lock(tmp_path: Path):
    folder = write_run(tmp_path / "runs/a")
    write_run(tmp_path / "runs/b")
    with subprocess.Popen([sys.executable, "-c", LOCK, str(folder)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        rows = ask(tmp_path)
        holder.kill()
    assert [rows[name]["state"] for name in "ab"] == ["training", "ended"]
    assert rows["a"]["val_loss"] == 0.17, "the last validation's, not that of the training before"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("train.json", "{", "train.json: Expecting property name"),
        ("train.json", '{"schema": 9}', "train.json: schema 9 is not known, expected 1"),
        ("train.json", '{"schema": 1, "steps": 20}', "train.json: no 'effects'"),
        ("train.json", "[1]", "train.json: expected fields by name"),
        ("split.json", None, "split.json: no such file"),
        ("split.json", '{"schema": 2}', "split.json: no 'splits'"),
        ("config.yaml", None, "config.yaml: no such file"),
        ("config.yaml", "a: [", "config.yaml: while parsing"),
        ("config.yaml", "model: 3", "config.yaml: "),
        ("machine.json", "\x00", "machine.json: "),
        ("metrics.csv", "a,b\n1,2\n", "metrics.csv: no columns epoch and step"),
        ("metrics.csv", "epoch,step\n1,x\n", "metrics.csv: invalid literal"),
    ],
)
def test_a_broken_folder_is_a_row_that_says_so(tmp_path: Path, capsys, name: str, text: str | None, problem: str):
    write_run(tmp_path / "runs/good")
    bad = write_run(tmp_path / "runs/bad") / name
    bad.unlink()
    if text is not None:
        bad.write_text(text)
    rows = ask(tmp_path)
    assert rows["good"]["state"] == "ended"
    assert rows["bad"]["state"] == "broken"
    assert rows["bad"]["problems"][0].startswith(problem)
    assert f"bad is broken: {problem}" in capsys.readouterr().out


def test_what_is_no_run_is_not_listed(tmp_path: Path):
    runs = tmp_path / "runs"
    good = write_run(runs / "train/good")
    (runs / "train/refused").mkdir()
    (runs / "train/refused/.lock").touch()  # all that a training leaves that was refused
    (runs / "probe/x").mkdir(parents=True)
    (runs / "board").mkdir()
    (runs / "board/good").symlink_to(good)
    (runs / "train/.hydra").mkdir()
    (runs / "train/.hydra/config.yaml").write_text("a: 1")
    write_run(good / "contexts/inner")  # never looked for within a run
    rows = ask(tmp_path)
    assert {name: row["folder"] for name, row in rows.items()} == {"good": str(good)}


def test_probes_evaluations_and_stores_are_counted_for_their_run(tmp_path: Path):
    runs = tmp_path / "runs"
    first, second = write_run(runs / "train/sweep/0"), write_run(runs / "train/sweep/1")
    for number, loss in enumerate((0.9, 0.21)):
        told = {"schema": 1, "run": str(first), "loss": loss, "split": "test", "denominators": {"episodes": 5}}
        write_json(runs / f"eval/{number}/eval.json", told)
        time.sleep(0.01)
    both = [{"run": str(folder), "loss": 0.5, "split": None, "denominators": {"episodes": 3}} for folder in [second]]
    write_json(runs / "eval/several/eval.json", {"schema": 1, "runs": both})
    write_json(runs / "eval/unreadable/eval.json", {"schema": 7})
    write_json(runs / "probe/p/probe.json", {"schema": 1, "folder": str(first)})
    (runs / "probe/p/contexts").mkdir()
    rows = ask(tmp_path, runs="runs/train/sweep")  # theirs lie beside `train`, not below what was named
    assert [rows["0"]["evaluation"][key] for key in ("loss", "split", "episodes")] == [0.21, "test", 5]
    assert rows["1"]["evaluation"]["loss"] == 0.5
    assert [row["stores"] for row in rows.values()] == [1, 0]
    assert rows["0"]["probes"] == [str(runs / "probe/p")]


def test_the_order_is_as_asked_for(tmp_path: Path):
    runs = tmp_path / "runs"
    write_run(runs / "b", began="2026-03-01T09:00:00+0000", val_loss=0.1)
    write_run(runs / "c", began="2026-01-01T09:00:00+0000", val_loss=0.3)
    write_run(runs / "a", began="2026-02-01T09:00:00+0000", val_loss=None, losses=())
    expected = {"time": ["c", "a", "b"], "val_loss": ["b", "c", "a"], "name": ["a", "b", "c"]}
    for sort, names in expected.items():
        assert list(ask(tmp_path, sort, out=sort)) == names


def test_losses_of_different_questions_are_told_apart(tmp_path: Path, capsys):
    write_run(tmp_path / "runs/a", seed=1)
    write_run(tmp_path / "runs/b", seed=2)
    ask(tmp_path)
    printed = capsys.readouterr().out
    assert "they differ in: seed 1, 2\n" in printed
    assert "cannot be compared" not in printed
    write_run(tmp_path / "runs/c", chunk=5, validation=("a", "c"))
    ask(tmp_path, out="again")
    assert (
        "cannot be compared, since they differ in validation episodes (2 sets), data.chunk:" in capsys.readouterr().out
    )


def test_several_folders_and_a_run_itself(tmp_path: Path, capsys):
    first, second = write_run(tmp_path / "one/x"), write_run(tmp_path / "two/x")
    assert run("runs", f"runs=[{tmp_path / 'one'},{tmp_path / 'two'},{tmp_path}]", f"out={tmp_path / 'o'}") == 0
    rows = json.loads((tmp_path / "o/runs.json").read_text())["runs"]
    assert {row["name"]: row["folder"] for row in rows} == {"one/x": str(first), "two/x": str(second)}
    assert run("runs", f"runs={first}", f"out={tmp_path / 'p'}") == 0
    assert [row["name"] for row in json.loads((tmp_path / "p/runs.json").read_text())["runs"]] == ["x"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("runs=nothing", "runs=nothing: there is no such folder; give"),
        ("runs=empti", "runs=empti: there is no such folder: did you mean 'empty'?"),
        ("runs=file", "runs=file is a file"),
        ("runs=empty", "runs=empty: no run below it"),
        ("runs=empty,other", "several folders are a list: [empty,other]"),
        ("sort=best", "sort: expected one of"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path: Path, monkeypatch, capsys, word: str, message: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for name in ("empty", "other"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert run("runs", word) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_hundreds_are_read_without_torch(tmp_path: Path):
    """A second for 200 on an idle machine; a reader of checkpoints or a slow parser takes ten times as long."""
    for number in range(200):
        write_run(tmp_path / f"runs/{number}", seed=number)
    code = (
        "import sys\nfrom mobile_vla.cli.main import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0\n"
        "print([name for name in ('torch', 'lightning', 'h5py', 'numpy') if name in sys.modules])"
    )
    words = ["runs", f"runs={tmp_path / 'runs'}", f"out={tmp_path / 'out'}"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.count("4 of 10") == 1, "what is the same for all is said once"


def test_an_unfinished_row_of_metrics_is_not_there_yet(tmp_path: Path):
    file = tmp_path / "metrics.csv"
    write_metrics(file, (0.3, 0.2))
    whole = read_end(file)
    assert whole is not None
    assert (whole.epochs, whole.step, whole.val_loss, whole.baselines) == (2, 9, 0.2, BASELINES)
    with file.open("a") as stream:
        stream.write("2,14,0.1")
    assert read_end(file) == whole
    write_metrics(file, ())
    assert read_end(file) is None
    assert read_end(tmp_path / "none.csv") is None


def test_the_split_is_read_as_it_is_written():
    assert SPLIT_SCHEMA == SCHEMA
