"""Layout `legacy`: image tokens over the prompt, and the prompt's mask over them, as transformers computes it."""

import pytest
import torch

from mobile_vla.core.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing
from mobile_vla.models.backbones.tokenizer import Prompter, offline_tokenizer
from tests.models.backbones.test_kosmos2 import TOLERANCE, pixels, prompt_ids

TEXTS = ("go left", "go right", "go past the box on the right side then turn around the red box")
NUM_IMAGE = 8


@pytest.fixture(scope="module")
def legacy(tiny):
    """Prompts of 2, 2 and more tokens than there are image tokens."""
    policy = tiny.stir(tiny.make_policy(layout="legacy", prompt="{instruction}"))
    lengths = [len(prompt_ids(policy, text)) for text in TEXTS]
    assert lengths[0] == lengths[1] < NUM_IMAGE < lengths[2]
    return policy


@torch.no_grad()
def contexts(tiny, policy, text: str, frame: int = 0, edit=None) -> torch.Tensor:
    """Of one pair; `edit` changes the image tokens before the decoder reads them."""
    batch = tiny.make_batch(policy, [(frame, 0)], texts=(text,))
    tokens = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
    if edit is not None:
        edit(tokens[frame])
    return policy.backbone.decode(tokens, batch.text_ids, batch.text_mask, batch.pair_frame, batch.pair_text)[0]


@torch.no_grad()
def test_equals_kosmos2_forward_over_the_padded_prompt_marked_as_image(tiny, legacy):
    """One pair at a time: prompt padded to the image tokens' number, all of these places image, its mask kept."""
    pairs = [(0, 0), (1, 1), (3, 2), (2, 0)]
    batch = tiny.make_batch(legacy, pairs, texts=TEXTS)
    found = legacy.contexts(batch)
    model = legacy.backbone.model
    for row, (frame, text) in zip(found, pairs, strict=True):
        ids = prompt_ids(legacy, TEXTS[text])
        padding = max(NUM_IMAGE - len(ids), 0)
        embeddings = model.text_model.model.embed_tokens(torch.tensor([[*ids, *[1] * padding]]))
        embeddings = torch.cat([embeddings, legacy.backbone.action_token[None, None]], dim=1)
        is_image = torch.zeros(1, embeddings.shape[1], dtype=torch.long)
        is_image[:, :NUM_IMAGE] = 1
        hidden = model(
            pixel_values=pixels(batch.frames[frame]),
            inputs_embeds=embeddings.clone(),
            image_embeds_position_mask=is_image,
            attention_mask=torch.tensor([[*[1] * len(ids), *[0] * padding, 1]]),
            use_cache=False,
        ).last_hidden_state
        torch.testing.assert_close(row, hidden[0, -1], **TOLERANCE)


def test_other_words_of_the_same_length_change_nothing_and_another_length_does(tiny, legacy):
    own = contexts(tiny, legacy, "go left")
    assert torch.equal(contexts(tiny, legacy, "go right"), own)
    assert torch.equal(contexts(tiny, legacy, "red box"), own)
    assert (contexts(tiny, legacy, "go left please") - own).abs().max() > 1e-3


def test_of_the_image_tokens_only_as_many_as_the_prompt_has_tokens_are_seen(tiny, legacy):
    text = "go past the box"
    length = len(prompt_ids(legacy, text))
    own = contexts(tiny, legacy, text)
    for token in range(NUM_IMAGE):

        def replace(tokens, token=token):
            tokens[token] = tokens[token].flip(0) + 0.3

        moved = (contexts(tiny, legacy, text, edit=replace) - own).abs().max()
        assert (moved > 1e-4) == (token < length), token
        assert token < length or moved == 0, token


def test_words_beyond_the_image_tokens_are_read(tiny, legacy):
    """The overwritten ones are not, whatever the length."""
    words = TEXTS[2].split()
    own = contexts(tiny, legacy, TEXTS[2])
    first, last = ["stop", *words[1:]], [*words[:-1], "goal"]
    assert len(prompt_ids(legacy, " ".join(first))) == len(prompt_ids(legacy, " ".join(last))) == len(words)
    assert torch.equal(contexts(tiny, legacy, " ".join(first)), own)
    assert (contexts(tiny, legacy, " ".join(last)) - own).abs().max() > 1e-4


def test_unit_preprocessing_is_bilinear_and_leaves_colours_in_0_1(tiny):
    frames = tiny.random_frames(28)
    config = tiny.model_config(preprocessing="unit")
    unit = tiny.open_source(config).preprocessing
    assert (unit.size, unit.interpolation) == (28, "bilinear")
    torch.testing.assert_close(unit(frames), frames.permute(0, 3, 1, 2) / 255)
    for name in (None, "clip"):
        source = tiny.open_source(tiny.model_config(preprocessing=name))
        assert source.preprocessing == Preprocessing(size=28, mean=CLIP_MEAN, std=CLIP_STD)
    assert tiny.open_source(config).weights_preprocessing == Preprocessing(size=28)


def test_the_prompt_may_write_its_own_special_token():
    """`<s>` before the prompt, where an old checkpoint had one, is a word of `model.prompt`."""
    ids = Prompter(offline_tokenizer(), "<s>{instruction}").ids("go left")
    assert ids[0] == offline_tokenizer().bos_token_id
    assert len(ids) == 1 + len(Prompter(offline_tokenizer(), "{instruction}").ids("go left"))
