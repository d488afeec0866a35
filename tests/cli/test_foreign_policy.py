"""What `doctor path=` examines is what `import` writes: the same policy, in memory, from every format."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import save_file

from mobile_vla.checkpoints.backbone_folder import plain_weights, write_backbone
from mobile_vla.checkpoints.foreign import open_foreign
from mobile_vla.doctor import figures
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.policy import Policy
from mobile_vla.opening.foreign_checks import ACTION_TOKEN
from mobile_vla.opening.importing import Import
from mobile_vla.opening.stored_run import StoredRun
from mobile_vla.settings.typed import build
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from mobile_vla.training.config import TrainConfig
from tests.checkpoints import foreign
from tests.checkpoints.conftest import ARCHITECTURE, CHUNK, make_policy
from tests.cli.small_training import run

LAB = ("model.layout=legacy", "model.preprocessing=unit", "data.components=[linear_x,linear_y]")
HYPERPARAMETERS = {
    "window_size": 4,
    "fwd_pred_next_n": CHUNK,
    "act_head": {"action_dim": 2},
    "train_setup": {"lora_alpha": 16, "lora_dropout": 0.05},
}


def stir(policy: Policy) -> Policy:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in policy.trained().values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.02)
    return policy


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """A base with 64 image tokens, and by format a file that was trained elsewhere."""
    root = tmp_path_factory.mktemp("world")
    architecture = copy.deepcopy(ARCHITECTURE) | {"latent_query_num": 64}
    architecture["text_config"]["init_std"] = 0.15
    bare = make_policy(lora={"preset": "none"}, architecture=architecture)
    source = open_source(bare.backbone.config)
    base = root / "base"
    write_backbone(plain_weights(bare.backbone.model), source, bare.preprocessing, base)
    policy = stir(make_policy(weights=str(base), architecture={}))
    tuned = stir(make_policy(weights=str(base), architecture={}, lora={"preset": "full"}))
    hyperparameters = {"hyper_parameters": {"configs": HYPERPARAMETERS}}
    torch.save({"state_dict": foreign.robovlms_state(tuned)}, root / "robovlms.pt")
    save_file(foreign.transformers_state(tuned), root / "tuned.safetensors")
    files = {
        "lightning": foreign.write_lightning(policy, root / "lab.ckpt", **hyperparameters),
        "robovlms": root / "robovlms.pt",
        "safetensors": root / "tuned.safetensors",
        "transformers": base,
        "peft": foreign.write_adapter(policy, root / "adapter"),
    }
    return SimpleNamespace(root=root, base=base, files=files, words=("trainer=cpu", f"model.weights={base}"))


@pytest.fixture
def examined(world, tmp_path, monkeypatch):
    """What `doctor` says of a format's file; nothing but its own folder is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "save_figures", lambda *_: None)

    def examined(form: str, *words: str) -> dict:
        before = sorted(world.root.rglob("*"))
        assert run("doctor", f"path={world.files[form]}", *world.words, *words, "out=found") == 0
        assert sorted(world.root.rglob("*")) == before
        assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == ["doctor.json"]
        return json.loads((tmp_path / "found" / "doctor.json").read_text())

    return examined


def names(found: dict) -> list[str]:
    return [finding["name"] for finding in found["findings"]]


def test_the_labs_checkpoint_tells_what_it_cannot_read(examined, capsys):
    found = examined("lightning", *LAB)
    by_name = {finding["name"]: finding for finding in found["findings"]}
    assert list(by_name) == ["instruction_not_wired", "image_tokens_not_wired", "missing_mean_std"]
    assert by_name["image_tokens_not_wired"]["numbers"]["tokens"] == list(range(13, 64))
    assert found["sensitivities"]["instruction"] == {"context": 0, "largest_context": 0, "chunk": 0, "largest_chunk": 0}
    assert (found["format"], found["trained"], found["new"], found["layout"]) == ("lightning", True, [], "legacy")
    assert found["settings"]["data.window"] == {"value": 4, "from": "its hyperparameters"}
    printed = capsys.readouterr().out
    assert printed.splitlines()[:2] == ["I" * 64 + "A", "|" * 13 + " " * 51 + "|"]
    assert "context exactly 0" in printed


def test_with_episodes_its_bounds_are_held_against_them(examined, world, tmp_path_factory):
    episodes = tmp_path_factory.mktemp("episodes")
    write_episodes(SynthConfig(episodes=2, frames=8, resolution=(28, 28), workers=1), episodes)
    found = examined("lightning", "model.layout=robovlms", "model.preprocessing=clip", LAB[2], f"data.root={episodes}")
    assert {finding["name"] for finding in found["findings"]} == {"actions_clipped"}
    assert {finding["numbers"]["component"] for finding in found["findings"]} == {"linear_x", "linear_y"}


@pytest.mark.parametrize(
    ("form", "new"),
    [
        ("robovlms", ["action_head", "lora"]),
        ("safetensors", ["action_head", "action_token", "lora"]),
        ("peft", ["action_head", "action_token"]),
    ],
)
def test_what_a_file_lacks_is_said_and_not_blamed(examined, form, new):
    """Adapters that are as they began are no fault of a training that never had any."""
    found = examined(form)
    assert names(found) == []
    assert found["new"] == new
    assert any(f"the file has no {', '.join(new)}" in note for note in found["notes"])


class TestInMemory:
    @pytest.mark.parametrize("form", ["lightning", "robovlms", "safetensors", "transformers", "peft"])
    def test_it_is_the_policy_of_the_imported_run(self, world, form, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        words = (*world.words, *(LAB if form == "lightning" else ()))
        assert run("import", f"path={world.files[form]}", *words, f"out={tmp_path / 'run'}") == 0
        config = build(TrainConfig, yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
        stored = StoredRun.open(tmp_path / "run", config)
        model = {**vars(config.model), "weights": str(world.base)}
        named = type(config)(**{**vars(config), "model": type(config.model)(**model), "start": None})
        found = Import.prepare(open_foreign(world.files[form]), named, "all")
        policy = found.policy()
        written = stored.policy()
        assert dict(written.named_parameters()).keys() == dict(policy.named_parameters()).keys()
        token = (
            {ACTION_TOKEN} if "action_token" in found.new_parts(policy) else set()
        )  # as large as the words of the base that it was drawn beside
        for name, weight in policy.named_parameters():
            assert name in token or torch.equal(written.get_parameter(name), weight), name

    def test_the_run_says_the_same_of_its_new_parts(self, world, tmp_path, monkeypatch):
        """`doctor run=<imported>`: without episodes, and without blaming adapters that no training has seen."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(figures, "save_figures", lambda *_: None)
        words = (*world.words, f"out={tmp_path / 'run'}")
        assert run("import", f"path={world.files['robovlms']}", *words) == 0
        assert run("doctor", f"run={tmp_path / 'run'}", "out=found") == 0
        found = json.loads((tmp_path / "found" / "doctor.json").read_text())
        assert (names(found), found["new"], found["data"]) == ([], ["action_head", "lora"], None)
        assert any("without data.root=<episodes>" in note for note in found["notes"])
