"""Files that must not be used: each is one line and exit code 2, nothing is executed, nothing is imported.

What cannot be read, or wants to be run, writes nothing. What can be read and is wrong is described by `inspect` all the
same, and refused by `import`.
"""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.policy import Policy
from mobile_vla.settings.conf_folder import find_conf_folder
from tests.checkpoints.foreign import LIGHTNING, lab_state
from tests.cli.small_training import run

ARCHITECTURE = yaml.safe_load((find_conf_folder() / "model" / "tiny.yaml").read_text())["architecture"]
SETTINGS = (
    "model=tiny",
    "trainer=cpu",
    "model.layout=robovlms",
    "model.preprocessing=clip",
    "model.lora.alpha=8",
    "data.components=[linear_x,linear_y]",
)
WORDS = {"inspect": (), "import": SETTINGS, "doctor": SETTINGS}


class Command:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch '{self.file}'",)


@pytest.fixture(scope="module")
def lab() -> dict[str, Tensor]:
    """The tensors of a file of the lab's form that is as it should be."""
    torch.manual_seed(0)
    head = LSTMDecoderConfig(hidden=8, layers=2, mlp=(8,))
    config = Kosmos2ModelConfig(weights="random", architecture=ARCHITECTURE, lora=AdapterConfig(r=4), head=head)
    policy = Policy.build(config, open_source(config), 10, 2, torch.float32)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return lab_state(policy)


@pytest.fixture(scope="module")
def bad(lab, tmp_path_factory) -> SimpleNamespace:
    """Files that cannot be read or must not be; proof: what appears where one of them was run."""
    root = tmp_path_factory.mktemp("bad")
    proof = root / "proof"
    whole = {"state_dict": lab, **LIGHTNING}
    torch.save(whole, root / "whole.ckpt")
    content = (root / "whole.ckpt").read_bytes()
    (root / "truncated.ckpt").write_bytes(content[: len(content) // 2])
    save_file({name: weight.clone() for name, weight in lab.items()}, root / "whole.safetensors")
    content = (root / "whole.safetensors").read_bytes()
    (root / "truncated.safetensors").write_bytes(content[:-1000])
    torch.save({"state_dict": {"a": torch.zeros(1_000_000)}}, root / "zeros.pt")
    with (
        zipfile.ZipFile(root / "zeros.pt") as plain,
        zipfile.ZipFile(root / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for record in plain.infolist():
            packed.writestr(record.filename, plain.read(record))
    (root / "text.ckpt").write_text("epoch 3: loss 0.013\n")
    torch.save({**whole, "callbacks": Command(proof)}, root / "command.ckpt")
    (root / "pickle.pt").write_bytes(pickle.dumps(Command(proof)))
    (root / "shards").mkdir()
    index = {"weight_map": {"a": "../whole.safetensors"}}
    (root / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    return SimpleNamespace(root=root, proof=proof)


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def told(capsys) -> str:
    """The one line of a mistake, the last on stderr."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("mobile-vla: error: ")
    assert sum("error" in line for line in lines) == 1
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("truncated.ckpt", "is damaged or was cut off"),
        ("truncated.safetensors", "is damaged or was cut off"),
        ("bomb.pt", "it would unfold beyond measure"),
        ("text.ckpt", "no checkpoint (it begins with b'epoch 3: los')"),
        ("command.ckpt", "loading it would import posix.system, which can run anything; nothing was loaded"),
        ("pickle.pt", "loading it would import posix.system, which can run anything; nothing was loaded"),
        ("shards", "names a file outside its folder"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_leaves_no_trace(bad, work, name, message, capsys):
    before = sorted(bad.root.rglob("*"))
    for command, words in WORDS.items():
        assert run(command, f"path={bad.root / name}", *words) == 2, command
        line = told(capsys)
        assert message in line, command
        assert ("trust=true" in line) == ("posix.system" in line)
    assert list(work.iterdir()) == []
    assert sorted(bad.root.rglob("*")) == before
    assert not bad.proof.exists()


def set_nan(state: dict[str, Tensor]) -> None:
    state["model.act_head.rnn.weight_hh_l1"].view(-1)[3] = torch.nan


def cut_shape(state: dict[str, Tensor]) -> None:
    state["model.act_head.rnn.bias_hh_l1"] = state["model.act_head.rnn.bias_hh_l1"][:-1].clone()


def drop_half_of_an_adapter(state: dict[str, Tensor]) -> None:
    for name in [name for name in state if "layers.1.ffn.fc1.lora_B" in name]:
        del state[name]


def drop_half_of_the_backbone(state: dict[str, Tensor]) -> None:
    for name in [name for name in state if "vision_model" in name]:
        del state[name]


def change_a_copy(state: dict[str, Tensor]) -> None:
    name = next(name for name in state if name.startswith("model.model.") and "lora_B" in name)
    state[name] = state[name] + 1


@pytest.mark.parametrize(
    ("damage", "inspected", "imported"),
    [
        (set_nan, "hold NaN or infinity: model.act_head.rnn.weight_hh_l1 has 1", "hold NaN or infinity"),
        (
            cut_shape,
            "head.rnn.bias_hh_l1 is (31,), expected (32,)",
            "bias_hh_l1 has shape (31,), this model's has (32,)",
        ),
        (
            drop_half_of_an_adapter,
            "1 weights are missing of parts that are there",
            "1 of the adapters' weights are not",
        ),
        (drop_half_of_the_backbone, "weights are missing of parts that are there: ", "are not there"),
        (change_a_copy, "twice with different values", "twice with different values"),
    ],
)
def test_what_is_wrong_is_described_and_never_imported(
    lab, work, tmp_path, capsys, damage: Callable[[dict], None], inspected: str, imported: str
):
    state = {name: weight.clone() for name, weight in lab.items()}
    damage(state)
    torch.save({"state_dict": state, **LIGHTNING}, tmp_path / "a.ckpt")
    assert run("inspect", f"path={tmp_path / 'a.ckpt'}", f"out={tmp_path / 'there'}") == 2
    line = told(capsys)
    assert inspected in line
    found = json.loads((tmp_path / "there" / "inspect.json").read_text())
    assert (found["tensors"], found["components"]["action_token"]["unique"]) == (len(state), 128)
    assert len(found["faults"]) == 1
    assert found["faults"][0] in line
    assert run("import", f"path={tmp_path / 'a.ckpt'}", *SETTINGS) == 2
    assert imported in told(capsys)
    assert list(work.iterdir()) == []


def test_the_same_file_undamaged_is_taken(bad, tmp_path):
    assert run("inspect", f"path={bad.root / 'whole.ckpt'}", f"out={tmp_path / 'there'}") == 0
    assert run("import", f"path={bad.root / 'whole.ckpt'}", *SETTINGS, f"out={tmp_path / 'run'}") == 0
