"""`mobile-vla import`: a run whose contexts are those of the file's weights under transformers and peft alone."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch.nn.functional import interpolate
from transformers import AutoTokenizer, Kosmos2Config, Kosmos2Model

from mobile_vla.checkpoints.backbone_folder import plain_weights, write_backbone
from mobile_vla.checkpoints.portable import write_portable
from mobile_vla.checkpoints.trained import metadata, trained_state
from mobile_vla.cli.main import main
from mobile_vla.core.actions import ActionSpace
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.policy import Policy
from mobile_vla.opening.stored_run import StoredRun
from mobile_vla.settings.typed import build
from mobile_vla.training.config import TrainConfig
from tests.checkpoints import foreign
from tests.checkpoints.conftest import CHUNK, make_policy

TEXTS = ("go left", "go past the box on the right side")
PROMPT = "<grounding>An image of a robot {}"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LAB = (
    "model.layout=robovlms",
    "model.preprocessing=clip",
    "data.components=[linear_x,linear_y]",
    "model.lora.alpha=16",
)
HYPERPARAMETERS = {
    "configs": {
        "window_size": 4,
        "fwd_pred_next_n": CHUNK,
        "act_head": {"action_dim": 2, "window_size": 4},
        "train_setup": {"lora_alpha": 16, "lora_dropout": 0.05, "lora_r": 8},
    }
}


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    return stopped.value.code


def stir(policy: Policy, seed: int = 3) -> Policy:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.trained().values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    return policy


@torch.no_grad()
def plain_contexts(model, tokenizer, token, frames, legacy: bool = False) -> torch.Tensor:
    """The sequence written out with transformers' own parts, one frame and one text at a time."""
    found = []
    mean, std = (
        (torch.tensor(part)[:, None, None] for part in ((0.0,) * 3, (1.0,) * 3) if legacy)
        if legacy
        else (torch.tensor(part)[:, None, None] for part in (MEAN, STD))
    )
    embed = model.get_input_embeddings()
    for text in TEXTS:
        ids = tokenizer(PROMPT.format(text), add_special_tokens=False, return_tensors="pt").input_ids
        for frame in frames:
            mode = "bilinear" if legacy else "bicubic"
            small = interpolate(frame.permute(2, 0, 1)[None], (28, 28), mode=mode, antialias=True)
            image = model.get_image_features((small / 255 - mean) / std).pooler_output
            if legacy:
                n, length = ids.shape[1], image.shape[1]
                sequence = torch.cat([image, embed(ids[:, length:]), token[None, None]], 1)
                mask = torch.ones(1, sequence.shape[1], dtype=torch.long)
                mask[:, n:length] = 0
                position = -1
            else:
                ends = embed(torch.tensor([tokenizer.convert_tokens_to_ids(["<s>", "</s>"])]))
                sequence = torch.cat([ends[:, :1], image, embed(ids), token[None, None], ends[:, 1:]], 1)
                mask, position = torch.ones(1, sequence.shape[1], dtype=torch.long), -2
            states = model.text_model(inputs_embeds=sequence, attention_mask=mask, use_cache=False)
            found.append(states.last_hidden_state[:, position])
    return torch.cat(found)


def open_run(folder: Path) -> StoredRun:
    return StoredRun.open(folder, build(TrainConfig, yaml.safe_load((folder / "config.yaml").read_text())))


@torch.no_grad()
def contexts_of_run(folder: Path, frames: torch.Tensor) -> torch.Tensor:
    """As eval and probe compute them."""
    stored = open_run(folder)
    policy = stored.policy()
    ids, mask = Prompter(stored.source.tokenizer, stored.config.model.prompt)(list(TEXTS))
    tokens = policy.backbone.image_tokens(policy.preprocessing(policy.preprocessing.resize(frames)))
    pair_text, pair_frame = torch.tensor([(t, f) for t in range(2) for f in range(len(frames))]).unbind(1)
    return policy.backbone.decode(tokens, ids, mask, pair_frame, pair_text)


