"""`run=` and `config=` load what a run saved, and take single settings only."""

from pathlib import Path

import pytest

from mobile_vla.settings.saved import read_config, write_config

SAVED = {
    "seed": 5,
    "model": {"name": "tiny", "hidden": 3, "lora": {"rank": 4, "alpha": 8}},
    "data": {"root": "/data/${not} (a) 한글\\", "pattern": "*.h5"},
    "trainer": {"max_epochs": 2, "devices": 1},
}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "old runs, all" / "x=1 (한글)"
    folder.mkdir(parents=True)
    write_config(SAVED, folder / "config.yaml")
    return folder


def test_a_configuration_comes_back_as_it_was_saved(tmp_path):
    from omegaconf import OmegaConf

    values = {**SAVED, "resolution": (1, 2), "path": Path("/a b"), "none": None, "text": "\\\\${x} 3", "number": "3"}
    write_config(values, tmp_path / "config.yaml")
    raw = read_config(tmp_path / "config.yaml", "config", "config.yaml")
    back = OmegaConf.to_container(OmegaConf.create(raw), resolve=True)
    assert back == {**values, "resolution": [1, 2], "path": "/a b"}
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("word", ["run", "config"])
def test_a_saved_configuration_replaces_the_groups(bench, run_folder, word):
    value = run_folder if word == "run" else run_folder / "config.yaml"
    assert bench.run(f"{word}={value}", "trainer.max_epochs=12", "checkpoint=last") == 0
    expected = {**SAVED, "trainer": {"max_epochs": 12, "devices": 1}, "checkpoint": "last"}
    # What the saved configuration does not hold comes from the command's own defaults.
    expected |= {"text": "plain", "nothing": None, "resolution": [720, 1280]}
    assert bench.config == expected
    assert bench.context.run_folder == (run_folder if word == "run" else None)
    assert bench.context.config_file == run_folder / "config.yaml"
    assert bench.ran[0].name.endswith("_max_epochs-12_checkpoint-last")


def test_a_group_that_was_switched_off_stays_off(bench, run_folder):
    write_config({key: value for key, value in SAVED.items() if key != "trainer"}, run_folder / "config.yaml")
    assert bench.run(f"config={run_folder / 'config.yaml'}") == 0
    assert "trainer" not in bench.config


def test_another_command_keeps_its_own_settings(bench, run_folder):
    assert bench.run(f"run={run_folder}", "split=test", "data.root=other", name="eval") == 0
    assert bench.config["split"] == "test"
    assert bench.config["plan"] == {"stride": 2}
    assert bench.config["data"]["root"] == "other"
    assert bench.config["model"] == SAVED["model"]


def test_a_sweep_over_a_saved_configuration(bench, run_folder):
    assert bench.run("--multirun", f"config={run_folder / 'config.yaml'}", "seed=1,2", "out=sweep") == 0
    assert [config["seed"] for config, _ in bench.prepared] == [1, 2]
    assert [config["data"] for config, _ in bench.prepared] == [SAVED["data"]] * 2
    assert [path.name for path in bench.ran] == ["0_seed-1", "1_seed-2"]


def test_the_saved_configuration_can_be_shown(bench, run_folder, capsys):
    assert bench.run(f"run={run_folder}", "--cfg", "job", "-p", "trainer") == 0
    assert capsys.readouterr().out == "# @package trainer\nmax_epochs: 2\ndevices: 1\n"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=big", "'model' is a group, and a saved configuration takes single settings only: write model.name=..."),
        ("model/lora=none", "write model.lora.rank=... ('model.lora' has rank, alpha)"),
        ("experiment=quick", "'experiment' is a group"),
        ("trainer.max_epoch=3", "unknown setting 'trainer.max_epoch': did you mean 'trainer.max_epochs'"),
        ("model.lora=none", "'model.lora' holds several settings, not one value: it has rank, alpha"),
    ],
)
def test_groups_and_unknown_keys_are_refused(refused, run_folder, override, message):
    assert message in refused(f"run={run_folder}", override)


