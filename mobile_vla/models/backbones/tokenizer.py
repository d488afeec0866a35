"""Tokenizers: the checkpoint's own, or an offline one for models whose weights are random.

The offline tokenizer is a real one (Unigram, `PreTrainedTokenizerFast`, with the special tokens of a family), made of a
small vocabulary, with bytes for every other word, so that no two texts look alike to a model. In: instruction texts.
Out: token ids and masks.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

NUM_FILLERS = 64  # the ids that Kosmos-2's processor keeps for image positions
WORD_MARK = "▁"  # sentencepiece's mark of a word's begin
TAGS = (  # those that `Kosmos2Processor` adds
    "</doc>",
    "<image>",
    "</image>",
    "</chunk>",
    "</line>",
    "<phrase>",
    "</phrase>",
    "<object>",
    "</object>",
)
TAGS += ("</delimiter_of_multi_objects/>", "<grounding>")
WORDS = """
a an and the of on to at in by its it is with your you box boxes target goal robot image obstacle crate left right
side straight past around pass go drive move steer keep walk navigate location reach find get toward towards then
first second before after between front behind near far stop turn please hand way round red blue green basket
왼쪽 왼쪽으로 왼편 왼편으로 오른쪽 오른쪽으로 오른편 오른편으로 상자
상자를 상자의 장애물 장애물을 목표 목표로 지나 지나서 지나가
돌아 돌아서 돌아가 가 가세요 가라 가서 가십시오 이동
이동해 이동하세요 피해 피해서 지나가세요 돌아가세요 통과해 통과하세요
""".split()


def offline_tokenizer(tags: Sequence[str] = TAGS) -> PreTrainedTokenizerBase:
    """A tokenizer that needs no download: a few dozen whole words, and single bytes for the rest.

    tags  further special tokens; those of Kosmos-2 unless told otherwise
    """
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(f"<filler_{i}>" for i in range(NUM_FILLERS))]
    pieces += [f"<0x{i:02X}>" for i in range(256)]
    scores = [(piece, 0.0) for piece in pieces] + [(WORD_MARK, -8.0)]
    words = dict.fromkeys([*WORDS, *(word.capitalize() for word in WORDS)])
    scores += [(WORD_MARK + word, -4.0) for word in words]
    scores += [(mark, -6.0) for mark in ".,!?"]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD_MARK, prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    wrapped.add_tokens(list(tags), special_tokens=True)
    return wrapped


class Prompter:
    """Instruction -> token ids, through a template such as `<grounding>An image of a robot {instruction}`.

    Kept by the data side as well as by closed-loop inference, so that both write the same prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str):
        if "{instruction}" not in template:
            raise ValueError(f"model.prompt must hold {{instruction}}, got {template!r}")
        self.tokenizer = tokenizer
        self.template = template
        self._known: dict[str, list[int]] = {}  # a dataset has few texts, and a batch needs them at once

    def ids(self, instruction: str) -> list[int]:
        if instruction not in self._known:
            prompt = self.template.format(instruction=instruction)
            self._known[instruction] = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return self._known[instruction]

    def length(self, instruction: str) -> int:
        """Length of the prompt in tokens."""
        return len(self.ids(instruction))

    def __call__(self, instructions: list[str]) -> tuple[Int[Tensor, "I T"], Bool[Tensor, "I T"]]:
        """Right-padded ids and their mask; T is the longest of the given texts."""
        rows = [self.ids(text) for text in instructions]
        width = max(map(len, rows))
        padding = self.tokenizer.convert_tokens_to_ids(str(self.tokenizer.pad_token))
        ids = torch.tensor([[padding]]).repeat(len(rows), width)
        mask = torch.zeros(len(rows), width, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = True
        return ids, mask
