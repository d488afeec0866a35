"""The training step as the upstream code (RoboVLMs, and the lab's fork of it) computes it, reimplemented plainly.

In: frames, prompt ids and chunks of some windows. Out: the loss, and a whole training step. What it does that ours
does not: the vision tower and the decoder run over every window's own frames and texts, however many windows share
them; the language-model head puts out a logit for each of 65,037 words at every position; every layer's hidden states
are kept; nothing is cached, and everything is float32. The mathematics is the same: with the same weights both give
the same contexts, loss and gradients. transformers' and peft's own classes, unpatched. No part of the product uses it.

Gradient checkpointing, which upstream has too and which costs it a third more time, is left off here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration

from benchmarks.device import Cpu, Device
from benchmarks.timing import Stopwatch, Took
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig

LANGUAGE_MODEL_HEAD = "lm_head"
CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY = 1.0, 1e-4, 0.01


@dataclass(frozen=True, kw_only=True)
class WindowBatch:
    """Windows as upstream's loader deals them: each with frames and a text of its own."""

    pixel_values: Float[Tensor, "S W 3 H H"]
    text_ids: Int[Tensor, "S T"]
    chunks: Float[Tensor, "S W C A"]

    def to(self, device: str) -> "WindowBatch":
        return WindowBatch(**{name: value.to(device) for name, value in vars(self).items()})


class UpstreamPolicy(nn.Module):
    """Kosmos-2 with adapters on every linear layer but the language-model head, and an LSTM over the contexts.

    special_ids  token id of `<s>` and `</s>`
    """

    def __init__(
        self,
        architecture: Kosmos2Config,
        special_ids: Mapping[str, int],
        head: LSTMDecoderConfig,
        chunk: int,
        components: int,
        dropout: float = 0.1,
    ):
        super().__init__()
        model = Kosmos2ForConditionalGeneration(architecture).eval()
        adapted = [
            name
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear) and not name.endswith(LANGUAGE_MODEL_HEAD)
        ]
        adapters = LoraConfig(r=32, lora_alpha=16, lora_dropout=dropout, target_modules=adapted, bias="none")
        self.vlm = get_peft_model(model, adapters)  # pyright: ignore[reportArgumentType]
        width = architecture.text_config.embed_dim
        self.action_token = nn.Parameter(torch.randn(width) * architecture.text_config.init_std)
        self.head = head.build(width, chunk, components)
        self.special_ids = dict(special_ids)

    @property
    def model(self) -> Kosmos2ForConditionalGeneration:
        """The base, with its adapters in place."""
        return self.vlm.base_model.model  # pyright: ignore[reportReturnType]

    def image_tokens(self, pixel_values: Float[Tensor, "N 3 H H"]) -> Float[Tensor, "N L D"]:
        model = self.model
        features = model.vision_model.model.post_layernorm(model.vision_model(pixel_values)[0])
        return model.image_to_text_projection(F.normalize(features, dim=-1))[0]

    def contexts(self, batch: WindowBatch) -> Float[Tensor, "S W D"]:
        """The last hidden state at the action token of <s> image text action </s>."""
        num_windows, window = batch.pixel_values.shape[:2]
        embed = self.model.get_input_embeddings()
        image = self.image_tokens(batch.pixel_values.flatten(0, 1))  # (S * W, L, D)
        text = embed(batch.text_ids.repeat_interleave(window, dim=0))  # (S * W, T, D)

        def rows(token: Tensor) -> Tensor:
            return token.expand(len(image), 1, -1)

        first, last = (embed(batch.text_ids.new_tensor([[self.special_ids[t]]])) for t in ("<s>", "</s>"))
        sequence = torch.cat([rows(first), image, text, rows(self.action_token), rows(last)], dim=1)
        found = self.model.text_model(
            inputs_embeds=sequence,
            attention_mask=torch.ones(sequence.shape[:2], dtype=torch.int64, device=sequence.device),
            output_hidden_states=True,
            use_cache=False,
        )
        return found.hidden_states[-1][:, -2].unflatten(0, (num_windows, window))

    def loss(self, batch: WindowBatch) -> Float[Tensor, ""]:
        return F.huber_loss(self.head(self.contexts(batch)), batch.chunks)


class UpstreamStep:
    """Forward, backward, clipping, AdamW: some training steps a call, of which the first is not timed.

    steps  that are timed, one behind the other as in training; what is told is their mean
    """

    def __init__(self, policy: UpstreamPolicy, batch: WindowBatch, device: Device | None = None, steps: int = 1):
        device = device or Cpu()
        self.policy = policy.to(device.name).train()
        self.batch = batch.to(device.name)
        self.weights = [weight for weight in policy.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.steps = steps
        self.clocks = device.clocks

    def __call__(self) -> Took:
        self.step()
        watch = Stopwatch(self.clocks)
        for _ in range(self.steps):
            self.step()
        return watch.stop().share(self.steps)

    def step(self) -> None:
        self.compute_gradients()
        nn.utils.clip_grad_norm_(self.weights, CLIP_NORM)
        self.optimizer.step()

    def compute_gradients(self) -> None:
        self.optimizer.zero_grad()
        self.policy.loss(self.batch).backward()
