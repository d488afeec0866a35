"""A folder as transformers writes it gives the contexts that transformers gives; a wrong one is told in a line."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Processor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.fingerprint import fingerprint
from mobile_vla.models.backbones.loading import load_model, open_source
from mobile_vla.models.backbones.tokenizer import offline_tokenizer
from mobile_vla.models.policy import Policy

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
SIZE = 28


def write_folder(folder: Path, architecture: dict, *, mean=MEAN, std=STD, resample=2, **save) -> Path:
    torch.manual_seed(3)
    tokenizer = offline_tokenizer()
    model = Kosmos2ForConditionalGeneration(Kosmos2Config(**copy.deepcopy(architecture)))
    model.save_pretrained(folder, **save)
    images = CLIPImageProcessorPil(
        size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        resample=resample,
        image_mean=list(mean),
        image_std=list(std),
    )
    Kosmos2Processor(images, tokenizer, num_patch_index_tokens=16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("kosmos2"), room_for_locations(tiny.architecture))


@pytest.fixture(scope="module")
def sharded(tiny, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("sharded")
    return write_folder(target, room_for_locations(tiny.architecture), max_shard_size="60KB")


def room_for_locations(architecture: dict) -> dict:
    """The processor adds a token for each patch of its grid; none is used here, but the vocabulary must hold them."""
    larger = copy.deepcopy(architecture)
    larger["text_config"]["vocab_size"] = 768
    return larger


@pytest.fixture
def broken(folder, tmp_path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def config(tiny, folder: Path, **settings):
    return tiny.model_config(weights=str(folder), architecture={}, lora={"preset": "none"}, **settings)


def build(tiny, folder: Path, dtype: torch.dtype = torch.float32, **settings) -> Policy:
    made = config(tiny, folder, **settings)
    return Policy.build(made, open_source(made), 3, 2, dtype)


@torch.no_grad()
@pytest.mark.parametrize("files", ["folder", "sharded"])
def test_contexts_are_those_of_transformers_on_that_folder(tiny, files, request):
    """Real processor, real `Kosmos2ForConditionalGeneration`; our action token stands where its next word would."""
    path = request.getfixturevalue(files)
    assert len(list(path.glob("*.safetensors"))) == 1 if files == "folder" else 3
    policy = build(tiny, path, layout="kosmos2", prompt="<grounding>An image of a robot {instruction}")
    reference = Kosmos2ForConditionalGeneration.from_pretrained(path).eval()
    processor = AutoProcessor.from_pretrained(path)
    frames = tiny.random_frames(SIZE, count=2)
    batch = tiny.make_batch(policy, [(0, 0), (1, 1), (1, 2)])
    contexts = policy.contexts(batch)
    for row, (frame, text) in zip(contexts, [(0, 0), (1, 1), (1, 2)], strict=True):
        prompt = f"<grounding>An image of a robot {tiny.texts[text]}"
        inputs = processor(
            images=Image.fromarray(frames[frame].numpy()),
            text=prompt,
            num_image_tokens=policy.backbone.num_image_tokens,
            return_tensors="pt",
        )
        embeddings = reference.text_model.model.embed_tokens(inputs["input_ids"])
        embeddings = torch.cat([embeddings, policy.backbone.action_token[None, None]], dim=1)
        is_image = torch.cat([inputs["image_embeds_position_mask"], torch.zeros(1, 1, dtype=torch.int64)], dim=1)
        hidden = reference(
            pixel_values=inputs["pixel_values"],
            inputs_embeds=embeddings,
            image_embeds_position_mask=is_image,
            use_cache=False,
            output_hidden_states=True,
        ).hidden_states[-1]
        torch.testing.assert_close(row, hidden[0, -1], atol=2e-5, rtol=0)


def test_tokens_before_the_action_token_are_the_processors(tiny, folder):
    """Layout `kosmos2` writes the id sequence that `Kosmos2Processor` writes."""
    policy = build(tiny, folder, layout="kosmos2")
    processor = AutoProcessor.from_pretrained(folder)
    image = Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8))
    prompt = policy.backbone.config.prompt.format(instruction=tiny.texts[1])
    ids = processor(images=image, text=prompt, num_image_tokens=8)["input_ids"]
    ours = policy.backbone.special_ids
    text = open_source(policy.backbone.config).tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert ids == [ours["<s>"], ours["<image>"], *range(4, 12), ours["</image>"], *text]


def test_preprocessing_is_the_folders_own(tiny, folder, tmp_path):
    found = open_source(config(tiny, folder)).preprocessing
    assert (found.size, found.interpolation, found.mean, found.std) == (SIZE, "bilinear", MEAN, STD)
    other = write_folder(tmp_path, room_for_locations(tiny.architecture), mean=STD, std=MEAN, resample=3)
    found = open_source(config(tiny, other)).preprocessing
    assert (found.interpolation, found.mean, found.std) == ("bicubic", STD, MEAN)


def test_an_unknown_filter_is_refused(tiny, tmp_path):
    path = write_folder(tmp_path, room_for_locations(tiny.architecture), resample=0)
    with pytest.raises(UserError, match=r"resizes with an unknown filter \(0\)"):
        open_source(config(tiny, path))


def test_a_folder_below_the_home_directory(tiny, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    policy = build(tiny, Path("~") / folder.name)
    assert policy.base_fingerprint == build(tiny, folder).base_fingerprint


class TestFolders:
    """What is wrong with a folder is told in one line."""

    def refused(self, tiny, folder, match):
        with pytest.raises(UserError, match=match) as caught:
            build(tiny, folder)
        assert "\n" not in str(caught.value)

    def test_no_such_folder(self, tiny, tmp_path):
        self.refused(tiny, tmp_path / "nowhere", r"model\.weights=.*nowhere: no such folder")

    def test_no_config(self, tiny, broken):
        (broken / "config.json").unlink()
        self.refused(tiny, broken, r"holds no config\.json")

    def test_another_kind_of_model(self, tiny, broken):
        """Told before any weights are read."""
        content = json.loads((broken / "config.json").read_text())
        (broken / "config.json").write_text(json.dumps({**content, "model_type": "clip"}))
        with pytest.raises(UserError, match=r"model\.weights=.*clip"):
            open_source(config(tiny, broken))

    def test_another_depth_than_the_weights(self, tiny, broken):
        content = json.loads((broken / "config.json").read_text())
        content["text_config"]["layers"] = 3
        (broken / "config.json").write_text(json.dumps(content))
        self.refused(tiny, broken, r"does not hold this architecture: \d+ weights missing, 0 unexpected")

    def test_no_weights(self, tiny, broken):
        (broken / "model.safetensors").unlink()
        self.refused(tiny, broken, r"holds no weights; expected one of")

    def test_a_missing_shard(self, tiny, sharded, tmp_path):
        copied = Path(shutil.copytree(sharded, tmp_path / "copy"))
        gone = sorted(copied.glob("*.safetensors"))[1]
        count = len(list(copied.glob("*.safetensors")))
        gone.unlink()
        self.refused(tiny, copied, rf"lacks 1 of {count} shards: {gone.name}")

    def test_no_tokenizer(self, tiny, broken):
        for file in broken.glob("tokenizer*"):
            file.unlink()
        self.refused(tiny, broken, "model.weights=.*could be read there")

    def test_a_tokenizer_that_lacks_the_layouts_tokens(self, tiny, broken):
        file = broken / "tokenizer.json"
        content = json.loads(file.read_text().replace("<image>", "<picture>").replace("</image>", "</picture>"))
        file.write_text(json.dumps(content))
        settings = json.loads((broken / "tokenizer_config.json").read_text().replace("image>", "picture>"))
        (broken / "tokenizer_config.json").write_text(json.dumps(settings))
        with pytest.raises(UserError, match=r"model\.layout=kosmos2 needs the tokens \['<image>', '</image>'\]"):
            open_source(config(tiny, broken, layout="kosmos2"))

    def test_a_damaged_file(self, tiny, broken):
        file = broken / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
        self.refused(tiny, broken, r"model\.weights=.* is damaged")

    @staticmethod
    def change_tensors(folder: Path, change) -> None:
        file = folder / "model.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})

    def test_a_missing_tensor(self, tiny, broken):
        name = next(n for n in load_file(broken / "model.safetensors") if n.endswith("layers.1.ffn.fc1.weight"))
        self.change_tensors(broken, lambda tensors: tensors.pop(name))
        self.refused(tiny, broken, r"does not hold this architecture: 1 weights missing, 0 unexpected \(first: .*fc1")

    def test_an_extra_tensor(self, tiny, broken):
        extra = "vision_model.model.encoder.layers.2.mlp.fc1.weight"
        self.change_tensors(broken, lambda tensors: tensors.update({extra: torch.zeros(2)}))
        self.refused(tiny, broken, r"0 weights missing, 1 unexpected \(first: .*layers\.2\.mlp\.fc1\.weight\)")

    def test_a_tensor_of_another_shape(self, tiny, broken):
        name = next(n for n in load_file(broken / "model.safetensors") if n.endswith("layers.1.ffn.fc1.weight"))
        self.change_tensors(broken, lambda tensors: tensors.update({name: torch.zeros(3, 3)}))
        self.refused(tiny, broken, r"model\.weights=")


class TestRandomWeights:
    """A random base is rebuilt from its seed alone, since checkpoints never hold it."""

    @staticmethod
    def weights(tiny, seed: int) -> dict[str, torch.Tensor]:
        return load_model(open_source(tiny.model_config(weights_seed=seed))).state_dict()

    def test_same_seed_same_weights_whatever_the_global_generator(self, tiny):
        torch.manual_seed(1)
        first = self.weights(tiny, 4)
        torch.manual_seed(2)
        second = self.weights(tiny, 4)
        assert all(torch.equal(first[name], second[name]) for name in first)
        other = self.weights(tiny, 5)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_the_global_generator_is_not_disturbed(self, tiny):
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        policy_source = open_source(tiny.model_config())
        load_model(policy_source)
        assert torch.equal(torch.rand(3), expected)

    def test_the_action_token_is_the_same_whatever_the_training_seed(self, tiny):
        tokens = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            made = tiny.model_config()
            tokens.append(Policy.build(made, open_source(made), 3, 2, torch.float32).backbone.action_token)
        assert torch.equal(*tokens)
        embeddings = load_model(open_source(tiny.model_config())).get_input_embeddings().weight
        assert 0.5 < tokens[0].std() / embeddings.std() < 1.5

    def test_a_vocabulary_too_small_for_the_tokenizer_is_refused(self, tiny):
        small = copy.deepcopy(tiny.architecture)
        small["text_config"]["vocab_size"] = 100
        with pytest.raises(UserError, match=r"vocab_size=100 is too small"):
            open_source(tiny.model_config(architecture=small))

    def test_a_misspelled_setting_of_the_architecture_is_refused(self, tiny):
        wrong = copy.deepcopy(tiny.architecture)
        wrong["text_config"]["layrs"] = wrong["text_config"].pop("layers")
        with pytest.raises(UserError, match="layrs"):
            open_source(tiny.model_config(architecture=wrong))

    def test_an_architecture_for_loaded_weights_is_refused(self, tiny, folder):
        with pytest.raises(ValueError, match=r"model\.architecture describes a random model"):
            tiny.model_config(weights=str(folder))


class TestFingerprint:
    """Tells weights apart, and not the precision that they are stored in."""

    def test_same_weights_stored_in_bf16(self, tiny, folder, broken):
        def shorten(tensors):
            tensors.update({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()})

        TestFolders.change_tensors(broken, shorten)
        assert fingerprint(load_model(open_source(config(tiny, broken)))) == build(tiny, folder).base_fingerprint

    def test_the_precision_that_is_computed_in_and_the_adapters_do_not_count(self, tiny):
        plain = tiny.make_policy(lora={"preset": "none"}).base_fingerprint
        assert tiny.make_policy(dtype=torch.bfloat16).base_fingerprint == plain
        assert tiny.make_policy(lora={"preset": "full"}).base_fingerprint == plain

    def test_one_changed_value_anywhere_counts(self, tiny):
        model = load_model(open_source(tiny.model_config()))
        seen = {fingerprint(model)}
        for weight in [*model.parameters()][::9]:
            with torch.no_grad():
                weight.view(-1)[-1] += 0.5
            seen.add(fingerprint(model))
        assert len(seen) == 1 + len([*model.parameters()][::9])

    def test_names_and_shapes_count(self):
        """The same numbers under another name, or read as another matrix, are another model."""
        weights = torch.arange(6.0)

        def model(name: str, *shape: int) -> torch.nn.Module:
            return torch.nn.ParameterDict({name: torch.nn.Parameter(weights.view(shape))})

        assert fingerprint(model("a", 2, 3)) == fingerprint(model("a", 2, 3))
        assert len({fingerprint(model(*made)) for made in [("a", 2, 3), ("a", 3, 2), ("b", 2, 3)]}) == 3

    def test_a_model_without_values_has_none(self, tiny):
        assert fingerprint(load_model(open_source(tiny.model_config())).to("meta")) == ""
