"""Kosmos-2's text decoder in pieces: transformers' own modules, called one by one.

A context is the state of one position behind the last layer. So a training step that nobody watches computes the last
layer at that position alone; and where lower layers are frozen, it begins with the states that they put out, which
were computed once. Both give what the whole decoder gives, up to rounding: a product of fewer rows is summed in
another order.

The decoder is causal, so nothing behind the action token is ever needed.
"""

from functools import partial
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2TextBlock, Kosmos2TextTransformer

from mobile_vla.models.backbones.layouts import Additive, attention_mask


def embed(text: Kosmos2TextTransformer, embeddings: Float[Tensor, "P N D"]) -> Float[Tensor, "P N D"]:
    """What the first layer reads: scaled, with positions."""
    states = text.forward_embedding(input_ids=None, inputs_embeds=embeddings)
    return F.dropout(states, text.dropout, text.training)  # a second time, as transformers does


def run_layers(
    text: Kosmos2TextTransformer, states: Float[Tensor, "P N D"], mask: Additive, first: int, behind: int
) -> Float[Tensor, "P N D"]:
    """Through layers first ... behind - 1."""
    for layer in text.layers[first:behind]:
        states = layer(states, mask)
    return states


def run_at(
    layer: Kosmos2TextBlock, states: Float[Tensor, "P N D"], mask: Additive, position: Int[Tensor, " P"]
) -> Float[Tensor, "P 1 D"]:
    """One layer at one position of each sequence: keys and values are of all positions, all else is of this one."""
    at = position[:, None, None]
    normed = layer.self_attn_layer_norm(states)
    attended, _ = layer.self_attn(
        hidden_states=normed.take_along_dim(at, 1),
        encoder_hidden_states=normed,  # where the attention takes keys and values from
        attention_mask=mask.take_along_dim(at[:, None], 2),
    )
    state = states.take_along_dim(at, 1) + F.dropout(attended, layer.dropout, layer.training)
    return state + layer.ffn(layer.final_layer_norm(state))


def finish(
    text: Kosmos2TextTransformer,
    states: Float[Tensor, "P N D"],
    mask: Bool[Tensor, "P N"],
    position: Int[Tensor, " P"],
    first: int = 0,
) -> Float[Tensor, "P D"]:
    """From what layer `first` reads to the normed state at one position of each sequence."""
    allowed = attention_mask(mask, states.dtype)
    states = run_layers(text, states, allowed, first, len(text.layers) - 1)
    last: Any = text.layers[-1]
    # A layer recomputes its own activations only when it is called as a whole.
    run = partial(checkpoint, run_at, use_reentrant=False) if last.gradient_checkpointing else run_at
    return text.layer_norm(run(last, states, allowed, position))[:, 0]
