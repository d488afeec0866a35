"""SmolVLM by transformers' own image processor, tokenizer, chat template and forward pass.

Its processor as a whole needs packages (num2words, torchvision) that nothing else here needs; the string that stands
for an image is made by the processor's own function.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, Idefics3ForConditionalGeneration
from transformers import SmolVLMForConditionalGeneration as SmolVLM
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from mobile_vla.models.backbones.layouts import Layout
from mobile_vla.models.backbones.reference import Frame, Reference

IMAGE = "<image>"
CLASSES = {"smolvlm": SmolVLM, "idefics3": Idefics3ForConditionalGeneration}
HEAD = "lm_head.weight"


class SmolVLMReference(Reference):
    def __init__(self, weights: str, layout: Layout, kind: str, prompt: str):
        """layout, prompt: what the chat template writes, as we have it written down;  kind: `model_type`"""
        self.layout, self.prompt = layout, prompt
        self.tokenizer: Any = AutoTokenizer.from_pretrained(weights)
        self.images: Any = AutoImageProcessor.from_pretrained(weights)
        self.model, info = CLASSES[kind].from_pretrained(weights, dtype=torch.float32, output_loading_info=True)
        self.model.eval()
        self.has_head = HEAD not in info["missing_keys"]
        self.template = _find_template(weights, self.tokenizer)

    def read_pixels(self, frame: Frame, resize: bool) -> Float[Tensor, "3 H H"]:
        # Another family's processor, as an export of this package writes it, knows no tiles and one dimension less.
        tiles = {"do_image_splitting": False} if hasattr(self.images, "do_image_splitting") else {}
        found = self.images(images=Image.fromarray(frame), do_resize=resize, return_tensors="pt", **tiles)
        return found.pixel_values.flatten(0, -4)[0]

    def write(self, instruction: str, prompt: str) -> list[int]:
        text = f"<|im_start|>User:{IMAGE}{prompt.format(instruction=instruction)}"
        if self.template is not None and prompt == self.prompt:
            parts = [{"type": "image"}, {"type": "text", "text": instruction}]
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": parts}],
                chat_template=self.template,
                add_generation_prompt=True,
                tokenize=False,
            )
        mark, glob = self.layout.before_image[-2:]
        image = get_image_prompt_string(0, 0, self.model.model.image_seq_len, mark, IMAGE, glob)
        return self.tokenizer(text.replace(IMAGE, image, 1), add_special_tokens=False)["input_ids"]

    def encode(self, pixels: Float[Tensor, "3 H H"]) -> Float[Tensor, "L D"]:
        return self.model.get_image_features(pixels[None, None]).pooler_output[0]

    def run(
        self, pixels: Float[Tensor, "3 H H"], ids: Sequence[int], behind: Float[Tensor, "n D"]
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N words"]]:
        embeddings = torch.cat([self.embed(ids), behind])[None]
        out = self.model.model(pixel_values=pixels[None, None], inputs_embeds=embeddings, use_cache=False)
        states = out.last_hidden_state[0]
        return states, self.model.lm_head(states)

    def decode(self, embeddings: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        return self.model.model.text_model(inputs_embeds=embeddings[None], use_cache=False).last_hidden_state[0]

    def list_fixed_ids(self) -> Mapping[str, tuple[int, int]]:
        config = self.model.config
        return {
            "pad": (config.text_config.pad_token_id, self.tokenizer.pad_token_id),
            IMAGE: (config.image_token_id, self.tokenizer.convert_tokens_to_ids(IMAGE)),
        }


def _find_template(weights: str, tokenizer: Any) -> str | None:
    """The folder's chat template, wherever it is kept."""
    file = Path(weights) / "chat_template.json"
    if tokenizer.chat_template is not None or not file.is_file():
        return tokenizer.chat_template
    return json.loads(file.read_text(encoding="utf-8"))["chat_template"]
