"""Folders of small weights, written by transformers' own classes as those on the hub were, and able to read.

In: an empty folder. Out: the same, with config, weights, tokenizer and image processor. A few steps of training on
three plain sentences make them expect these, as a language model does.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessorPil,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    Kosmos2Processor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from mobile_vla.doctor.real_weights import SENTENCES
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.pretrained import TransformersModelConfig
from mobile_vla.models.backbones.smolvlm import SmolVLMModelConfig
from mobile_vla.models.backbones.tokenizer import offline_tokenizer
from tests.models.backbones.members import MEMBERS

CLASSES: dict[str, tuple[type, type, type]] = {
    "smolvlm": (SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil),
    "idefics3": (Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil),
}
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'].capitalize() }}:{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def write_kosmos2(folder: Path, steps: int = 15, **save: Any) -> Path:
    architecture = copy.deepcopy(MEMBERS["kosmos2"])
    architecture["text_config"]["vocab_size"] = 768  # the processor adds tokens for places in the image
    size = architecture["vision_config"]["image_size"]
    images = CLIPImageProcessorPil(size={"height": size, "width": size}, do_center_crop=False)
    Kosmos2Processor(images, offline_tokenizer(), num_patch_index_tokens=16).save_pretrained(folder)
    torch.manual_seed(3)
    model = Kosmos2ForConditionalGeneration(Kosmos2Config(**architecture))
    model.save_pretrained(folder)
    return _teach(folder, Kosmos2ModelConfig(weights=str(folder)), steps, save)


def write_smolvlm(folder: Path, kind: str = "smolvlm", steps: int = 15, **save: Any) -> Path:
    config_class, model_class, processor = CLASSES[kind]
    architecture = copy.deepcopy(MEMBERS["smolvlm"])
    size = architecture["vision_config"]["image_size"]
    tokenizer = offline_tokenizer(SmolVLMModelConfig.family.tags)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    processor(size={"longest_edge": 4 * size}, max_image_size={"longest_edge": size}).save_pretrained(folder)
    torch.manual_seed(3)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model_class(config_class(**architecture, image_token_id=image)).save_pretrained(folder)
    return _teach(folder, SmolVLMModelConfig(weights=str(folder)), steps, save)


def _teach(folder: Path, config: TransformersModelConfig, steps: int, save: dict[str, Any]) -> Path:
    reference = config.open_reference(config.find_architecture())
    size = reference.model.config.vision_config.image_size
    grey = torch.zeros(3, size, size) + 0.1
    optimizer = torch.optim.Adam(reference.model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        for sentence in SENTENCES:
            ids = reference.write(sentence, "{instruction}")
            words = reference.tokenizer(sentence, add_special_tokens=False)["input_ids"]
            logits = reference.run(grey, ids, reference.embed([]))[1]
            F.cross_entropy(logits[-len(words) - 1 : -1], torch.tensor(words)).backward()
        optimizer.step()
    for untaught in folder.glob("*.safetensors"):
        untaught.unlink()
    reference.model.save_pretrained(folder, **save)
    return folder
