"""Where results go: one folder a job, made when all is valid, with a report, named last on stdout."""

import json
import math
import os
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Context, Report
from mobile_vla.jobs.output import create_default, name_run
from mobile_vla.jobs.ranks import refuse_sweep_over_ranks


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_default_folder_holds_the_report_and_is_printed_last(bench, capsys):
    assert bench.run("model=tiny", "seed=3", "data.root=/some/where") == 0
    captured = capsys.readouterr()
    out = Path(captured.out.splitlines()[-1])
    assert out.parent == Path.cwd() / "runs" / "train"
    assert out.name.endswith("_model-tiny_seed-3")
    datetime.strptime(out.name[:19], "%Y-%m-%d_%H-%M-%S")
    assert tree(Path.cwd()) == {f"{out.relative_to(Path.cwd()).as_posix()}/train.json"}
    assert json.loads((out / "train.json").read_text()) == {"schema": 1, "version": "0.1.0", "loss": 0.5}
    assert "loss" in captured.out
    assert bench.context.name == "model-tiny_seed-3"


def test_out_and_name_are_the_command_lines_own(bench, capsys):
    assert bench.run("out=my runs/첫 번째 (1)", "name=first try") == 0
    out = Path.cwd() / "my runs" / "첫 번째 (1)"
    assert tree(Path.cwd()) == {"my runs/첫 번째 (1)/train.json"}
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert bench.context.name == "first-try"
    assert not {"out", "name", "run", "config"} & bench.config.keys()
    assert bench.run("name=first try") == 0
    assert bench.ran[-1].name.endswith("_first-try")


def test_a_folder_in_use_is_refused_before_anything_is_prepared(bench, capsys):
    Path("full").mkdir()
    Path("full/x").touch()
    assert bench.run("out=full") == 2
    assert "full: the folder is not empty" in capsys.readouterr().err
    assert bench.run("out=full/x") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert bench.run("out=full/x/y") == 2
    assert "cannot make the folder" in capsys.readouterr().err
    assert bench.ran == []
    Path("empty").mkdir()
    assert bench.run("out=empty") == 0


def test_a_folder_that_holds_a_left_lock_alone_is_as_good_as_empty(bench):
    (Path.cwd() / "refused").mkdir()
    (Path.cwd() / "refused" / ".lock").touch()
    assert bench.run("out=refused") == 0
    assert "train.json" in tree(Path.cwd() / "refused")


def test_nothing_is_written_when_the_command_refuses(bench, refused):
    bench.refuse_seed = 13
    assert refused("seed=13") == "seed=13 brings bad luck"


def test_a_collision_gets_a_suffix(bench):
    now = datetime(2026, 1, 2, 3, 4, 5)
    names = [create_default("train", "x", now).name for _ in range(3)]
    assert names == [f"2026-01-02_03-04-05_x{suffix}" for suffix in ("", "_2", "_3")]


def test_a_job_may_continue_in_its_folder(bench, capsys):
    bench.folder = Path.cwd() / "old"
    bench.folder.mkdir()
    (bench.folder / "events").touch()
    assert bench.run("seed=1") == 0
    assert tree(Path.cwd()) == {"old/events", "old/train.json"}
    assert bench.run("out=elsewhere") == 2
    assert "leave out= away" in capsys.readouterr().err
    assert bench.run("--multirun", "seed=1,2") == 2
    assert "--multirun with run=" in capsys.readouterr().err


def test_a_report_holds_no_nan_and_no_foreign_types(bench):
    numpy = pytest.importorskip("numpy")
    payload = {
        "nan": math.nan,
        "inf": [-math.inf, numpy.float32(0.5), numpy.array([1, 2])],
        "path": Path("a/b"),
        "pair": (1, None, True),
        3: "한글",
    }
    bench.job = lambda out: Report(payload=payload, schema=4, table=[("[red]", 1)])
    assert bench.run("out=o") == 0
    assert json.loads(Path("o/train.json").read_text(encoding="utf-8")) == {
        "schema": 4,
        "version": "0.1.0",
        "nan": None,
        "inf": [None, 0.5, [1, 2]],
        "path": "a/b",
        "pair": [1, None, True],
        "3": "한글",
    }
    assert tree(Path("o")) == {"train.json"}


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        (["out=/a/b", "data.root=x y", "hydra.verbose=true", "path=a"], "default"),
        (["model=tiny", "trainer.max_epochs=3"], "model-tiny_max_epochs-3"),
        (["+experiment=quick", "~logger"], "experiment-quick_no-logger"),
        (["text='a, b (c)'"], "text-a-b-c"),
        (["model.weights=/big/file", "seed=1"], "seed-1"),
        (["text=한글"], "text-한글"),
        (["run=/a/runs/train/2026-01-31_09-00-00_demo_lr-1/", "split=test"], "demo_lr-1_split-test"),
        (["run=my run", "seed=1"], "my-run_seed-1"),
        (["run=[a/b,c]", "split=test"], "split-test"),
    ],
)
def test_a_runs_name_is_made_of_its_overrides(overrides, name):
    assert name_run(overrides) == name


