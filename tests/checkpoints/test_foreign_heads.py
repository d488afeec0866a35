"""Which head a file has: what it says itself, or what its shapes mean; never settings of another head."""

import json
from pathlib import Path

import pytest

from mobile_vla.checkpoints.foreign import open_foreign
from mobile_vla.checkpoints.foreign_settings import settle
from mobile_vla.checkpoints.portable import write_portable
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.heads.bins import BinsConfig
from mobile_vla.models.heads.head import HeadConfig
from tests.checkpoints.foreign import write_lightning

RUN = {"run": {"name": "a", "checkpoint": "last.ckpt", "epoch": 1, "step": 3}, "lora": {"preset": "all", "r": 8}}
LSTM = {"name": "lstm", "hidden": 512, "layers": 4, "mlp": [1024, 512, 256], "dropout": 0.0}  # as a command composes it


def export(maker, folder: Path, **settings) -> Path:
    policy = maker.make_policy(**settings)
    folder.mkdir()
    write_portable(policy, open_source(policy.backbone.config), maker.space, 3, RUN, folder, merge=False)
    return folder


def head_of(path: Path, *typed: str) -> dict:
    """The settings of the head that a command finds, which composed those of the default one."""
    values = {"model": {"head": dict(LSTM), "lora": {}}, "data": {"bounds": {}}}
    for word in typed:
        name, _, value = word.partition("=")
        values["model"]["head"][name.removeprefix("model.head.")] = json.loads(value)
    foreign = open_foreign(path)
    foreign.needs.clear()
    return settle(foreign, values, {word.partition("=")[0] for word in typed}, "all")[0]["model"]["head"]


def test_an_export_says_which_head_it_has(maker, tmp_path):
    config = BinsConfig(hidden=16, layers=1, mlp=(24,), values=((-1, 0.5), (-1, 0, 1)))
    found = head_of(export(maker, tmp_path / "a", head=config))
    assert found == json.loads(json.dumps(config.__dict__))
    assert HeadConfig.choose(found) is BinsConfig


def test_what_was_typed_is_meant_for_the_head_of_the_file(maker, tmp_path):
    folder = export(maker, tmp_path / "a", head=BinsConfig(hidden=16, layers=1, mlp=(24,)))
    found = head_of(folder, 'model.head.decode="mode"')
    assert (found["decode"], found["number"], found["hidden"]) == ("mode", 31, 16)


def test_an_export_from_before_there_was_a_choice_has_an_lstm(maker, tmp_path):
    folder = export(maker, tmp_path / "a")
    known = json.loads((folder / "head.json").read_text())
    old = ("what", "input", "hidden", "layers", "mlp", "dropout", "window", "output", "chunk")
    known["head"] = {name: known["head"][name] for name in old}
    (folder / "head.json").write_text(json.dumps(known))
    assert head_of(folder) == {**LSTM, "hidden": 128, "layers": 2, "mlp": [128]}


@pytest.mark.parametrize("composed", ["lstm", "mlp"])
def test_a_file_of_the_labs_has_an_lstm_whatever_was_composed(maker, tmp_path, composed):
    file = write_lightning(maker.make_policy(), tmp_path / "a.ckpt")
    foreign = open_foreign(file)
    foreign.needs.clear()
    head = LSTM if composed == "lstm" else {"name": "mlp", "history": 1, "hidden": [4], "objective": "huber"}
    values = {"model": {"head": head, "lora": {}}, "data": {"bounds": {}, "components": []}}
    found = settle(foreign, values, set(), "all")[0]["model"]["head"]
    assert (found["name"], found["hidden"], found["layers"], found["mlp"]) == ("lstm", 128, 2, [128])
    assert "history" not in found
