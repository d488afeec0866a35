"""`mobile-vla inspect` from the command line to its json: files of every kind, and configurations."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mobile_vla.checkpoints.files import save
from mobile_vla.checkpoints.trained import metadata, trained_state
from mobile_vla.cli.main import main
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.policy import Policy
from mobile_vla.models.skeleton import build_skeleton
from mobile_vla.settings.conf_folder import find_conf_folder
from tests.checkpoints.conftest import SPACE
from tests.checkpoints.foreign import lab_state, write_adapter, write_lightning

ARCHITECTURE = yaml.safe_load((find_conf_folder() / "model" / "tiny.yaml").read_text())["architecture"]
MODEL = {"weights": "random", "architecture": ARCHITECTURE, "lora": {"r": 4}, "head": {"hidden": 32, "mlp": [16]}}


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    head = LSTMDecoderConfig(hidden=32, mlp=(16,))
    config = Kosmos2ModelConfig(weights="random", architecture=ARCHITECTURE, lora=AdapterConfig(r=4), head=head)
    policy = Policy.build(config, open_source(config), 10, 2, torch.float32)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    return policy


def write_run(policy: Policy, folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    for name, epoch in (("epoch=000-val_loss=0.5.ckpt", 0), ("epoch=001-val_loss=0.25.ckpt", 1), ("last.ckpt", 2)):
        known = metadata(policy, SPACE, {"model": MODEL, "data": {"chunk": 10}})
        content = {"state_dict": trained_state(policy), "mobile_vla": known, "epoch": epoch, "global_step": 5 * epoch}
        save({**content, "optimizer_states": [{"state": torch.ones(9)}]}, folder / "checkpoints" / name)
    return folder


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", *words])
    return stopped.value.code


def inspect(*words: str) -> dict:
    assert run(*words, "out=there") == 0
    return json.loads(Path("there/inspect.json").read_text())


def test_a_runs_folder_is_its_best_checkpoint(policy, tmp_path, capsys):
    found = inspect(f"path={write_run(policy, tmp_path / 'run')}")
    captured = capsys.readouterr().out
    assert captured.splitlines()[-1] == str(Path.cwd() / "there")
    assert (found["schema"], found["format"], found["epoch"], found["global_step"]) == (1, "mobile_vla", 1, 5)
    trained = policy.num_parameters()["trainable"]
    assert found["parameters"] == {"listed": trained, "unique": trained}
    assert set(found["components"]) == {"lora", "action_head", "action_token"}
    assert found["dtypes"] == {"float32": found["tensors"]}
    assert found["others"] == ["epoch=000-val_loss=0.5.ckpt", "last.ckpt"]
    assert found["files"] == ["epoch=001-val_loss=0.25.ckpt"]
    assert found["fits"]["exact"]
    assert found["fits"]["model"] == "its own configuration"
    assert found["fits"]["absent"] == ["projection", "text", "vision"]
    assert found["faults"] == []
    assert f"{trained:,} unique" in captured
    alone = inspect_again(f"path={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}")
    assert (alone["epoch"], alone["others"]) == (2, [])


def inspect_again(*words: str) -> dict:
    assert run(*words, "out=again") == 0
    return json.loads(Path("again/inspect.json").read_text())


def test_the_labs_checkpoint(policy, tmp_path, capsys):
    found = inspect(f"path={write_lightning(policy, tmp_path / '체크포인트 (1), a=b.ckpt')}")
    total = policy.num_parameters()["total"]
    assert found["format"] == "lightning"
    assert found["parameters"]["unique"] == total
    assert found["parameters"]["listed"] == sum(weight.numel() for weight in lab_state(policy).values())
    assert sum(part["unique"] for part in found["components"].values()) == total
    assert {(twice["kind"], twice["told_by"]) for twice in found["twice"]} == {
        ("registered", "storage"),
        ("tied", "storage"),
    }
    assert found["fits"]["model"] == "tiny"
    assert found["fits"]["head_outputs"] == 20
    told = " ".join(capsys.readouterr().out.split())
    assert "saved under two names" in told
    assert "tied to the embeddings" in told
    assert found["bytes"] == os.path.getsize(tmp_path / "체크포인트 (1), a=b.ckpt")


def test_two_files_are_compared(policy, tmp_path, capsys):
    state = {name: weight.detach().clone() for name, weight in policy.trained().items()}
    state["head.rnn.bias_hh_l0"] *= 1.5
    torch.save({"state_dict": state, "mobile_vla": {"schema": 1}}, tmp_path / "b.ckpt")
    words = (f"path={write_run(policy, tmp_path / 'run')}", f"against={tmp_path / 'b.ckpt'}")
    found = inspect(*words)["against"]
    assert found["most_moved"][0]["name"] == "head.rnn.bias_hh_l0"
    assert found["most_moved"][0]["relative"] == pytest.approx(0.5, rel=1e-5)
    assert found["components"]["lora"]["changed"] == 0
    assert found["components"]["lora"]["relative"] == 0
    assert "1 changed" in capsys.readouterr().out


def test_what_is_wrong_is_described_and_then_an_error(policy, tmp_path, capsys):
    state = lab_state(policy)
    state["model.action_token"] = torch.full_like(state["model.action_token"], float("nan"))
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    assert run(f"path={tmp_path / 'a.pt'}", "out=there") == 2
    found = json.loads(Path("there/inspect.json").read_text())
    assert found["not_finite"] == {"model.action_token": 128}
    assert len(found["faults"]) == 1
    captured = capsys.readouterr()
    assert "▸ fault" in captured.out
    assert captured.out.splitlines()[-1] == str(Path.cwd() / "there")
    assert captured.err.splitlines()[-1].startswith(
        f"mobile-vla: error: path={tmp_path / 'a.pt'}: {found['faults'][0]}; "
    )


def test_a_configuration_before_anything_is_made(capsys):
    found = inspect("model=kosmos2", "model/lora=all", "step.batch_size=1")
    assert found["format"] == "configuration"
    assert found["trainable"] == 43_089_920 + 12_737_300 + 2_048
    assert found["parameters"] == {"listed": 1_720_314_644, "unique": 1_720_314_644}
    assert found["components"]["vision"]["unique"] == 303_179_776
    assert found["components"]["lora"] == {"tensors": 586, "listed": 43_089_920, "unique": 43_089_920}
    (memory,) = found["memory"]
    parts = ("weights", "gradients", "optimizer", "activations", "overhead")
    assert memory["total"] == sum(memory[part] for part in parts)
    assert memory["frames"] == 8
    assert memory["gradients"] == 4 * found["trainable"]
    assert memory["optimizer"] == 8 * found["trainable"]
    buffers = memory["weights"] - found["bytes"]
    assert found["bytes"] == 2 * 1_664_485_376 + 4 * found["trainable"]
    assert 0 <= buffers < 100e6
    assert {int(card): fits for card, fits in memory["fits_gb"].items()} == {
        card: memory["total"] <= card * 2**30 for card in (8, 12, 16, 24, 80)
    }
    assert "estimated" in capsys.readouterr().out


@pytest.mark.slow
def test_settings_reach_the_estimate():
    def memory(*words: str, out: str) -> list[dict]:
        assert run("model=tiny", *words, f"out={out}") == 0
        return json.loads((Path(out) / "inspect.json").read_text())["memory"]

    usual = memory("step.batch_size=4", out="a")
    assert [taken["frames"] for taken in usual] == [11, 32]
    assert usual[0]["activations"] < usual[1]["activations"]
    more = memory("step.batch_size=1", "precision=32-true", "model/lora=full", out="b")  # one estimate of seconds
    assert more[0]["optimizer"] > usual[0]["optimizer"]
    assert more[0]["weights"] > usual[0]["weights"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "missing setting 'path'"),
        (("path={tmp}/none.ckpt",), "no such file"),
        (("path={tmp}/adapter", "against={tmp}/text.ckpt"), "no checkpoint"),
        (("path={tmp}/adapter", "model=tiny"), "give one of the two"),
        (("path={tmp}/adapter", "scan=some"), "scan: expected one of"),
        (("model=tiny", "precision=8"), "precision=8: expected one of 32-true"),
        (("model=tiny", "step.window=0"), "step.window must be at least 1"),
        (("model=tiny", "model.lora.layers=last:7"), "does not fit a text decoder of 2 layers"),
        (("model=tiny", "model.architecture.text_config.layer=3"), "layer"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(words, message, policy, tmp_path, work, capsys):
    (tmp_path / "text.ckpt").write_text("epoch 3\n")
    write_adapter(policy, tmp_path / "adapter")
    assert run(*(word.format(tmp=tmp_path) for word in words)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mobile-vla: error: ")
    assert message in last
    assert list(work.iterdir()) == []


@pytest.mark.slow
def test_seven_gigabytes_within_one(tmp_path):
    """The lab's checkpoint at full size: every tensor has its bytes, which were never written (a sparse file)."""
    policy = build_skeleton(Kosmos2ModelConfig(weights="random"), chunk=10, num_components=2)
    from torch._subclasses.fake_tensor import FakeTensorMode

    file = tmp_path / "full.ckpt"
    with FakeTensorMode():
        for module in policy.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[name] = torch.nn.Parameter(torch.empty(weight.shape))
        with torch.serialization.skip_data(materialize_fake_tensors=True):
            write_lightning(policy, file)
    del policy
    assert file.stat().st_size > 6.8e9
    command = [sys.executable, "-m", "mobile_vla", "inspect", f"path={file}", "scan=all", f"out={tmp_path / 'there'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    found = json.loads((tmp_path / "there" / "inspect.json").read_text())
    assert found["parameters"] == {"listed": 3_694_281_492, "unique": 1_720_314_644}
    assert found["scanned"] == 1496
    assert peak < 1e9, f"{peak / 1e9:.2f} GB"
