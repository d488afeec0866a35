"""A run goes out, comes back and is used like any other: the same numbers, and what is not known is said."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from mobile_vla.analysis.places import find_subject
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli.test_eval import WORDS, run


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[Path, Path, str]:
    """Episodes to train on, others, and where frames are packed."""
    root = tmp_path_factory.mktemp("data")
    for name, number, seed in (("mine", 20, 0), ("others", 6, 5)):
        write_episodes(SynthConfig(episodes=number, frames=10, resolution=(27, 48), workers=1, seed=seed), root / name)
    return root / "mine", root / "others", f"data.pack_dir={root / 'pack'}"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    words = (*WORDS, f"data.root={data[0]}", data[2], "optimization.lr=1e-2", "trainer.max_epochs=1")
    assert run("train", *words, f"out={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "policy"
    assert run("export", f"run={trained}", f"out={out}", "license=apache-2.0") == 0
    return out


@pytest.fixture(scope="module")
def imported(exported, data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "run"
    words = ("trainer=cpu", "trainer.enable_progress_bar=false", data[2])
    assert run("import", f"path={exported}", *words, f"out={out}") == 0
    return out


@pytest.fixture(scope="module")
def judged(trained, imported, data, tmp_path_factory) -> tuple[dict, dict]:
    """The run and what came back, on the same other episodes."""
    out = tmp_path_factory.mktemp("judged")
    for name, folder in (("own", trained), ("back", imported)):
        assert run("eval", f"run={folder}", f"data.root={data[1]}", data[2], f"out={out / name}") == 0
    return read(out / "own", "eval"), read(out / "back", "eval")


def test_the_card_says_what_these_weights_are_worth(trained, exported):
    card = (exported / "README.md").read_text()
    found = read(trained, "train")
    assert f"| loss (Huber, normalised units) | {found['val_loss']:.4g} |" in card
    for name, loss in found["baselines"].items():
        assert f"| baseline {name.replace('_', ' ')} | {loss:.4g} |" in card
    counts = found["denominators"]
    assert f"Over {counts['episodes']} validation episodes, {counts['windows']} windows" in card
    assert "license: apache-2.0" in card
    assert "licence of the training data | not stated" in card
    assert str(trained) not in card, "no place on this machine leaves with it"
    assert str(trained) not in (exported / "head.json").read_text()


def test_numbers_of_other_weights_are_not_quoted(trained, judged, data, tmp_path, capsys):
    out = tmp_path / "last"
    copy = shutil.copytree(trained, tmp_path / "copy")
    best = read(trained, "train")["checkpoint"]
    assert run("export", f"run={copy}", "checkpoint=last", f"out={out}") == 0
    assert "These weights were not evaluated" in (out / "README.md").read_text()
    assert Path(best).name not in (out / "README.md").read_text()
    assert run("eval", f"run={copy}", "checkpoint=last", f"data.root={data[1]}", data[2], f"out={tmp_path / 'e'}") == 0
    capsys.readouterr()
    assert run("export", f"run={copy}", f"evaluation={tmp_path / 'e'}", f"out={tmp_path / 'no'}") == 2
    assert "is of another checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    words = ("checkpoint=last", "merge=true", f"evaluation={tmp_path / 'e'}")
    assert run("export", f"run={copy}", *words, f"out={tmp_path / 'yes'}") == 0
    card = (tmp_path / "yes" / "README.md").read_text()
    assert f"| {read(tmp_path / 'e', 'eval')['loss']:.4g} |" in card
    assert (tmp_path / "yes" / "merged" / "model.safetensors").is_file()


def test_what_comes_back_scores_the_same(judged):
    own, back = judged
    assert back["loss"] == pytest.approx(own["loss"], rel=1e-6)
    assert back["rmse"] == pytest.approx(own["rmse"], rel=1e-6)
    # Not the effects: who lends whom an image hangs on what instructions mean, of which the run knows more.
    for mine, its in zip(back["by_horizon"], own["by_horizon"], strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], rel=1e-6)


def test_eval_says_that_its_training_is_unknown(judged):
    back = judged[1]
    assert any("not known here what those were trained on" in line for line in back["warnings"])
    assert back["baselines"] == {}
    assert "not known what it was trained on" in back["reasons"]["baselines"]
    assert not any("not known" in line for line in judged[0]["warnings"])


def test_episodes_and_parts_are_asked_for(imported, data, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("eval", f"run={imported}") == 2
    assert "missing setting 'data.root'" in capsys.readouterr().err
    assert run("probe", f"run={imported}", f"data.root={data[1]}", "split=validation") == 2
    assert "has no split of its own" in capsys.readouterr().err


def test_probe_and_inspect_take_it(imported, data, tmp_path):
    words = (f"data.root={data[1]}", data[2], "probe.plan.episodes=2", "probe.plan.progress=[0.5]")
    assert run("probe", f"run={imported}", *words, f"out={tmp_path / 'probe'}") == 0
    found = read(tmp_path / "probe", "probe")
    assert (found["rows"], found["parts"], found["trained"]) == (2, {"other": 2}, True)
    assert run("inspect", f"path={imported}", f"out={tmp_path / 'inspect'}") == 0
    assert read(tmp_path / "inspect", "inspect")["format"] == "mobile_vla"


def test_training_goes_on_from_its_weights(imported, data, tmp_path, judged):
    """The first loss is that of the imported weights, not of a fresh head; later it is a run like any other."""
    folder = Path(shutil.copytree(imported, tmp_path / "run"))
    words = (data[2], "callbacks.figures=null", "data.batch_size=4", "data.split.test=0", "data.split.validation=0.34")
    tiny = ("optimization.lr=1e-9", "trainer.max_epochs=1")
    assert run("train", f"run={folder}", f"data.root={data[1]}", *words, *tiny) == 0
    found = read(folder, "train")
    assert found["val_loss"] == pytest.approx(judged[1]["loss"], rel=0.5)
    assert sum(read(folder, "split")["counts"].values()) == 6
    weights = torch.load(found["checkpoint"], weights_only=True)["state_dict"]
    before = torch.load(imported / "checkpoints" / "imported.ckpt", weights_only=True)["state_dict"]
    assert all(torch.allclose(weights[name], before[name], atol=1e-6) for name in before)
    assert run("train", f"run={folder}", "trainer.max_epochs=2") == 0
    assert run("eval", f"run={folder}", f"out={tmp_path / 'eval'}") == 0
    assert any("began as" in line for line in read(tmp_path / "eval", "eval")["warnings"])


def test_repeating_begins_with_the_same_weights(imported, data, tmp_path):
    words = (
        f"data.root={data[1]}",
        data[2],
        "callbacks.figures=null",
        "trainer.max_epochs=1",
        "data.split.validation=0.34",
    )
    assert run("train", f"config={imported / 'config.yaml'}", *words, f"out={tmp_path / 'again'}") == 0
    content = torch.load(tmp_path / "again" / "checkpoints" / "last.ckpt", weights_only=True)
    before = torch.load(imported / "checkpoints" / "imported.ckpt", weights_only=True)
    assert content["mobile_vla"]["start_fingerprint"] == before["mobile_vla"]["start_fingerprint"]


def test_a_training_can_begin_with_it(imported, data, tmp_path):
    """`start=` and the model's own settings: the same first weights as the imported run's."""
    file = imported / "checkpoints" / "imported.ckpt"
    known = yaml.safe_load((imported / "config.yaml").read_text())
    model = (f"model.weights={known['model']['weights']}", "model.lora.r=4", "model.lora.dropout=0.0")
    head = ("model.head.hidden=16", "model.head.layers=2", "model.head.mlp=[16]")
    words = (f"data.root={data[1]}", data[2], "data.split.validation=0.34", "callbacks.figures=null", "trainer=cpu")
    more = ("model=kosmos2", "data=synthetic", "trainer.max_steps=1", f"start={file}", f"out={tmp_path / 'on'}")
    assert run("train", *more, *model, *head, *words) == 0
    content = torch.load(tmp_path / "on" / "checkpoints" / "last.ckpt", weights_only=True)
    before = torch.load(file, weights_only=True)
    assert content["mobile_vla"]["start_fingerprint"] == before["mobile_vla"]["start_fingerprint"]


def test_doctor_takes_it(imported, tmp_path):
    """Without episodes of its own."""
    assert run("doctor", f"run={imported}", f"out={tmp_path / 'doctor'}") == 0
    found = read(tmp_path / "doctor", "doctor")
    assert (found["trained"], found["new"], found["data"]) == (True, [], None)
    assert found["counts"]["error"] == 0


def test_a_fresh_head_is_not_judged(trained, exported, data, tmp_path, capsys):
    """A file without a head: its contexts can be looked into, its answers mean nothing."""
    folder = exported / "base"
    back, probed = tmp_path / "import" / "back", tmp_path / "probe" / "first"
    assert run("import", f"path={folder}", "trainer=cpu", data[2], f"out={back}") == 0
    capsys.readouterr()
    assert run("eval", f"run={back}", f"data.root={data[1]}") == 2
    assert "without an action head" in capsys.readouterr().err
    words = (f"data.root={data[1]}", data[2], "probe.plan.episodes=2", "probe.plan.progress=[0.5]")
    assert run("probe", f"run={back}", *words, f"out={probed}") == 0
    assert read(probed, "probe")["trained"] is False
    assert find_subject(str(back), "left").store.folder == probed / "contexts", "compare left=<the run> takes it"
    assert "data.bounds" not in yaml.safe_load((back / "config.yaml").read_text())


def test_run_and_store_are_two_things(trained, capsys, tmp_path):
    assert run("export", f"run={trained}", "store=x", f"out={tmp_path / 'x'}") == 2
    assert "give one of the two" in capsys.readouterr().err
    assert run("import", f"path={trained}", f"out={tmp_path / 'x'}") == 2
    assert "is a run already" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
