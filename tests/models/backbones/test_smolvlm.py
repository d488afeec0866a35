"""A SmolVLM folder of transformers gives the contexts that transformers gives; a wrong one is told in a line."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SmolVLMModel

from mobile_vla.core.errors import UserError
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones.loading import load_model, make_sketch, open_source
from mobile_vla.models.backbones.smolvlm import SmolVLMModelConfig
from mobile_vla.models.policy import Policy
from tests.models.backbones.folders import write_smolvlm
from tests.models.backbones.members import HEAD, MEMBERS, make_batch

SIZE = MEMBERS["smolvlm"]["vision_config"]["image_size"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_smolvlm(tmp_path_factory.mktemp("smolvlm"), steps=1)


@pytest.fixture
def broken(folder, tmp_path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def config(folder: Path, **settings) -> SmolVLMModelConfig:
    return SmolVLMModelConfig(weights=str(folder), head=HEAD, **settings)


@torch.no_grad()
def test_a_context_is_what_transformers_parts_composed_by_hand_put_out(folder):
    """One pair at a time, without padding or mask; for a black frame too, which `get_image_features` drops."""
    made = config(folder)
    source = open_source(made)
    policy = Policy.build(made, source, 3, 2, torch.float32)
    batch = make_batch(policy, [(0, 0), (1, 1), (4, 2)])
    batch.frames[4] = 0
    model = SmolVLMModel.from_pretrained(folder).eval()
    for row, frame, text in zip(policy.contexts(batch), (0, 1, 4), (0, 1, 2), strict=True):
        pixels = (batch.frames[frame].permute(2, 0, 1).double() / 255 - 0.5) / 0.5
        image = model.connector(model.vision_model(pixels[None].float()).last_hidden_state)
        marks = source.tokenizer.convert_tokens_to_ids(
            ["<|im_start|>", "User", ":", "<fake_token_around_image>", "<global-img>"]
        )
        ids = batch.text_ids[text][batch.text_mask[text]].tolist()
        embed = model.text_model.embed_tokens
        parts = (embed(torch.tensor(marks)), image[0], embed(torch.tensor([marks[3], *ids])))
        embeddings = torch.cat([*parts, policy.backbone.action_token[None]])
        expected = model.text_model(inputs_embeds=embeddings[None], use_cache=False).last_hidden_state[0, -1]
        torch.testing.assert_close(row, expected, atol=2e-5, rtol=0)


def test_frames_are_read_as_its_image_processor_says(folder, broken):
    half = (0.5, 0.5, 0.5)
    assert open_source(config(folder)).preprocessing == Preprocessing(size=SIZE, mean=half, std=half)
    file = broken / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "resample": 2, "image_mean": [0.1, 0.2, 0.3]}))
    found = open_source(config(broken)).preprocessing
    assert (found.interpolation, found.mean) == ("bilinear", (0.1, 0.2, 0.3))


def test_the_published_architecture_needs_no_download():
    """The counts that the models' page states: 256 million, with a language-model head that is not used here."""
    made = SmolVLMModelConfig(weights=SmolVLMModelConfig.family.hub)
    sketch = make_sketch(made, made.find_architecture(download=False))
    counts: dict[str, int] = {}
    for name, weight in sketch.model.named_parameters():
        part = made.anatomy.find_part(name)
        counts[part] = counts.get(part, 0) + weight.numel()
    assert counts == made.published
    head = 49280 * 576
    assert sum(counts.values()) + head == 256_484_928
    assert (sketch.num_image_tokens, sketch.context_width, sketch.num_text_layers) == (64, 576, 30)


class TestFolders:
    def refused(self, folder, match):
        with pytest.raises(UserError, match=match) as caught:
            load_model(open_source(config(folder)))
        assert "\n" not in str(caught.value)

    def test_another_kind_of_model(self, broken):
        content = json.loads((broken / "config.json").read_text())
        (broken / "config.json").write_text(json.dumps({**content, "model_type": "kosmos-2"}))
        self.refused(
            broken, r"no SmolVLM could be read there \(its config.json describes a kosmos-2, not a smolvlm or "
        )

    def test_a_kosmos_2_setting(self):
        with pytest.raises(UserError, match=r"model.architecture.latent_query_num is no setting of SmolVLMConfig"):
            open_source(SmolVLMModelConfig(weights="random", architecture={"latent_query_num": 4}))

    def test_no_config(self, broken):
        (broken / "config.json").unlink()
        self.refused(broken, r"holds no config\.json; expected a transformers folder of SmolVLM")

    def test_a_tokenizer_that_lacks_a_special_token(self, broken):
        for file in ("tokenizer.json", "tokenizer_config.json"):
            text = (broken / file).read_text(encoding="utf-8")
            (broken / file).write_text(text.replace("<global-img>", "<whole-img>"), encoding="utf-8")
        self.refused(broken, r"model\.name=smolvlm needs the tokens \['<global-img>'\]")

    def test_no_tokenizer(self, broken):
        for file in broken.glob("tokenizer*"):
            file.unlink()
        self.refused(broken, "model.weights=.*could be read there")

    def test_a_damaged_file(self, broken):
        file = broken / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
        self.refused(broken, r"model\.safetensors is damaged")

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda tensors, name: tensors.pop(name), r"1 weights missing, 0 unexpected \(first: .*gate_proj"),
            (lambda tensors, name: tensors.update(extra=torch.zeros(2)), r"0 weights missing, 1 unexpected"),
            (lambda tensors, name: tensors.update({name: torch.zeros(3, 3)}), r"model\.weights="),
        ],
    )
    def test_weights_that_are_not_this_model(self, broken, change, match):
        tensors = load_file(broken / "model.safetensors")
        change(tensors, next(name for name in tensors if name.endswith("layers.1.mlp.gate_proj.weight")))
        save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
        self.refused(broken, match)


def test_a_vocabulary_too_small_for_the_tokenizer_is_refused():
    small = copy.deepcopy(MEMBERS["smolvlm"])
    small["text_config"]["vocab_size"] = 100
    with pytest.raises(UserError, match=r"vocab_size=100 is too small"):
        open_source(SmolVLMModelConfig(weights="random", architecture=small))