def report(folder: Path) -> dict:
    return json.loads((folder / "import.json").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """base: a transformers folder as the hub has it;  policy: ours on it, with everything that is trained elsewhere."""
    root = tmp_path_factory.mktemp("world")
    bare = make_policy(lora={"preset": "none"})
    source = open_source(bare.backbone.config)
    base = root / "base"
    write_backbone(plain_weights(bare.backbone.model), source, bare.preprocessing, base)
    policy = stir(make_policy(weights=str(base), architecture={}))
    frames = torch.randint(0, 256, (2, 37, 50, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return SimpleNamespace(
        root=root, base=base, policy=policy, frames=frames, tokenizer=AutoTokenizer.from_pretrained(base)
    )


@pytest.fixture
def take(world, tmp_path, monkeypatch):
    """Imports a path on the base; the run's folder."""
    monkeypatch.chdir(tmp_path)

    def take(path: Path, *words: str, base: bool = True) -> Path:
        weights = (f"model.weights={world.base}",) if base else ()
        assert run("import", f"path={path}", "trainer=cpu", f"out={tmp_path / 'run'}", *weights, *words) == 0
        return tmp_path / "run"

    return take


@pytest.fixture
def refused(world, tmp_path, monkeypatch, capsys):
    """Refused in one line, and nothing written."""
    monkeypatch.chdir(tmp_path)

    def refused(path: Path, *words: str, base: bool = True) -> str:
        weights = (f"model.weights={world.base}",) if base else ()
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()  # of what the test itself loaded
        assert run("import", f"path={path}", "trainer=cpu", *weights, *words) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []
        return lines[0]

    return refused


@pytest.fixture(scope="module")
def lab_file(world) -> Path:
    return foreign.write_lightning(world.policy, world.root / "lab.ckpt", hyper_parameters=HYPERPARAMETERS)


def lab_model(world, file: Path) -> Kosmos2Model:
    """The lab's file by peft's own classes: every name must find its place."""
    state = torch.load(file, weights_only=True)["state_dict"]
    tower = {
        name.removeprefix("model.backbone."): weight
        for name, weight in state.items()
        if name.startswith("model.backbone.") and "lm_head" not in name
    }
    adapted = sorted(
        {name.partition(".lora_")[0].removeprefix("base_model.model.") for name in tower if ".lora_" in name}
    )
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=adapted)
    model = get_peft_model(Kosmos2Model(Kosmos2Config.from_pretrained(world.base)), lora)
    model.load_state_dict(tower, strict=True)
    return model.eval().base_model.model


class TestLab:
    def test_its_contexts_are_those_of_its_weights(self, world, lab_file, take):
        found = take(lab_file, *LAB[:-1])
        token = world.policy.backbone.action_token.detach()
        expected = plain_contexts(lab_model(world, lab_file), world.tokenizer, token, world.frames)
        torch.testing.assert_close(contexts_of_run(found, world.frames), expected, atol=1e-5, rtol=0)

    def test_in_the_layout_that_it_was_trained_in(self, world, lab_file, take):
        found = take(lab_file, "model.layout=legacy", "model.preprocessing=unit", LAB[2])
        token = world.policy.backbone.action_token.detach()
        expected = plain_contexts(lab_model(world, lab_file), world.tokenizer, token, world.frames, legacy=True)
        torch.testing.assert_close(contexts_of_run(found, world.frames), expected, atol=1e-5, rtol=0)

    def test_head_and_settings_come_along(self, world, lab_file, take, capsys):
        found = take(lab_file, *LAB[:-1])
        policy, stored = open_run(found).policy(), open_run(found)
        for name, weight in world.policy.head.named_parameters():
            assert torch.equal(policy.head.get_parameter(name), weight), name
        assert (stored.config.data.window, stored.config.data.chunk) == (4, CHUNK)
        assert (stored.config.model.lora.alpha, stored.config.model.lora.dropout) == (16, 0.05)
        assert stored.actions == ActionSpace(components=("linear_x", "linear_y"), low=(-1, -1), high=(1, 1))
        told = report(found)
        assert told["parts"].keys() == {"vision", "text", "projection", "lora", "action_head", "action_token"}
        assert all(part["loaded"] > 0 and part["new"] == 0 for part in told["parts"].values())
        assert told["base"] == {"weights": str(world.base), "stored": False, "fingerprint": told["base"]["fingerprint"]}
        assert told["settings"]["data.window"] == {"value": 4, "from": "its hyperparameters"}
        assert (told["epoch"], told["global_step"]) == (7, 4321)
        assert "not known what it was trained on" in capsys.readouterr().out.replace("\n", " ")

    def test_what_only_its_user_knows_is_asked_for_by_name(self, world, lab_file, refused):
        line = refused(lab_file)
        assert all(f"{name}=<" in line for name in ("model.layout", "model.preprocessing", "data.components"))
        assert "lora.alpha" not in line
        bare = foreign.write_lightning(world.policy, world.root / "bare.ckpt")
        assert "model.lora.alpha=<" in refused(bare, *LAB[:-1])

    @pytest.mark.parametrize("components", ["[linear_x]", "[linear_x,linear_y,angular_z]"])
    def test_a_head_of_another_action_is_refused(self, lab_file, refused, components):
        line = refused(lab_file, *LAB[:2], f"data.components={components}")
        assert "its head puts out 6 numbers (2 components)" in line
        assert "load=backbone" in line

    def test_not_even_where_its_shape_fits_by_accident(self, lab_file, refused):
        line = refused(lab_file, *LAB[:2], "data.components=[linear_x,linear_y,angular_z]", "data.chunk=2")
        assert "its head puts out 6 numbers (2 components)" in line

    def test_backbone_alone_leaves_the_head(self, world, lab_file, take):
        found = take(lab_file, *LAB[:2], "load=backbone", "model.head.hidden=16", "data.components=[linear_x]")
        told = report(found)
        assert (told["parts"]["action_head"]["loaded"], told["parts"]["action_head"]["new"] > 0) == (0, True)
        assert any("act_head" in name for name in told["left"])
        assert open_run(found).policy().head.config.hidden == 16
        token = world.policy.backbone.action_token.detach()
        expected = plain_contexts(lab_model(world, lab_file), world.tokenizer, token, world.frames)
        torch.testing.assert_close(contexts_of_run(found, world.frames), expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("fc1.lora_A.default", "fc1.lora_A.second"), "not part of this model"),
            (("layers.0.ffn.fc1.lora_B", None), "1 of the adapters' weights are not there"),
            (("layers.0.ffn.fc1.lora_", None), "2 of the adapters' weights are not there"),
        ],
    )
    def test_adapters_are_never_drawn_anew_in_silence(self, world, lab_file, refused, change, message):
        """A layer whose adapter is called otherwise, halved or gone would begin again from nothing."""
        content = torch.load(lab_file, weights_only=True)
        old, new = change
        content["state_dict"] = {
            name.replace(old, new or ""): weight
            for name, weight in content["state_dict"].items()
            if new is not None or not ("text_model" in name and old in name)
        }
        torch.save(content, world.root / "other.ckpt")
        assert message in refused(world.root / "other.ckpt", *LAB)

    @pytest.mark.parametrize(
        ("lost", "message"),
        [
            ("encoder.layers.1.mlp.fc1.base_layer", "lacks 2 of its weights"),
            ("velocities.mlp.0.bias", "lacks 1 of its weights"),
        ],
    )
    def test_a_half_of_a_checkpoint_is_refused(self, world, lab_file, refused, lost, message):
        content = torch.load(lab_file, weights_only=True)
        content["state_dict"] = {name: w for name, w in content["state_dict"].items() if lost not in name}
        torch.save(content, world.root / "half.ckpt")
        assert message in refused(world.root / "half.ckpt", *LAB)

    def test_nan_is_refused(self, world, lab_file, refused):
        content = torch.load(lab_file, weights_only=True)
        content["state_dict"]["model.act_head.rnn.weight_hh_l1"].view(-1)[3] = torch.nan
        torch.save(content, world.root / "nan.ckpt")
        assert "hold NaN or infinity (model.act_head.rnn.weight_hh_l1" in refused(world.root / "nan.ckpt", *LAB)


