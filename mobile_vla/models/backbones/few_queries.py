"""Cross-attention of few queries over many positions, without the keys and values of those positions.

In: transformers' attention, queries (P, Q, D) and positions X (P, N, D). Out: what it puts out, up to rounding. A score
is q' (Wk x + bk) and a value Wv x + bv, linear in x; so for each head the products can be taken in another order:

    scores   X (Wk' q) + q' bk
    output   Wv (A X) + bv   attention weights A sum to 1

which costs H Q numbers a position where keys and values cost 2 D. The projection asks with its few latent queries, the
same for every frame; the decoder's last layer, while training, with one query a sequence.
"""

from typing import Any, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.kosmos2.modeling_kosmos2 import KosmosTextAttention

from mobile_vla.models.backbones.adapted import AdaptedLinear


class FewQueryAttention(KosmosTextAttention):
    """transformers' module with its parameters and names; only cross-attention of few queries is computed otherwise."""

    @no_type_check  # a compiler cannot follow the checks that tests add
    def forward(
        self,
        hidden_states: Float[Tensor, "P Q D"],
        encoder_hidden_states: Float[Tensor, "P N D"] | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if encoder_hidden_states is not None and past_key_values is None and self._is_plain(hidden_states):
            key, value = (_weight_of(layer, encoder_hidden_states) for layer in (self.k_proj, self.v_proj))
            if key is not None and value is not None:
                return self._attend(hidden_states, encoder_hidden_states, attention_mask, key, value), None
        return super().forward(hidden_states, encoder_hidden_states, past_key_values, attention_mask, **kwargs)

    def _is_plain(self, queries: Tensor) -> bool:
        """Few queries, no dropout, and nobody who wants the attention's weights."""
        drops = self.training and self.dropout > 0
        few = 2 * self.num_heads * queries.shape[1] <= self.embed_dim
        return few and not drops and self.config._attn_implementation != "eager"

    def _attend(
        self,
        queries: Float[Tensor, "P Q D"],
        positions: Float[Tensor, "P N D"],
        mask: Tensor | None,
        key: Float[Tensor, "D D"],
        value: Float[Tensor, "D D"],
    ) -> Float[Tensor, "P Q D"]:
        if queries.stride(0) == 0:
            queries = queries[:1]  # one set, shown to every batch entry
        heads, count = self.num_heads, queries.shape[1]
        query = (self.scaling * self.q_proj(queries)).unflatten(-1, (heads, -1))  # (P, Q, H, d)
        asked = torch.einsum("pqhd,hdD->phqD", query, key.unflatten(0, (heads, -1))).flatten(1, 2)  # (P, H Q, D)
        offset = torch.einsum("pqhd,hd->phq", query, _base(self.k_proj).bias.unflatten(0, (heads, -1))).flatten(1)
        scores = _score(asked, offset, positions)
        if mask is not None:
            scores = (scores.unflatten(1, (heads, count)) + mask).flatten(1, 2)
        seen = (scores.softmax(-1) @ positions).unflatten(1, (heads, count))  # (P, H, Q, D)
        found = torch.einsum("phqD,hdD->pqhd", seen, value.unflatten(0, (heads, -1))).flatten(2)
        found = found + _base(self.v_proj).bias
        return self.out_proj(found if self.inner_attn_ln is None else self.inner_attn_ln(found))


def _score(
    asked: Float[Tensor, "#P K D"], offset: Float[Tensor, "#P K"], positions: Float[Tensor, "P N D"]
) -> Float[Tensor, "P K N"]:
    """asked' x + offset of all positions x of a batch entry; what all entries are asked alike is one large product."""
    if len(asked) == 1:
        return F.linear(positions, asked[0], offset[0]).transpose(1, 2)
    return torch.baddbmm(offset[..., None], asked, positions.transpose(1, 2))


def use_few_queries(model: nn.Module) -> None:
    """Every text attention of the model, the projection's too, becomes one; weights and names stay where they are."""
    for module in model.modules():
        if type(module) is KosmosTextAttention:
            module.__class__ = FewQueryAttention


def _base(layer: nn.Module) -> nn.Linear:
    return layer.get_base_layer() if isinstance(layer, AdaptedLinear) else layer


def _weight_of(layer: nn.Module, x: Tensor) -> Tensor | None:
    """The one matrix that a layer multiplies with; None where it has more, or where somebody watches the layer."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return None
    if isinstance(layer, AdaptedLinear):
        return layer.summed_weight(x)
    same = isinstance(layer, nn.Linear) and x.dtype == layer.weight.dtype == torch.float32
    return layer.weight if same and not torch.is_autocast_enabled(x.device.type) else None
