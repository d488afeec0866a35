"""What every backbone is to the rest of the package: frames and texts in, one context a (frame, text) pair out.

In: pixel values (U, 3, H, H) and prompt ids (I, T). Out: image tokens (U, L, D) and contexts (P, D), the decoder's
final hidden state (behind its norm) at the learnable action token. A family extends `Backbone` and says how it encodes
images and how its decoder runs over a sequence; the sequence itself, freezing, adapters and precision are the same for
all. What a family cannot do it leaves undeclared (`keeps_states`, `shares_prefix`, `Anatomy.attention`), and callers
then do without, or refuse.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.anatomy import Anatomy, ImageGrid
from mobile_vla.models.backbones.fingerprint import describe_architecture
from mobile_vla.models.backbones.layouts import Sequence
from mobile_vla.models.backbones.lora import AdapterConfig, apply_adapters, find_targets
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.backbones.prefix import Prefix, Recording

ACTION_TOKEN_SEED = 20  # its own stream: the same token whatever the training's seed, so contexts can be shared


class Backbone(nn.Module):
    """Frames and texts -> contexts. `model` holds all weights but the action token's; adapters are injected in place.

    keeps_states   the decoder can be run in two parts (`run_first`, `run_rest`), so that frozen layers run once
    shares_prefix  `run` takes a `Prefix`, and a `Recording` to make one of
    patch_size     side of the vision tower's patches, in pixels
    """

    keeps_states: ClassVar[bool] = False
    shares_prefix: ClassVar[bool] = False

    def __init__(self, config: ModelConfig, model: nn.Module, special_ids: Mapping[str, int]):
        """special_ids: the token id of each special token of the layout."""
        super().__init__()
        self.config = config
        self.layout = config.find_layout()
        self.model: Any = model
        self.special_ids = dict(special_ids)
        # On the device: a GPU would be waited for in the midst of a step, were they sent there at every one.
        ids = torch.tensor([*self.special_ids.values()], dtype=torch.int64)
        self.register_buffer("_special", ids, persistent=False)
        self.compute_dtype = torch.float32
        self.targets = ""  # of the adapters: a regular expression over full names of the model's modules
        self.action_token = nn.Parameter(_new_action_token(self.embeddings.weight))

    # What a family must say.

    @property
    def num_image_tokens(self) -> int:
        raise NotImplementedError

    def encode(self, pixel_values: Float[Tensor, "U 3 H H"]) -> Float[Tensor, "U L D"]:
        """Image tokens, as wide as a word's embedding."""
        raise NotImplementedError

    def run(
        self,
        embeddings: Float[Tensor, "P n D"],
        mask: Bool[Tensor, "P N"],
        prefix: Recording | Prefix | None = None,
    ) -> Float[Tensor, "P n D"]:
        """The decoder's states behind its norm, causal, of the last n of N positions (all, unless there is a `Prefix`).

        mask  which positions may be attended to. Padding is on the right. What it hides keeps its position.
        """
        raise NotImplementedError

    # What a family may say.

    @property
    def patch_size(self) -> int:
        return 8

    @property
    def image_grid(self) -> ImageGrid:
        """What the keys of `Anatomy.projection_attention` are; unless it says so, image tokens form a square."""
        side = round(self.num_image_tokens**0.5)
        return ImageGrid(rows=side, columns=side)

    def run_first(
        self, embeddings: Float[Tensor, "P N D"], mask: Bool[Tensor, "P N"], count: int
    ) -> Float[Tensor, "P N D"]:
        """What text layer `count` reads. Only where the family `keeps_states`."""
        raise NotImplementedError

    def run_rest(
        self, states: Float[Tensor, "P N D"], mask: Bool[Tensor, "P N"], position: Int[Tensor, " P"], first: int
    ) -> Float[Tensor, "P D"]:
        """From what layer `first` reads to the normed state at one position. Only where the family `keeps_states`."""
        raise NotImplementedError

    def attend_eagerly(self) -> AbstractContextManager[None]:
        """While it lasts, the decoder's attention gives its weights. Only where there is an `Anatomy.attention`."""
        raise NotImplementedError

    def recompute_activations(self) -> None:
        """Activations are computed again in the backward pass, from now on."""
        if not hasattr(self.model, "activation_checkpointing_enable"):
            raise UserError(
                f"model.gradient_checkpointing=true: model.name={self.config.name} cannot recompute activations; "
                "leave it out"
            )
        self.model.activation_checkpointing_enable({"use_reentrant": False})

    def describe_architecture(self) -> dict[str, object]:
        """What the weights do not tell of what is computed, in plain values: a part of a cache's key."""
        if hasattr(self.model, "config"):
            return describe_architecture(self.model.config)
        return self.config.list_own_settings()

    # What all of them do.

    @property
    def anatomy(self) -> Anatomy:
        return self.config.anatomy

    @property
    def device(self) -> torch.device:
        return self.action_token.device

    @property
    def context_width(self) -> int:
        return self.action_token.shape[0]

    @property
    def embeddings(self) -> nn.Embedding:
        """Of words."""
        return self.model.get_submodule(self.anatomy.embeddings)

    @property
    def text_layers(self) -> list[nn.Module]:
        return list(self.model.get_submodule(self.anatomy.text_layers).children())

    @property
    def vision_layers(self) -> list[nn.Module]:
        """Empty where the vision tower has none of one kind."""
        path = self.anatomy.vision_layers
        return [] if path is None else list(self.model.get_submodule(path).children())

    @property
    def num_text_layers(self) -> int:
        return len(self.text_layers)

    @property
    def num_frozen_layers(self) -> int:
        """Text layers in front of the first that training can change, or that works on what training changes."""
        before = [self.action_token, *self.embeddings.parameters()]
        if any(weight.requires_grad for weight in before):
            return 0
        trained = [any(weight.requires_grad for weight in layer.parameters()) for layer in self.text_layers]
        return [*trained, True].index(True)

    def adapt(self, config: AdapterConfig) -> None:
        """Inject adapters and say what is trained; gradient checkpointing only works when enabled after it."""
        if config.has_adapters:
            self.targets = find_targets(config, self.model, self.anatomy)
        apply_adapters(self.model, config, self.targets)
        self.action_token.requires_grad_(config.trains_action_token(self.num_text_layers))
        if self.config.gradient_checkpointing:
            self.recompute_activations()

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

    def autocast(self) -> AbstractContextManager:
        """The precision that training, probing and inference share."""
        return torch.autocast(self.device.type, self.compute_dtype, enabled=self.compute_dtype != torch.float32)

    def image_tokens(self, pixel_values: Float[Tensor, "U 3 H H"]) -> Float[Tensor, "U L D"]:
        """What `encode` makes of them; without a graph when neither vision tower nor projection is trained."""
        towers = [self.model.get_submodule(path) for path in (self.anatomy.vision, self.anatomy.projection)]
        trained = any(weight.requires_grad for tower in towers for weight in tower.parameters())
        with self.autocast(), torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            return self.encode(pixel_values)

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

        While training, only what the context needs is computed, where the family can do so. Otherwise the whole
        decoder runs, so that every module of it can be watched; of its sequence, what stands behind the `prefix`.
        """
        with self.autocast():
            sequence = self.assemble(image_tokens[pair_frame], text_ids, text_mask, pair_text, hidden)
            if self.training and self.keeps_states:
                needed = self._up_to_action(sequence)
                states = self.run_first(needed.embeddings, needed.mask, 0)
                return self.run_rest(states, needed.mask, needed.action_position, 0)
            first = 0 if prefix is None else prefix.length
            states = self.run(sequence.embeddings[:, first:], sequence.mask, prefix)  # (P, N - first, D)
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
            sequence = self._up_to_action(self.assemble(image_tokens, text_ids, text_mask, same))
            return self.run_first(sequence.embeddings, sequence.mask, self.num_frozen_layers)

    def decode_states(self, states: Float[Tensor, "P N D"], text_mask: Bool[Tensor, "P T"]) -> Float[Tensor, "P D"]:
        """The context of each pair from what the first trained layer reads; shorter ones are padded on the right."""
        action_position, _ = self.layout.ends(self.num_image_tokens, text_mask)
        mask = self.layout.mask(states.shape[1], self.num_image_tokens, text_mask)
        with self.autocast():
            return self.run_rest(states, mask, action_position, self.num_frozen_layers)

    def assemble(
        self,
        image_tokens: Float[Tensor, "P L D"],
        text_ids: Int[Tensor, "I T"],
        text_mask: Bool[Tensor, "I T"],
        pair_text: Int[Tensor, " P"],
        hidden: Bool[Tensor, "P L"] | None = None,
    ) -> Sequence:
        """What the decoder reads of each pair."""
        text = self.embeddings(text_ids)  # (I, T, D): each distinct text once
        return self.layout.assemble(
            lambda tokens: self.embeddings(self._special_of(tokens)),
            image_tokens.to(text.dtype),
            text[pair_text],
            text_mask[pair_text],
            self.action_token,
            hidden,
        )

    def _special_of(self, tokens: tuple[str, ...]) -> Int[Tensor, " n"]:
        """Their ids; tokens that stand together in a layout do so here, too."""
        order = [*self.special_ids]
        first = order.index(tokens[0]) if tokens else 0
        if tuple(order[first : first + len(tokens)]) == tokens:
            return self._special[first : first + len(tokens)]
        return torch.cat([self._special_of((token,)) for token in tokens])

    def _up_to_action(self, sequence: Sequence) -> Sequence:
        """Without what no context can see."""
        length = sequence.mask.shape[1] - len(self.layout.behind_action)
        return Sequence(sequence.embeddings[:, :length], sequence.mask[:, :length], sequence.action_position)


@contextmanager
def attend_eagerly(model: Any) -> Iterator[None]:
    """Eager attention of a model of transformers while the block runs; as before afterwards, however it ends."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _new_action_token(embeddings: Float[Tensor, "words D"]) -> Float[Tensor, " D"]:
    """Random, as large as a word's embedding; never zeros, from which no gradient would tell its parts apart."""
    generator = torch.Generator().manual_seed(ACTION_TOKEN_SEED)
    token = torch.randn(embeddings.shape[1], generator=generator, device="cpu").to(embeddings.device)
    if embeddings.is_meta:
        return token
    return token * embeddings.detach().float().std()