class TestOtherFormats:
    def test_robovlms_of_a_full_fine_tune(self, world, take):
        """Its backbone is another one than the hub's: it is stored with the run; its head is of an arm, and is left."""
        tuned = stir(make_policy(weights=str(world.base), architecture={}, lora={"preset": "full"}), seed=5)
        state = foreign.robovlms_state(tuned)
        torch.save({"state_dict": state, "epoch": 2}, world.root / "robovlms.pt")
        found = take(world.root / "robovlms.pt")
        told = report(found)
        assert told["base"]["stored"] is True
        assert told["parts"]["action_head"]["loaded"] == 0
        assert told["parts"]["lora"]["loaded"] == 0
        model = Kosmos2Model(Kosmos2Config.from_pretrained(world.base))
        prefix = "model.backbone."
        model.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and "lm_head" not in k}
        )
        token = tuned.backbone.action_token.detach()
        expected = plain_contexts(model.eval(), world.tokenizer, token, world.frames)
        torch.testing.assert_close(contexts_of_run(found, world.frames), expected, atol=1e-5, rtol=0)
        other = plain_contexts(Kosmos2Model.from_pretrained(world.base), world.tokenizer, token, world.frames)
        assert (expected - other).abs().max() > 0.1

    def test_its_action_token_is_kept_where_nothing_of_the_backbone_is_trained(self, world, take, refused, capsys):
        """Without adapters a token would not be trained, so not be stored, and be another one in the run."""
        tuned = stir(make_policy(weights=str(world.base), architecture={}))
        torch.save({"state_dict": foreign.robovlms_state(tuned)}, world.root / "frozen.pt")
        line = refused(world.root / "frozen.pt", "model/lora=none", "model.lora.action_token=false")
        assert "holds an action token, which would be lost" in line
        stored = open_run(take(world.root / "frozen.pt", "model/lora=none"))
        assert torch.equal(stored.policy().backbone.action_token, tuned.backbone.action_token)

    def test_a_folder_here_that_a_file_names_is_not_opened(self, world, refused, tmp_path):
        """A name on the hub may be that of a folder below the current one: which is meant, only its user knows."""
        folder = world.root / "named"
        folder.mkdir()
        policy = stir(make_policy(weights=str(world.base), architecture={}))
        space = ActionSpace(components=("linear_x", "angular_z"), low=(-0.25, -1.0), high=(1.15, 0.5))
        more = {"run": {"name": "a", "checkpoint": "b", "epoch": 2, "step": 9}, "lora": {"r": 8, "dropout": 0.0}}
        write_portable(policy, open_source(policy.backbone.config), space, 4, more, folder, merge=False)
        about = json.loads((folder / "head.json").read_text())
        (folder / "head.json").write_text(json.dumps(about | {"base": about["base"] | {"weights": "models/base"}}))
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "base").symlink_to(world.base)
        assert "model.weights=<the folder of its base, which was at models/base>" in refused(folder, base=False)

    def test_a_transformers_folder_is_the_base(self, world, take):
        found = take(world.base, base=False)
        told = report(found)
        assert told["base"]["weights"] == str(world.base)
        policy = open_run(found).policy()
        model = Kosmos2Model.from_pretrained(world.base).eval()
        expected = plain_contexts(model, world.tokenizer, policy.backbone.action_token.detach(), world.frames)
        torch.testing.assert_close(contexts_of_run(found, world.frames), expected, atol=1e-5, rtol=0)

    def test_lone_safetensors_in_half_precision(self, world, take):
        """The same weights in bfloat16 are still the base: nothing is stored twice."""
        model = Kosmos2Model.from_pretrained(world.base)
        save_file({name: w.to(torch.bfloat16) for name, w in model.named_parameters()}, world.root / "half.safetensors")
        assert report(take(world.root / "half.safetensors"))["base"]["stored"] is False

    def test_adapters_of_peft(self, world, take):
        torch.manual_seed(4)
        lora = LoraConfig(
            r=4,
            lora_alpha=12,
            use_rslora=True,
            target_modules=r".*text_model.*\.(q_proj|v_proj)",
            init_lora_weights=False,
        )
        model = get_peft_model(Kosmos2Model.from_pretrained(world.base), lora)
        model.save_pretrained(world.root / "adapters")
        found = take(world.root / "adapters")
        policy = open_run(found).policy()
        there = PeftModel.from_pretrained(Kosmos2Model.from_pretrained(world.base), world.root / "adapters").eval()
        token = policy.backbone.action_token.detach()
        expected = plain_contexts(there.base_model.model, world.tokenizer, token, world.frames)
        torch.testing.assert_close(contexts_of_run(found, world.frames), expected, atol=1e-5, rtol=0)
        part = report(found)["parts"]["lora"]
        assert (part["loaded"], part["new"]) == (2 * 2 * 2, 2 * 4 * 2)

    def test_adapters_need_their_base(self, world, refused):
        torch.manual_seed(4)
        lora = LoraConfig(r=4, target_modules=["q_proj"], rank_pattern={"layers.0.self_attn.q_proj": 2})
        get_peft_model(Kosmos2Model.from_pretrained(world.base), lora).save_pretrained(world.root / "uneven")
        assert "rank_pattern" in refused(world.root / "uneven")
        adapters = foreign.write_adapter(world.policy, world.root / "plain")
        assert "model.weights=<" in refused(adapters, base=False)

    @pytest.mark.parametrize("settings", [{}, {"lora": {"preset": "full"}}, {"lora": {"preset": "none"}}])
    def test_an_export_comes_back_whole(self, world, take, settings):
        policy = stir(make_policy(weights=str(world.base), architecture={}, **settings))
        source = open_source(policy.backbone.config)
        lora = {"r": 8, "dropout": 0.0, **settings.get("lora", {})}
        space = ActionSpace(components=("linear_x", "angular_z"), low=(-0.25, -1.0), high=(1.15, 0.5))
        folder = world.root / f"export_{lora.get('preset')}"
        folder.mkdir()
        run = {"name": "a", "checkpoint": "b", "epoch": 2, "step": 9}
        write_portable(policy, source, space, 4, {"run": run, "lora": lora}, folder, merge=False)
        found = take(folder)
        stored = open_run(found)
        assert stored.actions == space
        there = stored.policy()
        assert there.trained().keys() == policy.trained().keys()
        for name, weight in policy.named_parameters():
            assert torch.equal(there.get_parameter(name), weight), name

    def test_a_checkpoint_of_ours(self, world, take, refused):
        settings = {
            "model": {
                "weights": "random",
                "architecture": {**make_policy().backbone.config.architecture},
                "lora": {"preset": "text", "r": 8, "alpha": 16, "dropout": 0.0},
                "head": {"hidden": 128, "layers": 2, "mlp": [128]},
            },
            "data": {"window": 3, "chunk": CHUNK},
        }
        policy = stir(make_policy(lora={"preset": "text"}))
        space = ActionSpace(components=("linear_x", "angular_z"), low=(-0.25, -1.0), high=(1.15, 0.5))
        content = {
            "state_dict": trained_state(policy),
            "mobile_vla": metadata(policy, space, settings),
            "epoch": 3,
            "global_step": 12,
        }
        torch.save(content, world.root / "ours.ckpt")
        stored = open_run(take(world.root / "ours.ckpt", base=False))
        there = stored.policy()
        assert all(torch.equal(there.get_parameter(name), weight) for name, weight in policy.named_parameters())
        assert (stored.actions, stored.config.data.window) == (space, 3)
        content["mobile_vla"]["base_fingerprint"] = "0" * 16
        torch.save(content, world.root / "stranger.ckpt")
        assert "trained on other base weights" in refused(world.root / "stranger.ckpt", base=False)


def test_what_is_no_policy(world, refused, tmp_path):
    torch.save({"state_dict": {"conv.weight": torch.ones(3)}}, tmp_path / "other.pt")
    assert "tensors by names of no known format" in refused(tmp_path / "other.pt")
    assert "data.root: an imported run has no episodes" in refused(world.base, "data.root=/tmp")
    assert "no such file or folder" in refused(tmp_path / "nothing.ckpt")
