"""An exported policy is the same policy to someone who has torch, transformers, peft and safetensors alone."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mobile_vla.checkpoints.card import CardFacts, render_card
from mobile_vla.checkpoints.portable import write_portable
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.heads.bins import BinsConfig
from mobile_vla.models.heads.flow import FlowConfig
from mobile_vla.models.heads.mlp import MLPConfig
from mobile_vla.models.policy import Policy
from mobile_vla.models.stepper import PolicyStepper

LOADING = Path(__file__).with_name("plain_loading.py")
INSTRUCTIONS = ("go left", "go past the box on the right side and stop")
FACTS = CardFacts(
    title="x",
    backbone="Kosmos-2",
    transformers=("Kosmos2Model", Kosmos2ModelConfig.family.image_code),
    data=["Episodes: 3."],
    metrics=None,
    license=None,
    data_license=None,
)
CASES = {
    "robovlms": {},
    "kosmos2": {"layout": "kosmos2", "lora": {"preset": "text", "layers": "last:1"}},
    "legacy": {"layout": "legacy", "preprocessing": "unit"},
    "dora": {"lora": {"dora": True}},
    "rslora": {"lora": {"rslora": True}},
    "none": {"lora": {"preset": "none"}},
    "full": {"lora": {"preset": "full"}},
    "mlp": {"head": MLPConfig(hidden=(24, 16))},
    "mlp_history": {"head": MLPConfig(hidden=(24,), history=3, output="linear")},
    "mlp_longer_history": {"head": MLPConfig(hidden=(24,), history=5)},
    "bins": {"head": BinsConfig(hidden=16, layers=2, mlp=(24,), number=5)},
    "bins_mode": {"head": BinsConfig(hidden=16, layers=1, mlp=(24,), values=((-1, 0.5), (-1, 0, 1)), decode="mode")},
    "flow": {"head": FlowConfig(hidden=16, layers=2, mlp=(24, 16), steps=4, spread=0)},
}
MERGED = ("robovlms", "dora")
SIZE = (37, 50)  # frames are resized


def stir(policy: Policy) -> Policy:
    """All that is trained is elsewhere than where it began."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in policy.trained().values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    return policy


@torch.no_grad()
def ours(policy: Policy, frames: torch.Tensor, space) -> tuple[np.ndarray, np.ndarray]:
    """Contexts of every frame under each instruction, and the chunk at the last frame under the first."""
    prompter = Prompter(open_source(policy.backbone.config).tokenizer, policy.backbone.config.prompt)
    ids, mask = prompter(list(INSTRUCTIONS))
    pixels = policy.preprocessing(policy.preprocessing.resize(frames))
    tokens = policy.backbone.image_tokens(pixels)
    pair_text, pair_frame = torch.tensor([(t, f) for t in range(2) for f in range(len(frames))]).unbind(1)
    contexts = policy.backbone.decode(tokens, ids, mask, pair_frame, pair_text)
    stepper = PolicyStepper(policy, prompter, space, window=8)
    stepper.reset(INSTRUCTIONS[0])
    for frame in frames:
        chunk = stepper.step(frame)
    return contexts.numpy(), chunk.numpy()


@pytest.fixture(scope="module")
def exported(maker, tmp_path_factory) -> dict[str, SimpleNamespace]:
    """Every case, written here and computed there."""
    root = tmp_path_factory.mktemp("exported")
    frames = torch.randint(0, 256, (3, *SIZE, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    found = {}
    for name, settings in CASES.items():
        policy = stir(maker.make_policy(**settings))
        folder = root / name
        folder.mkdir()
        contexts, chunk = ours(policy, frames, maker.space)
        about = write_portable(
            policy, open_source(policy.backbone.config), maker.space, 3, {"run": RUN}, folder, merge=name in MERGED
        )
        (folder / "README.md").write_text(render_card(about, FACTS), encoding="utf-8")
        np.save(folder / "frames.npy", frames.numpy())
        found[name] = SimpleNamespace(folder=folder, policy=policy, contexts=contexts, chunk=chunk, about=about)
    command = [sys.executable, str(LOADING), json.dumps(INSTRUCTIONS), *(str(case.folder) for case in found.values())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return found


RUN = {"name": "a", "checkpoint": "last.ckpt", "epoch": 1, "step": 3}


@pytest.mark.parametrize("name", CASES)
def test_contexts_and_actions_without_this_package(exported, name):
    case = exported[name]
    there = np.load(case.folder / "contexts.npy")
    assert np.abs(case.contexts).max() > 0.5
    np.testing.assert_allclose(there, case.contexts, atol=1e-5)
    np.testing.assert_allclose(np.load(case.folder / "chunk.npy"), case.chunk, atol=1e-5)


@pytest.mark.parametrize("name", MERGED)
def test_merged_equals_unmerged(exported, name):
    case = exported[name]
    np.testing.assert_allclose(np.load(case.folder / "by_merged.npy"), case.contexts, atol=1e-5)
    merged = load_file(case.folder / "merged" / "model.safetensors")
    base = load_file(case.folder / "base" / "model.safetensors")
    assert merged.keys() == base.keys()
    assert not any("lora" in key or "base_layer" in key for key in merged)
    assert any(not torch.equal(merged[key], base[key]) for key in merged), "nothing was merged"


def test_the_base_beside_is_the_one_before_adapters(exported, maker):
    """Merging happens in place: the base must have been written before."""
    base = load_file(exported["robovlms"].folder / "base" / "model.safetensors")
    bare = maker.make_policy(lora={"preset": "none"}).backbone.model
    assert all(torch.equal(base[name], weight) for name, weight in bare.named_parameters())


def test_adapters_are_named_as_peft_names_them(exported):
    state = load_file(exported["robovlms"].folder / "adapter_model.safetensors")
    ours = [name for name in exported["robovlms"].policy.trained() if ".lora_" in name]
    assert len(state) == len(ours)
    assert all(name.startswith("base_model.model.") and ".default." not in name for name in state)
    config = json.loads((exported["robovlms"].folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 8, 16)


def test_what_is_trained_as_a_whole_goes_along(exported):
    folder = exported["full"].folder
    base = load_file(folder / "base" / "model.safetensors")
    for name, weight in exported["full"].policy.backbone.model.named_parameters():
        assert torch.equal(base[name], weight), name
    assert not (folder / "adapter_config.json").exists()


def test_a_reader_learns_what_the_numbers_mean(exported, maker):
    known = json.loads((exported["legacy"].folder / "head.json").read_text())
    assert known["actions"]["components"] == list(maker.space.components)
    assert (known["actions"]["low"], known["actions"]["high"]) == ([-0.25, -1.0], [1.15, 0.5])
    assert known["sequence"]["layout"] == "legacy"
    assert known["preprocessing"]["mean"] == [0, 0, 0]
    assert (known["head"]["chunk"], known["head"]["window"], known["head"]["layers"]) == (3, 3, 2)
    card = (exported["legacy"].folder / "README.md").read_text()
    assert "not stated" in card
    assert "not evaluated" in card


@pytest.mark.slow
def test_in_an_environment_that_never_had_this_package(exported, tmp_path):
    """Only torch, transformers, peft and safetensors, in the versions of here."""
    libraries = [
        f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "transformers", "peft", "safetensors")
    ]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    python = tmp_path / "fresh" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *libraries], check=True)
    case = exported["robovlms"]
    (case.folder / "contexts.npy").unlink()
    subprocess.run([python, LOADING, json.dumps(INSTRUCTIONS), case.folder], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(case.folder / "contexts.npy"), case.contexts, atol=1e-5)
