"""Kosmos-2: transformers' own, unpatched and without its language-model head.

The real model, a random one of the real architecture and a tiny one are the same class; nothing here asks which of
them it is.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Kosmos2Config, Kosmos2Model
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2TextTransformer

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones import decoder
from mobile_vla.models.backbones.activation import use_quick_gelu
from mobile_vla.models.backbones.anatomy import Anatomy, ImageGrid, Part
from mobile_vla.models.backbones.backbone import Backbone, attend_eagerly
from mobile_vla.models.backbones.few_queries import use_few_queries
from mobile_vla.models.backbones.layouts import Layout, attention_mask
from mobile_vla.models.backbones.prefix import Prefix, Recording
from mobile_vla.models.backbones.pretrained import Family, TransformersModelConfig
from mobile_vla.models.backbones.tokenizer import TAGS

BOS, EOS = "<s>", "</s>"
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(name="robovlms", before_image=(BOS,), behind_action=(EOS,)),
        Layout(name="kosmos2", before_image=(BOS, "<image>"), behind_image=("</image>",)),
        # A known fault, kept to read checkpoints that were trained with it: the prompt is padded to the number of image
        # tokens, image tokens overwrite all of it, and its mask stays. What the prompt has beyond them is still text.
        # The action token can be attended to; whether </s> stood behind it means nothing to a causal decoder.
        Layout(name="legacy", over_text=True),
    )
}


@dataclass(frozen=True, kw_only=True)
class Kosmos2ModelConfig(TransformersModelConfig):
    """layout: order of image tokens, text and action token, one of `LAYOUTS`"""

    anatomy: ClassVar[Anatomy] = Anatomy(
        vision="vision_model",
        projection="image_to_text_projection",
        text="text_model",
        embeddings="text_model.model.embed_tokens",
        text_layers="text_model.model.layers",
        norm="text_model.model.layer_norm",
        vision_layers="vision_model.model.encoder.layers",
        linears={
            "text": r"text_model\.model\.layers\.{layer}\.(?:self_attn\.(?:q|k|v|out)_proj|ffn\.fc[12])",
            "vision": r"vision_model\.model\.encoder\.layers\.\d+\.(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])",
            "projection": r"image_to_text_projection\.(?:dense|x_attn\.(?:q|k|v|out)_proj)",
        },
        attention="self_attn",
        projection_attention="image_to_text_projection.x_attn",
    )
    family: ClassVar[Family] = Family(
        title="Kosmos-2",
        hub="microsoft/kosmos-2-patch14-224",  # its architecture is the default of `Kosmos2Config`
        classes={"kosmos-2": (Kosmos2Config, Kosmos2Model)},
        unused=("text_model.lm_head.",),  # tied to the embeddings, and of no use here
        tags=TAGS,
        image_code="model.get_image_features(pixels).pooler_output",
    )
    title: ClassVar[str] = family.title
    published: ClassVar[dict[Part, int]] = {"vision": 303_179_776, "projection": 19_015_680, "text": 1_342_289_920}

    name: str = "kosmos2"
    prompt: str = "<grounding>An image of a robot {instruction}"
    layout: str = "robovlms"

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise ValueError(f"model.layout must be one of {sorted(LAYOUTS)}, got '{self.layout}'")
        super().__post_init__()

    def find_layout(self) -> Layout:
        return LAYOUTS[self.layout]

    def settle(self, architecture: Kosmos2Config) -> None:
        text = architecture.text_config
        text.dropout = text.attention_dropout = text.activation_dropout = self.dropout
        text.layerdrop = 0.0  # every layer runs, every time
        architecture.vision_config.attention_dropout = self.dropout

    def default_preprocessing(self, architecture: Kosmos2Config) -> Preprocessing:
        return Preprocessing(size=int(architecture.vision_config.image_size))

    def as_processor_writes(self) -> "Kosmos2ModelConfig":
        return replace(self, layout="kosmos2")

    def open_reference(self, architecture: Kosmos2Config) -> Any:
        from mobile_vla.models.backbones.kosmos2_reference import Kosmos2Reference

        return Kosmos2Reference(self.weights, LAYOUTS["kosmos2"])

    def wrap(self, model: nn.Module, special_ids: Mapping[str, int]) -> "Kosmos2Backbone":
        return Kosmos2Backbone(self, model, special_ids)


class Kosmos2Backbone(Backbone):
    """`model` is a `Kosmos2Model`."""

    keeps_states = True
    shares_prefix = True

    def __init__(self, config: Kosmos2ModelConfig, model: nn.Module, special_ids: Mapping[str, int]):
        super().__init__(config, model, special_ids)
        use_quick_gelu(model)
        use_few_queries(model)

    @property
    def num_image_tokens(self) -> int:
        return self.model.config.latent_query_num

    @property
    def patch_size(self) -> int:
        return self.model.config.vision_config.patch_size

    @property
    def image_grid(self) -> ImageGrid:
        """The projection attends to the class token, the patches, and its own latent queries."""
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        return ImageGrid(rows=side, columns=side, classes=1, others=self.num_image_tokens)

    @property
    def text(self) -> Kosmos2TextTransformer:
        """The text decoder, without its language-model head."""
        return self.model.text_model.model

    def compute_in(self, dtype: torch.dtype) -> None:
        super().compute_in(dtype)
        # Positions are a buffer, added to the word embeddings: they share their dtype.
        frozen = not self.embeddings.weight.requires_grad
        self.text.embed_positions.to(dtype if frozen else torch.float32)

    def encode(self, pixel_values: Float[Tensor, "U 3 H H"]) -> Float[Tensor, "U L D"]:
        """Vision tower -> post-layernorm -> L2 norm -> projection."""
        tokens = self.model.get_image_features(pixel_values).pooler_output
        assert tokens is not None, "Kosmos-2 puts its projected image tokens there"
        return tokens

    def run(
        self,
        embeddings: Float[Tensor, "P n D"],
        mask: Bool[Tensor, "P N"],
        prefix: Recording | Prefix | None = None,
    ) -> Float[Tensor, "P n D"]:
        return self.model.text_model(
            inputs_embeds=embeddings, attention_mask=mask.long(), past_key_values=prefix, use_cache=False
        ).last_hidden_state

    def run_first(
        self, embeddings: Float[Tensor, "P N D"], mask: Bool[Tensor, "P N"], count: int
    ) -> Float[Tensor, "P N D"]:
        states = decoder.embed(self.text, embeddings)
        if count == 0:
            return states
        return decoder.run_layers(self.text, states, attention_mask(mask, states.dtype), 0, count)

    def run_rest(
        self, states: Float[Tensor, "P N D"], mask: Bool[Tensor, "P N"], position: Int[Tensor, " P"], first: int
    ) -> Float[Tensor, "P D"]:
        return decoder.finish(self.text, states, mask, position, first)

    def attend_eagerly(self) -> AbstractContextManager[None]:
        """Decoder and projection, which share their configuration; the vision tower stays as it is."""
        return attend_eagerly(self.model.text_model)
