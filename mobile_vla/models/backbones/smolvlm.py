"""SmolVLM: a SigLIP vision tower, a connector that joins neighbouring patches, and a Llama decoder.

The smaller SmolVLMs are stored as Idefics3, the later ones as SmolVLM: two names of one architecture, and both are
read. A frame is one square image, squashed like any other here: the processor's splitting into tiles is not done. Image
tokens lie over the frame row by row, each for scale_factor x scale_factor patches.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Idefics3Config, Idefics3Model, SmolVLMConfig, SmolVLMModel

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones.anatomy import Anatomy, Part
from mobile_vla.models.backbones.backbone import Backbone, attend_eagerly
from mobile_vla.models.backbones.layouts import Layout, attention_mask
from mobile_vla.models.backbones.prefix import Prefix, Recording
from mobile_vla.models.backbones.pretrained import Family, TransformersModelConfig

IMAGE_MARK, GLOBAL_IMAGE = "<fake_token_around_image>", "<global-img>"
CHAT = Layout(
    name="smolvlm",
    before_image=("<|im_start|>", "User", ":", IMAGE_MARK, GLOBAL_IMAGE),
    behind_image=(IMAGE_MARK,),
)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class SmolVLMModelConfig(TransformersModelConfig):
    """The prompt is what its chat template writes behind the image, up to where an answer would begin."""

    anatomy: ClassVar[Anatomy] = Anatomy(
        vision="vision_model",
        projection="connector",
        text="text_model",
        embeddings="text_model.embed_tokens",
        text_layers="text_model.layers",
        norm="text_model.norm",
        vision_layers="vision_model.encoder.layers",
        linears={
            "text": r"text_model\.layers\.{layer}\.(?:self_attn\.(?:q|k|v|o)_proj|mlp\.(?:gate|up|down)_proj)",
            "vision": r"vision_model\.encoder\.layers\.\d+\.(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])",
            "projection": r"connector\.modality_projection\.proj",
        },
        attention="self_attn",
    )
    family: ClassVar[Family] = Family(
        title="SmolVLM",
        hub="HuggingFaceTB/SmolVLM-256M-Instruct",
        classes={"smolvlm": (SmolVLMConfig, SmolVLMModel), "idefics3": (Idefics3Config, Idefics3Model)},
        unused=("lm_head.",),
        tags=(*dict.fromkeys(CHAT.special_tokens), "<image>", "<end_of_utterance>"),
        image_code="model.connector(model.vision_model(pixels).last_hidden_state)",
        known={
            "image_token_id": 49190,
            "scale_factor": 4,
            "text_config": {
                "model_type": "llama",
                "vocab_size": 49280,
                "hidden_size": 576,
                "intermediate_size": 1536,
                "num_hidden_layers": 30,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "max_position_embeddings": 8192,
                "rms_norm_eps": 1e-5,
                "rope_theta": 100000.0,
                "pad_token_id": 2,
            },
            "vision_config": {
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "image_size": 512,
                "patch_size": 16,
            },
        },
    )
    title: ClassVar[str] = family.title
    published: ClassVar[dict[Part, int]] = {"vision": 86_433_024, "projection": 7_077_888, "text": 134_588_736}

    name: str = "smolvlm"
    prompt: str = "{instruction}<end_of_utterance>\nAssistant:"

    def find_layout(self) -> Layout:
        return CHAT

    def settle(self, architecture: Any) -> None:
        architecture.text_config.attention_dropout = self.dropout
        architecture.vision_config.attention_dropout = self.dropout

    def default_preprocessing(self, architecture: Any) -> Preprocessing:
        return Preprocessing(size=int(architecture.vision_config.image_size), mean=HALF, std=HALF)

    def open_reference(self, architecture: Any) -> Any:
        from mobile_vla.models.backbones.smolvlm_reference import SmolVLMReference

        return SmolVLMReference(self.weights, CHAT, architecture.model_type, type(self).prompt)

    def wrap(self, model: nn.Module, special_ids: Mapping[str, int]) -> "SmolVLMBackbone":
        return SmolVLMBackbone(self, model, special_ids)


class SmolVLMBackbone(Backbone):
    """`model` is a `SmolVLMModel` or an `Idefics3Model`."""

    keeps_states = True
    shares_prefix = True

    @property
    def num_image_tokens(self) -> int:
        return self.model.image_seq_len

    @property
    def patch_size(self) -> int:
        return self.model.config.vision_config.patch_size

    def encode(self, pixel_values: Float[Tensor, "U 3 H H"]) -> Float[Tensor, "U L D"]:
        """Not by `get_image_features`, which leaves out images that are all black."""
        return self.model.connector(self.model.vision_model(pixel_values=pixel_values).last_hidden_state)

    def run(
        self,
        embeddings: Float[Tensor, "P n D"],
        mask: Bool[Tensor, "P N"],
        prefix: Recording | Prefix | None = None,
    ) -> Float[Tensor, "P n D"]:
        first = mask.shape[1] - embeddings.shape[1]
        return self.model.text_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask(mask, embeddings.dtype)[:, :, first:],
            position_ids=torch.arange(first, mask.shape[1], device=mask.device)[None],
            past_key_values=prefix,
            use_cache=False,
        ).last_hidden_state

    def run_first(
        self, embeddings: Float[Tensor, "P N D"], mask: Bool[Tensor, "P N"], count: int
    ) -> Float[Tensor, "P N D"]:
        return self._run_layers(embeddings, mask, self.text_layers[:count])

    def run_rest(
        self, states: Float[Tensor, "P N D"], mask: Bool[Tensor, "P N"], position: Int[Tensor, " P"], first: int
    ) -> Float[Tensor, "P D"]:
        states = self._run_layers(states, mask, self.text_layers[first:])
        return self.model.text_model.norm(states[torch.arange(len(states), device=states.device), position])

    def _run_layers(
        self, states: Float[Tensor, "P N D"], mask: Bool[Tensor, "P N"], layers: list[nn.Module]
    ) -> Float[Tensor, "P N D"]:
        """As transformers' `LlamaModel` calls them."""
        if not layers:
            return states
        allowed = attention_mask(mask, states.dtype)
        positions = torch.arange(states.shape[1], device=states.device)[None]
        rotary = self.model.text_model.rotary_emb(states, position_ids=positions)
        for layer in layers:
            states = layer(states, attention_mask=allowed, position_ids=positions, position_embeddings=rotary)
        return states

    def attend_eagerly(self) -> AbstractContextManager[None]:
        return attend_eagerly(self.model.text_model)
