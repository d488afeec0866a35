"""Prompts: padded on the right, the same alone and in company, and no two texts alike."""

import pytest

from mobile_vla.models.backbones.tokenizer import Prompter, offline_tokenizer

TEMPLATE = "<grounding>An image of a robot {instruction}"


@pytest.fixture(scope="module")
def prompter() -> Prompter:
    return Prompter(offline_tokenizer(), TEMPLATE)


def test_padding_is_on_the_right_and_masked(prompter):
    texts = ["go left", "go past the box on the right side"]
    ids, mask = prompter(texts)
    assert ids.shape == mask.shape == (2, prompter.length(texts[1]))
    for row, keep, text in zip(ids, mask, texts, strict=True):
        alone, alone_mask = prompter([text])
        assert alone_mask.all()
        assert row[keep].tolist() == alone[0].tolist()
        assert keep.tolist() == [True] * prompter.length(text) + [False] * (len(keep) - prompter.length(text))


def test_a_prompt_has_no_special_tokens_but_its_own(prompter):
    tokenizer = prompter.tokenizer
    ids = prompter.ids("go left")
    assert ids[0] == tokenizer.convert_tokens_to_ids("<grounding>")
    assert not set(ids[1:]) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("text", ["go left", "xylophone ☃", "상자를 돌아 왼쪽으로 가세요", "걷다", "a {b} c"])
def test_every_text_comes_back(prompter, text):
    """Words, unknown words and other scripts: nothing is lost in an unknown token."""
    ids = prompter.ids(text)
    assert prompter.tokenizer.unk_token_id not in ids
    assert prompter.tokenizer.decode(ids).endswith(f"An image of a robot {text}")


def test_other_texts_have_other_ids(prompter):
    texts = ["go left", "go right", "Go left", "go left.", "왼쪽으로", "오른쪽으로", "zq", "qz"]
    assert len({tuple(prompter.ids(text)) for text in texts}) == len(texts)


def test_a_template_needs_a_place_for_the_instruction():
    with pytest.raises(ValueError, match=r"model\.prompt must hold \{instruction\}"):
        Prompter(offline_tokenizer(), "An image of a robot")
