"""The backbone: transformers' Kosmos-2, unpatched and without its language-model head, from a frame and a text to
a context.

In: pixel values (U, 3, H, H) and prompt ids (I, T). Out: image tokens (U, L, D) and contexts (P, D), the decoder's
final hidden state (behind its layer norm) at the learnable action token. The real model, a random one of the real
architecture and a tiny one are the same class; nothing here asks which of them it is.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import Kosmos2Config, Kosmos2Model
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2TextTransformer

from mobile_vla.core.changes import Change, on_change
from mobile_vla.core.errors import UserError
from mobile_vla.core.preprocessing import Preprocessing, PreprocessingName
from mobile_vla.models.backbones import decoder
from mobile_vla.models.backbones.activation import use_quick_gelu
from mobile_vla.models.backbones.few_queries import use_few_queries
from mobile_vla.models.backbones.layouts import LAYOUTS, Sequence
from mobile_vla.models.backbones.lora import AdapterConfig, apply_adapters
from mobile_vla.models.backbones.prefix import Prefix, Recording

RANDOM = "random"
ACTION_TOKEN_SEED = 20  # its own stream: the same token whatever the training's seed, so contexts can be shared


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """Which Kosmos-2, and how it is read.

    weights                 a local folder, a name on the hub, or `random`
    architecture            for `random`: overrides of `Kosmos2Config` (nested: text_config, vision_config, …)
    weights_seed            for `random`: the base is rebuilt from it, since checkpoints never hold the base
    layout                  order of image tokens, text and action token: see `layouts.LAYOUTS`
    prompt                  template around the instruction
    preprocessing           `clip`, `unit` (images in [0, 1], as old checkpoints were trained); None: as the weights say
    dropout                 the backbone's own dropout while training; 0 keeps frozen parts deterministic
    gradient_checkpointing  recompute activations in the backward pass: less memory, a third more time
    """

    weights: str = field(metadata=on_change(Change.NOTED))
    architecture: dict[str, Any] = field(default_factory=dict)
    weights_seed: int = 0
    layout: str = "robovlms"
    prompt: str = "<grounding>An image of a robot {instruction}"
    preprocessing: PreprocessingName | None = None
    dropout: float = 0.0
    gradient_checkpointing: bool = field(default=False, metadata=on_change(Change.NOTED))

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise ValueError(f"model.layout must be one of {sorted(LAYOUTS)}, got '{self.layout}'")
        try:
            fields = {field for _, field, _, _ in Formatter().parse(self.prompt) if field is not None}
        except ValueError:
            fields = set()
        if fields != {"instruction"}:
            raise ValueError(f"model.prompt must hold {{instruction}} and no other braces, got '{self.prompt}'")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout must lie in [0, 1), got {self.dropout}")
        if self.architecture and self.weights != RANDOM:
            raise ValueError("model.architecture describes a random model; leave it out or set model.weights=random")


class Kosmos2Backbone(nn.Module):
    """Frames and texts -> contexts. `model` is a `Kosmos2Model` whose adapters, if any, are injected in place."""

    def __init__(self, config: BackboneConfig, model: Kosmos2Model, special_ids: dict[str, int]):
        """special_ids: token id of each special token of the layout."""
        super().__init__()
        self.config = config
        self.layout = LAYOUTS[config.layout]
        self.model = model
        use_quick_gelu(model)
        use_few_queries(model)
        self.special_ids = special_ids
        # On the device: a GPU would be waited for in the midst of a step, were they sent there at every one.
        self.register_buffer("_special", torch.tensor([*special_ids.values()], dtype=torch.int64), persistent=False)
        self.compute_dtype = torch.float32
        self.action_token = nn.Parameter(_new_action_token(model))

    @property
    def context_width(self) -> int:
        return self.model.config.text_config.embed_dim

    @property
    def num_image_tokens(self) -> int:
        return self.model.config.latent_query_num

    @property
    def text(self) -> Kosmos2TextTransformer:
        """The text decoder, without its language-model head."""
        return self.model.text_model.model

    @property
    def num_frozen_layers(self) -> int:
        """Text layers in front of the first that training can change, or that works on what training changes."""
        before = [self.action_token, *self.text.embed_tokens.parameters()]
        if any(weight.requires_grad for weight in before):
            return 0
        trained = [any(weight.requires_grad for weight in layer.parameters()) for layer in self.text.layers]
        return [*trained, True].index(True)

    def adapt(self, config: AdapterConfig) -> None:
        """Inject adapters and say what is trained; gradient checkpointing only works when enabled after it."""
        num_layers = self.model.config.text_config.layers
        apply_adapters(self.model, config, num_layers)
        self.action_token.requires_grad_(config.trains_action_token(num_layers))
        if self.config.gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})

    def compute_in(self, dtype: torch.dtype) -> None:
        """Hold frozen weights in `dtype` and compute in it; what is trained stays float32."""
        self.compute_dtype = dtype
        for weight in self.model.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.to(dtype)
        for layer in self.model.modules():
            if isinstance(layer, BaseTunerLayer):
                # peft would copy every adapter's input to float32, only for autocast to cast it back.
                layer.cast_input_dtype_enabled = dtype == torch.float32  # pyright: ignore[reportArgumentType]
        positions = self.model.text_model.model.embed_positions
        # Positions are a buffer, added to the word embeddings: they share their dtype.
        frozen = not self.model.get_input_embeddings().weight.requires_grad
        positions.to(dtype if frozen else torch.float32)

    def autocast(self) -> AbstractContextManager:
        """The precision that training, probing and inference share."""
        return torch.autocast(
            self.action_token.device.type, self.compute_dtype, enabled=self.compute_dtype != torch.float32
        )

    def image_tokens(self, pixel_values: Float[Tensor, "U 3 H H"]) -> Float[Tensor, "U L D"]:
        """Vision tower -> post-layernorm -> L2 norm -> projection; without a graph when neither part is trained."""
        towers = (self.model.vision_model, self.model.image_to_text_projection)
        trained = any(weight.requires_grad for tower in towers for weight in tower.parameters())
        with self.autocast(), torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            tokens = self.model.get_image_features(pixel_values).pooler_output
        assert tokens is not None, "Kosmos-2 puts its projected image tokens there"
        return tokens

    def decode(
        self,
        image_tokens: Float[Tensor, "U L D"],
        text_ids: Int[Tensor, "I T"],
        text_mask: Bool[Tensor, "I T"],
        pair_frame: Int[Tensor, " P"],
        pair_text: Int[Tensor, " P"],
        hidden: Bool[Tensor, "P L"] | None = None,
        prefix: Recording | Prefix | None = None,
    ) -> Float[Tensor, "P D"]:
        """The context of each (frame, text) pair; `hidden` image tokens are there, but masked in every attention.

        While training, only what the context needs is computed (see `decoder`). Otherwise the whole decoder runs, so
        that every module of it can be watched; of its sequence, what stands behind the `prefix`.
        """
        with self.autocast():
            sequence = self._assemble(image_tokens[pair_frame], text_ids, text_mask, pair_text, hidden)
            if self.training:
                needed = self._up_to_action(sequence)
                states = decoder.embed(self.text, needed.embeddings)
                return decoder.finish(self.text, states, needed.mask, needed.action_position)
            first = 0 if prefix is None else prefix.length
            states = self.model.text_model(
                inputs_embeds=sequence.embeddings[:, first:],
                attention_mask=sequence.mask.long(),
                past_key_values=prefix,
                use_cache=False,
            ).last_hidden_state  # (P, N - first, D)
        return states[torch.arange(states.shape[0], device=states.device), sequence.action_position - first]

    def frozen_states(
        self,
        image_tokens: Float[Tensor, "P L D"],
        text_ids: Int[Tensor, "1 T"],
        text_mask: Bool[Tensor, "1 T"],
    ) -> Float[Tensor, "P N D"]:
        """What the first trained text layer reads, of frames with one text; it ends with the action token."""
        same = torch.zeros(image_tokens.shape[0], dtype=torch.int64, device=image_tokens.device)
        with self.autocast():
            sequence = self._up_to_action(self._assemble(image_tokens, text_ids, text_mask, same))
            states = decoder.embed(self.text, sequence.embeddings)
            allowed = decoder.attention_mask(sequence.mask, states.dtype)
            return decoder.run_layers(self.text, states, allowed, 0, self.num_frozen_layers)

    def decode_states(self, states: Float[Tensor, "P N D"], text_mask: Bool[Tensor, "P T"]) -> Float[Tensor, "P D"]:
        """The context of each pair from what the first trained layer reads; shorter ones are padded on the right."""
        action_position, _ = self.layout.ends(self.num_image_tokens, text_mask)
        mask = self.layout.mask(states.shape[1], self.num_image_tokens, text_mask)
        with self.autocast():
            return decoder.finish(self.text, states, mask, action_position, self.num_frozen_layers)

    def _assemble(
        self,
        image_tokens: Float[Tensor, "P L D"],
        text_ids: Int[Tensor, "I T"],
        text_mask: Bool[Tensor, "I T"],
        pair_text: Int[Tensor, " P"],
        hidden: Bool[Tensor, "P L"] | None = None,
    ) -> Sequence:
        embed = self.model.get_input_embeddings()
        text = embed(text_ids)  # (I, T, D): each distinct text once
        return self.layout.assemble(
            lambda tokens: embed(self._special_of(tokens)),
            image_tokens.to(text.dtype),
            text[pair_text],
            text_mask[pair_text],
            self.action_token,
            hidden,
        )

    def _special_of(self, tokens: tuple[str, ...]) -> Int[Tensor, " n"]:
        """Their ids; tokens that stand together in a layout do so here, too."""
        first = [*self.special_ids].index(tokens[0]) if tokens else 0
        return self._special[first : first + len(tokens)]

    def _up_to_action(self, sequence: Sequence) -> Sequence:
        """Without what no context can see."""
        length = sequence.mask.shape[1] - len(self.layout.behind_action)
        return Sequence(sequence.embeddings[:, :length], sequence.mask[:, :length], sequence.action_position)


def architecture_of(config: BackboneConfig) -> Kosmos2Config:
    """The transformers configuration: the checkpoint's own, or one with the overrides of `architecture`."""
    if config.weights == RANDOM:
        _refuse_unknown(config.architecture, Kosmos2Config(), "model.architecture")
        architecture = Kosmos2Config(**config.architecture)
    else:
        kind = Kosmos2Config.get_config_dict(config.weights)[0].get("model_type")
        if kind != Kosmos2Config.model_type:
            raise ValueError(f"its config.json describes a {kind or 'model without model_type'}, not a kosmos-2")
        architecture = Kosmos2Config.from_pretrained(config.weights)
    text = architecture.text_config
    text.dropout = text.attention_dropout = text.activation_dropout = config.dropout
    text.layerdrop = 0.0  # every layer runs, every time
    architecture.vision_config.attention_dropout = config.dropout
    return architecture


