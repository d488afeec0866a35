"""What a row under an intervention must be: one frame at a time, from transformers' own modules, nothing shared.

Hidden image tokens are taken out of the sequence, and the others keep their position numbers.
"""

import torch
from torch.nn import functional as F

from mobile_vla.models.backbones.tokenizer import offline_tokenizer
from mobile_vla.models.policy import Policy


def context(policy: Policy, frame: torch.Tensor, text: str, hidden: tuple[int, ...] = ()) -> torch.Tensor:
    """(D,) of one frame and one text, layout `robovlms`: <s> image text action </s>."""
    model = policy.backbone.model
    seen = model.vision_model(pixel_values=policy.preprocessing(frame[None])).last_hidden_state
    image, _ = model.image_to_text_projection(F.normalize(model.vision_model.model.post_layernorm(seen), dim=-1))
    embed = model.text_model.model.embed_tokens
    prompt = policy.backbone.config.prompt.replace("{instruction}", text)
    ids = offline_tokenizer()(prompt, add_special_tokens=False)["input_ids"]
    parts = [embed(torch.tensor([[0]])), image, embed(torch.tensor([ids]))]
    parts += [policy.backbone.action_token[None, None], embed(torch.tensor([[2]]))]
    sequence = torch.cat(parts, dim=1)
    kept = torch.tensor([i for i in range(sequence.shape[1]) if i - 1 not in hidden])
    positions = kept + 2  # transformers begins to count there
    states = model.text_model(inputs_embeds=sequence[:, kept], position_ids=positions[None], use_cache=False)
    return states.last_hidden_state[0, -2]


def chunk(policy: Policy, contexts: list[torch.Tensor]) -> torch.Tensor:
    """(C, A) predicted at the last of the contexts of a window."""
    return policy.head(torch.stack(contexts)[None])[0, -1]
