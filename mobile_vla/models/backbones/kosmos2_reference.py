"""Kosmos-2 by transformers' own processor and forward pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import Kosmos2ForConditionalGeneration, Kosmos2Processor

from mobile_vla.models.backbones.layouts import Layout
from mobile_vla.models.backbones.reference import Frame, Reference


class Kosmos2Reference(Reference):
    def __init__(self, weights: str, layout: Layout):
        """layout: `<s> <image> image tokens </image> text`"""
        self.layout = layout
        self.processor: Any = Kosmos2Processor.from_pretrained(weights)
        self.tokenizer = self.processor.tokenizer
        self.model = Kosmos2ForConditionalGeneration.from_pretrained(weights, dtype=torch.float32).eval()
        self.has_head = True  # tied to the embeddings

    def read_pixels(self, frame: Frame, resize: bool) -> Float[Tensor, "3 H H"]:
        return self.processor.image_processor(
            images=Image.fromarray(frame), do_resize=resize, return_tensors="pt"
        ).pixel_values[0]

    def write(self, instruction: str, prompt: str) -> list[int]:
        size = self.model.config.vision_config.image_size
        inputs = self.processor(
            images=Image.new("RGB", (size, size)),
            text=prompt.format(instruction=instruction),
            num_image_tokens=self.model.config.latent_query_num,
            return_tensors="pt",
        )
        return inputs["input_ids"][0].tolist()

    def encode(self, pixels: Float[Tensor, "3 H H"]) -> Float[Tensor, "L D"]:
        return self._forward(pixels, self.embed(self.write("", "{instruction}"))).image_embeds[0]

    def run(
        self, pixels: Float[Tensor, "3 H H"], ids: Sequence[int], behind: Float[Tensor, "n D"]
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N words"]]:
        out = self._forward(pixels, torch.cat([self.embed(ids), behind]))
        return out.hidden_states[-1][0], out.logits[0]

    def _forward(self, pixels: Float[Tensor, "3 H H"], embeddings: Float[Tensor, "N D"]) -> Any:
        is_image = torch.zeros(1, len(embeddings), dtype=torch.int64)
        first = len(self.layout.before_image)
        is_image[:, first : first + self.model.config.latent_query_num] = 1
        return self.model(
            pixel_values=pixels[None],
            inputs_embeds=embeddings[None].clone(),  # image tokens are written into them
            image_embeds_position_mask=is_image,
            use_cache=False,
            output_hidden_states=True,
        )

    def decode(self, embeddings: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        return self.model.text_model.model(inputs_embeds=embeddings[None], use_cache=False).last_hidden_state[0]

    def list_fixed_ids(self) -> Mapping[str, tuple[int, int]]:
        text, tokenizer = self.model.config.text_config, self.tokenizer
        return {
            "bos": (text.bos_token_id, tokenizer.bos_token_id),
            "pad": (text.pad_token_id, tokenizer.pad_token_id),
            "eos": (text.eos_token_id, tokenizer.eos_token_id),
        }