def _refuse_unknown(overrides: Mapping[str, Any], known: Any, where: str) -> None:
    """transformers takes any keyword; a misspelled one would silently leave the default."""
    for name, value in overrides.items():
        if not hasattr(known, name):
            raise ValueError(f"{where}.{name} is no setting of {type(known).__name__}")
        if isinstance(value, Mapping):
            _refuse_unknown(value, getattr(known, name), f"{where}.{name}")


def special_ids(tokenizer, layout: str) -> dict[str, int]:
    """Token id of each special token that the layout writes; `UserError` where the tokenizer lacks one."""
    parts = LAYOUTS[layout]
    names = (*parts.before_image, *parts.behind_image, *parts.behind_action)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in names}
    lacking = [name for name, i in ids.items() if i is None or i == tokenizer.unk_token_id]
    if lacking:
        raise UserError(f"model.layout={layout} needs the tokens {lacking}, which this model's tokenizer lacks")
    return ids


def _new_action_token(model: Kosmos2Model) -> Float[Tensor, " D"]:
    """Random, as large as a word's embedding; never zeros, from which no gradient would tell its parts apart."""
    embeddings: Tensor = model.get_input_embeddings().weight  # pyright: ignore[reportAssignmentType]
    generator = torch.Generator().manual_seed(ACTION_TOKEN_SEED)
    token = torch.randn(embeddings.shape[1], generator=generator, device="cpu").to(embeddings.device)
    if embeddings.is_meta:
        return token
    return token * embeddings.detach().float().std()


def vision_size(architecture: Kosmos2Config) -> int:
    """Side of the square image that the vision tower takes, in pixels."""
    return int(architecture.vision_config.image_size)


def default_preprocessing(architecture: Kosmos2Config) -> Preprocessing:
    """Kosmos-2's own, at the size of this architecture: for models that come without an image processor."""
    return Preprocessing(size=vision_size(architecture))
