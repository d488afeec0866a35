"""A wrong setting is one line with the right one, exit code 2, and nothing written."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.max_epoch=3"], r"unknown setting 'trainer.max_epoch': did you mean 'trainer.max_epochs'"),
        (["max_epochs=3"], "unknown setting 'max_epochs': did you mean 'trainer.max_epochs'"),
        (["sed=3"], "unknown setting 'sed': did you mean 'seed'"),
        (["trainer.zzz=3"], "unknown setting 'trainer.zzz': 'trainer' has max_epochs, devices, schedule"),
        (["zzzzzz=3"], "unknown setting 'zzzzzz': there are out, name, run, config, seed"),
        (["seed.x=3"], "unknown setting 'seed.x'"),
        (["시드=3"], "unknown setting '시드'"),
        (["trainer..max_epochs=3"], "unknown setting 'trainer..max_epochs': did you mean 'trainer.max_epochs'"),
        (["~sed"], "unknown setting 'sed': did you mean 'seed'"),
        (["confg=x"], "unknown setting 'confg': did you mean 'config'"),
        (["trainer.schedule={warm:3}"], "'trainer.schedule.warm': did you mean 'trainer.schedule.warmup'"),
        (["hydra.swep.dir=x"], "unknown setting 'hydra.swep.dir': did you mean 'hydra.sweep.dir'"),
        (["model=tinny"], r"unknown option 'tinny' of 'model': did you mean 'tiny'\? \(there are big, tiny\)"),
        (["model=3"], r"unknown option '3' of 'model' \(there are big, tiny\)"),
        (["model/lora=txt"], "unknown option 'txt' of 'model/lora': did you mean 'text'"),
        (["model=tiny,big"], "to sweep over 'tiny,big', add --multirun"),
        (["modle=tiny"], "unknown setting 'modle': did you mean 'model'"),
        (["model/lra=text"], "unknown setting 'model/lra': did you mean 'model/lora'"),
        (["unused=a"], r"'unused' is no group of this command \(it has data, experiment, model, model/lora, trainer\)"),
        (["+zzz/yyy=a"], "unknown setting 'zzz/yyy'"),
        (["model.lora=text"], r"write model/lora=text \(there are none, text\)"),
        (["trainer.schedule=cosine"], "'trainer.schedule' holds several settings, not one value: it has warmup, kind"),
        (["seed"], "'seed' is not a setting: expected key=value"),
        (["=3"], "'=3' is not a setting: expected key=value"),
        (["seed=1,2"], "seed=1,2: expected one value like 0; to sweep over several, add --multirun"),
        (["data=elsewhere"], "missing setting 'data.root': give data.root=<value>"),
        (["text=${nowhere}"], "'text': Interpolation key 'nowhere' not found"),
        (["--foo"], "unknown flag '--foo'"),
        (["--multrun", "seed=1,2"], "unknown flag '--multrun': did you mean '--multirun'"),
        (["--experimental-rerun", "x.pickle"], "pickle"),
        (["--config-dir", "nowhere"], "--config-dir=nowhere: there is no such folder"),
        (["--cfg", "job", "--multirun"], "--multirun and --cfg exclude each other"),
        (["--cfg", "job", "--package", "modl"], "--package=modl"),
        (["--multirun", "seed=1,2", "trainer.max_epoch=3"], "did you mean 'trainer.max_epochs'"),
        (["--multirun", "model=tiny,tinny"], "unknown option 'tinny' of 'model'"),
        (["--multirun", "model=tiny,big", "model.tiny_only=3"], "unknown setting 'model.tiny_only'"),
        (["--multirun", "out=a,b"], "a sweep has one out"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_one_line(refused, arguments, message):
    import re

    assert re.search(message if "\\" in message else re.escape(message), refused(*arguments))


def test_a_choice_that_must_be_made_lists_the_options(refused):
    message = refused(name="must")
    assert message == "missing choice of 'model': give model=<one of big, tiny>"


def test_right_arguments_pass(bench):
    overrides = [
        "model=tiny",
        "model/lora=none",
        "model.hidden=16",
        "experiment=quick",
        "trainer.schedule={warmup:3}",
        "+new.setting=4",
        "~text",
        "model.lora.rank=2",
        "data=elsewhere",
        "data.root=here",
    ]
    assert bench.run(*overrides) == 0
    config = bench.config
    assert config["model"] == {"name": "tiny", "hidden": 16, "tiny_only": 1, "lora": {"rank": 2}}
    assert config["seed"] == 7
    assert config["trainer"]["schedule"] == {"warmup": 3, "kind": "cosine"}
    assert config["new"] == {"setting": 4}
    assert "text" not in config
    assert bench.context.overrides == tuple(overrides)


def test_a_mapping_may_be_switched_off_with_null(bench):
    assert bench.run("model.lora=null") == 0
    assert bench.config["model"]["lora"] is None


def test_the_keys_of_an_empty_table_are_the_users(bench):
    assert bench.run("data.table.left=go (left), now", "data.table.왼쪽.x=1") == 2
    assert bench.run("data.table.left=go (left), now", "data.table.a.b=1") == 0
    assert bench.config["data"]["table"] == {"left": "go (left), now", "a": {"b": 1}}
    assert bench.run("data.table={left: go, right: stay}") == 0
    assert bench.config["data"]["table"] == {"left": "go", "right": "stay"}
    assert bench.run("--multirun", "data.table.left=a,b", "out=sweep") == 0
    assert [config["data"]["table"] for config, _ in bench.prepared[-2:]] == [{"left": "a"}, {"left": "b"}]
    assert bench.ran[-1].name == "1_left-b"


def test_hydras_flags_work(bench, capsys, tmp_path):
    assert bench.run("--cfg", "job", "seed=3") == 0
    assert "seed: 3" in capsys.readouterr().out
    assert bench.run("seed=3", "--cfg", "job", "--package", "model.lora") == 0
    assert capsys.readouterr().out == "# @package model.lora\nrank: 4\nalpha: 8\n"
    extra = tmp_path / "extra" / "model"
    extra.mkdir(parents=True)
    (extra / "mine.yaml").write_text("name: mine\n")
    assert bench.run("--config-dir", str(extra.parent), "model=mine", "--cfg", "job", "-p", "model") == 0
    assert "name: mine" in capsys.readouterr().out
    assert bench.run("--cfg", "hydra", "-p", "hydra.runtime.choices") == 0
    assert "model/lora: text" in capsys.readouterr().out
    assert bench.prepared == []