def test_a_runs_name_is_short():
    assert len(name_run([f"trainer.setting_{index}=value" for index in range(50)])) <= 60


def test_a_sweep_has_one_folder_with_one_for_each_job(bench, capsys):
    assert bench.run("--multirun", "seed=1,2", "model=tiny", "out='결과, (1)'") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(Path.cwd() / "결과, (1)")
    assert tree(Path.cwd()) == {
        "결과, (1)/multirun.yaml",
        "결과, (1)/0_seed-1/train.json",
        "결과, (1)/1_seed-2/train.json",
    }
    assert [(config["seed"], context.sweep, context.job_index, context.name) for config, context in bench.prepared] == [
        (1, True, 0, "0_seed-1"),
        (2, True, 1, "1_seed-2"),
    ]


def test_a_sweep_without_out_gets_a_default_folder(bench):
    assert bench.run("--multirun", "trainer.max_epochs=1,2") == 0
    (parent,) = (Path.cwd() / "runs" / "train").iterdir()
    assert parent.name.endswith("_sweep_max_epochs-1-2")
    assert {path.name for path in parent.iterdir()} == {"multirun.yaml", "0_max_epochs-1", "1_max_epochs-2"}


def test_one_failing_job_does_not_end_a_sweep(bench, capsys):
    bench.refuse_seed = 2
    assert bench.run("--multirun", "seed=1,2,3", "out=sweep") == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "mobile-vla: error: seed=2 brings bad luck",
        "mobile-vla: 1 of 3 jobs failed: 1_seed-2",
    ]
    assert [path.name for path in bench.ran] == ["0_seed-1", "2_seed-3"]


def test_our_fault_weighs_more_than_the_users(bench, capsys):
    def fail(out: Path) -> Report:
        if out.name.startswith("0"):
            raise RuntimeError("broken")
        if out.name.startswith("1"):
            sys.exit(0)
        raise UserError("wrong")

    bench.job = fail
    assert bench.run("--multirun", "seed=1,2,3", "out=sweep") == 1
    error = capsys.readouterr().err
    assert "RuntimeError: broken" in error
    assert "3 of 3 jobs failed: 0_seed-1, 1_seed-2, 2_seed-3" in error
    assert tree(Path.cwd()) == {"sweep/multirun.yaml"}


def test_ctrl_c_passes_through_and_ends_a_sweep(bench):
    def interrupt(out: Path) -> Report:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)  # as Lightning does

    bench.job = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.run("--multirun", "seed=1,2")
    assert len(bench.ran) == 1


def test_another_rank_uses_the_first_ones_folder(bench, capsys, monkeypatch):
    def start_another_rank(out: Path) -> Report:
        assert os.environ["MOBILE_VLA_OUT"] == str(out)
        capsys.readouterr()
        bench.job = None
        GlobalHydra.instance().clear()  # another rank is another process
        with monkeypatch.context() as rank:
            rank.setenv("LOCAL_RANK", "1")
            typed = ["seed=3", 'hydra.run.dir="."', "hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null"]
            assert bench.run(*typed) == 0
        assert bench.context.rank == 1
        assert capsys.readouterr().out == ""
        assert [path.name for path in out.iterdir()] == [".lock"]
        return Report(payload={})

    bench.job = start_another_rank
    assert bench.run("seed=3") == 0
    assert len(bench.ran) == 2
    assert bench.ran[0] == bench.ran[1]
    assert "MOBILE_VLA_OUT" not in os.environ


def test_torchrun_needs_out(bench, refused, monkeypatch, capsys):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert "give out=<folder>" in refused("seed=3")
    assert "give out=<folder>" in refused("--multirun", "seed=3,4")
    assert bench.run("out=shared") == 0
    monkeypatch.setenv("RANK", "1")
    assert bench.run("out=shared") == 0  # in use by rank 0, and no report of its own
    assert bench.ran == [Path.cwd() / "shared"] * 2
    monkeypatch.setenv("RANK", "1")
    capsys.readouterr()
    bench.refuse_seed = 13
    assert bench.run("out=shared", "seed=13") == 2
    assert capsys.readouterr().err.startswith("mobile-vla: error: rank 1: ")


@pytest.mark.parametrize("devices", [2, "2", [0, 1], "0,1"])
def test_a_sweep_over_several_devices_is_refused(devices):
    context = Context(command="train", sweep=True)
    with pytest.raises(UserError, match="every rank would start the sweep again"):
        refuse_sweep_over_ranks(context, devices, "ddp")
    refuse_sweep_over_ranks(context, devices, "ddp_spawn")
    refuse_sweep_over_ranks(Context(command="train"), devices, "ddp")


@pytest.mark.parametrize("devices", [1, "1", [3], "3,"])
def test_a_sweep_over_one_device_is_fine(devices):
    refuse_sweep_over_ranks(Context(command="train", sweep=True), devices, "auto")


def test_the_command_line_stays_as_typed_while_a_job_runs(bench, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mobile-vla", "train", "text=a (b)"])
    seen = []
    bench.job = lambda out: seen.append(list(sys.argv)) or Report(payload={})
    assert bench.run("text=a (b)") == 0
    assert seen == [["mobile-vla", "train", "text=a (b)"]]
