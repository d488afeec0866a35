"""Each head from training to closed loop: trained, resumed, probed, examined, evaluated, exported, loaded, imported.

One of them lies outside the package, as `docs/heads.md` tells to write it: a file of its own, and a folder of settings.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import mobile_vla as mv
from mobile_vla.api.policy import LoadedPolicy
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.cli.small_training import SMALL, run

PAGE = Path(__file__).parents[2] / "docs" / "heads.md"
PLAIN = tuple(word for word in SMALL if not word.startswith("model.head."))
WORDS = (
    *PLAIN,
    "callbacks.figures=null",
    "callbacks.effects=null",
    "data.split.validation=0.2",
    "optimization.lr=1e-2",
)
WORDS += ("trainer.log_every_n_steps=1",)
LSTM = ("model.head.hidden=16", "model.head.mlp=[16]")
HEADS = {
    "mlp": ("model/head=mlp", "model.head.hidden=[24]", "model.head.history=2"),
    "bins": ("model/head=bins", *LSTM, "model.head.values=commands"),
    "flow": ("model/head=flow", *LSTM, "model.head.steps=3"),
    "gru": ("model/head=gru", "model.head.size=12"),
}


def read(file: Path) -> dict:
    return json.loads(file.read_text())


def take_example(folder: Path) -> None:
    """The two files of the page's example: the head, and its settings in the user's own folder."""
    blocks = dict(re.findall(r"`([\w/.]+)`:\n\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL))
    for name, text in blocks.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_episodes(SynthConfig(episodes=16, frames=10, resolution=(27, 48), workers=1), folder / "episodes")
    take_example(folder / "mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.syspath_prepend(str(folder / "mine"))
        yield folder


@pytest.fixture(scope="module", params=HEADS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def trained(place, name) -> Path:
    """Two epochs, the second one after an interruption."""
    folder = place / name
    words = (*WORDS, f"data.root={place / 'episodes'}", f"data.pack_dir={place / 'pack'}", *HEADS[name])
    assert (
        run("train", "--config-dir", str(place / "mine" / "conf"), *words, "trainer.max_epochs=1", f"out={folder}") == 0
    )
    assert run("train", f"run={folder}", "trainer.max_epochs=2") == 0
    return folder


def drive(policy: LoadedPolicy, place: Path) -> np.ndarray:
    """Chunks of the first frames of an episode."""
    episode = mv.open_dataset(place / "episodes")[0]
    going = policy.start(episode.instruction)
    return np.stack([going.act(frame) for frame in episode.frames[0:5]])


@pytest.mark.slow
class TestFromTrainingToClosedLoop:
    def test_it_learns_and_says_so(self, trained, name):
        found = read(trained / "train.json")
        assert found["epochs"] == 2
        assert np.isfinite(found["val_loss"])
        lines = (trained / "metrics.csv").read_text().splitlines()
        assert {"train/objective", "val/objective", "train/loss", "val_loss"} <= set(lines[0].split(","))
        values = yaml.safe_load((trained / "config.yaml").read_text())["model"]["head"]
        if name == "bins":
            assert values["values"] == [[-1, 1], [-1, 0, 1]], "the commands of the data, for who has no data"
        assert values["name"] == {"gru": "gru_head:GRUConfig"}.get(name, name)

    def test_it_is_probed_and_evaluated(self, trained, place, name):
        words = ("probe.plan.episodes=3", "probe.taps=[context,head_state]", "probe.variants=[swap]")
        assert run("probe", f"run={trained}", *words, f"out={place / name}-probe") == 0
        store = mv.open_store(place / f"{name}-probe" / "contexts")
        assert store["head_state"].shape[1] > 1
        assert np.isfinite(store.column("predicted")[0]).all()
        assert run("eval", f"run={trained}", f"out={place / name}-eval") == 0
        found = read(place / f"{name}-eval" / "eval.json")
        assert found["loss"] == pytest.approx(read(trained / "train.json")["val_loss"], rel=1e-5)

    def test_the_doctor_finds_nothing_and_inspect_knows_it(self, trained, place, name):
        assert run("doctor", f"run={trained}", f"out={place / name}-doctor") == 0
        assert run("inspect", f"path={trained}", f"out={place / name}-inspect") == 0
        fits = read(place / f"{name}-inspect" / "inspect.json")["fits"]
        assert (fits["model"], fits["exact"], fits["head_outputs"]) == ("its own configuration", True, 20)

    def test_exported_and_loaded_it_acts_the_same(self, trained, place, name):
        assert run("export", f"run={trained}", f"out={place / name}-export") == 0
        assert run("import", f"path={place / name}-export", "trainer=cpu", f"out={place / name}-import") == 0
        own, loaded, imported = (mv.load(place / folder) for folder in (name, f"{name}-export", f"{name}-import"))
        assert loaded.trained
        expected = drive(own, place)
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(drive(loaded, place), expected, atol=1e-4)
        np.testing.assert_allclose(drive(imported, place), expected, atol=1e-4)
        card = (place / f"{name}-export" / "README.md").read_text()
        assert ("from peft" in card) == (name != "gru"), "the package's own are loaded without the package"

    def test_a_resumed_run_is_the_undisturbed_one(self, trained, place, name):
        """To the last bit, whatever is drawn at random."""
        words = ("trainer.max_epochs=2", f"out={place / name}-whole")
        assert run("train", f"config={trained / 'config.yaml'}", *words) == 0
        states = [
            torch.load(next(folder.glob("checkpoints/epoch=001*")), weights_only=True)["state_dict"]
            for folder in (trained, place / f"{name}-whole")
        ]
        assert all(torch.equal(weight, states[1][of]) for of, weight in states[0].items())


def test_a_head_that_cannot_be_imported_is_a_users_mistake(place, capsys):
    words = (*WORDS, f"data.root={place / 'episodes'}", "model.head.name=nowhere:Head")
    assert run("train", *words, f"out={place / 'never'}") == 2
    assert "No module named 'nowhere' (PYTHONPATH" in capsys.readouterr().err
    assert not (place / "never").exists()


def test_commands_that_are_none_are_refused_by_name(place, capsys):
    words = (*WORDS, f"data.root={place / 'episodes'}", f"data.pack_dir={place / 'pack'}", *HEADS["bins"])
    assert run("train", *words, "model.head.values=[[-1,1]]", f"out={place / 'never'}") == 2
    assert "model.head.values: a list for each of 2 components expected, got 1" in capsys.readouterr().err
    assert run("inspect", "model=tiny", "model/head=bins", "model.head.values=commands", f"out={place / 'never'}") == 2
    assert "known once the training episodes are" in capsys.readouterr().err