def test_what_is_no_run_is_refused(refused, run_folder, tmp_path):
    runs = run_folder.parent
    assert "there is no such folder: did you mean 'x=1 (한글)'?" in refused(f"run={runs}/x=1 (한)")
    assert "does not exist either" in refused(f"run={tmp_path}/none/x")
    assert "is not a run: the folder holds no config.yaml" in refused(f"run={runs}")
    assert "is a file: expected the folder of a run" in refused(f"run={run_folder}/config.yaml")
    assert "there is no such file: did you mean 'config.yaml'?" in refused(f"config={run_folder}/confg.yaml")
    assert "is a folder: expected a file" in refused(f"config={run_folder}")
    assert "give one of the two" in refused(f"run={run_folder}", f"config={run_folder}/config.yaml")
    assert "is given twice" in refused(f"run={run_folder}", "run=other")
    for text in ("a: [", "just text", "- 1\n- 2", ""):
        (tmp_path / "bad.yaml").write_text(text)
        assert "is not a configuration" in refused(f"config={tmp_path}/bad.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00binary")
    assert "is not a configuration" in refused(f"config={tmp_path}/bad.yaml")
    (tmp_path / "bad.yaml").write_text("defaults: [model: tiny]\nseed: 1")
    assert "still to be composed" in refused(f"config={tmp_path}/bad.yaml")


def test_a_command_that_takes_no_config_says_so(refused, run_folder):
    assert "unknown setting 'config'" in refused(f"config={run_folder}/config.yaml", name="eval")


class TestSeveralRuns:
    """`run=[A,B]`: each run's own configuration, the same overrides for all."""

    @pytest.fixture
    def runs(self, tmp_path: Path) -> tuple[Path, Path]:
        first, second = tmp_path / "runs" / "x=1 (한글)", tmp_path / "runs" / "007"  # no number, whatever the grammar
        second.mkdir(parents=True)
        first.mkdir()
        write_config(SAVED, first / "config.yaml")
        write_config({**SAVED, "seed": 6, "trainer": {"max_epochs": 9}}, second / "config.yaml")
        return first, second

    def test_each_has_its_own_configuration_with_the_same_overrides(self, bench, runs, monkeypatch):
        monkeypatch.chdir(runs[1].parent)
        assert bench.run("run=[x=1 (한글), 007]", "split=test", "trainer.max_epochs=3", "out=o", name="eval") == 0
        first, second = bench.context.runs
        assert (first.folder, second.folder) == runs
        assert [run.config["seed"] for run in (first, second)] == [5, 6]
        assert [run.config["trainer"] for run in (first, second)] == [
            {"max_epochs": 3, "devices": 1}, {"max_epochs": 3}
        ]  # fmt: skip
        assert first.config == bench.config
        assert all(run.config["split"] == "test" and run.config["plan"] == {"stride": 2} for run in (first, second))
        assert first.config.keys() == second.config.keys()
        assert (first.saved, second.saved["trainer"]) == (SAVED, {"max_epochs": 9})

    def test_a_path_with_a_comma_is_quoted_in_a_list(self, bench, refused, run_folder, runs):
        parent = run_folder.parent
        hint = refused(f"run={parent}", name="eval").partition("it holds runs: ")[2]
        assert hint == f"run=['{run_folder}']"
        assert bench.run(hint.replace("]", f",{runs[1]}]"), "out=o", name="eval") == 0
        assert [run.folder for run in bench.context.runs] == [run_folder, runs[1]]

    def test_one_run_is_a_list_of_one(self, bench, run_folder):
        assert bench.run(f"run={run_folder}", "seed=8", name="eval") == 0
        (run,) = bench.context.runs
        assert (run.config["seed"], run.saved["seed"]) == (8, 5)

    def test_what_is_no_list_of_runs_is_refused(self, refused, runs):
        first, second = runs
        assert f"several runs are a list: run=[{second},{second}]" in refused(f"run={second},{second}", name="eval")
        assert f"it holds runs: run=[{second},{first}]" in refused(f"run={first.parent}", name="eval")
        assert "names 2 runs: train takes one" in refused(f"run=[{first},{second}]")
        assert "would count twice" in refused(f"run=[{first},{first}/]", name="eval")
        assert "there is no such folder: did you mean '007'" in refused(f"run=[{first},{second}1]", name="eval")
        assert "expected a folder, or a list of folders" in refused("run=[{a: 1}", name="eval")
        assert "--multirun goes with one run" in refused(
            "--multirun", f"run=[{first},{second}]", "split=a,b", name="eval"
        )
        assert "--cfg goes with one run" in refused(f"run=[{first},{second}]", "--cfg", "job", name="eval")

    def test_an_override_that_one_run_does_not_have_names_the_run(self, refused, runs):
        first, second = runs
        assert f"run {second}: unknown setting 'trainer.devices'" in refused(
            f"run=[{first},{second}]", "trainer.devices=2", name="eval"
        )
