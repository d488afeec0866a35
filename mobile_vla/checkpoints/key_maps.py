"""How others name what our policy names otherwise: one table a format, foreign name pattern -> our parameter's name.

In: a tensor's name in a file. Out: its name in `Policy`, in plain form: without the `base_layer` that adapters put
into the names of what they adapt, since the weight is the same with and without adapters. `LM_HEAD` is a weight that
our policy does not have. No match is no counterpart: such a tensor is never loaded.
"""

import re
from dataclasses import dataclass

LM_HEAD = "lm_head.weight"
BACKBONE = r"((?:text_model|vision_model|image_to_text_projection)\..+)"  # the parts of transformers' Kosmos-2
PEFT = r"(?:base_model\.model\.)?"
# Registered twice: as the fork's `backbone`, and as `model`, which its training code used.
TOWER = rf"(?:module\.)?(?:model\.)?(?:backbone|model)\.{PEFT}"
HOLDER = r"(?:module\.)?(?:model\.)?"


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """rules: the first pattern that matches a whole name says what it becomes."""

    name: str
    rules: tuple[tuple[str, str], ...]

    def translate(self, foreign: str) -> str | None:
        """The plain name in our policy; None where it has no counterpart."""
        for pattern, ours in self.rules:
            match = re.fullmatch(pattern, foreign)
            if match is not None:
                return plain_name(match.expand(ours))
        return None


def plain_name(name: str) -> str:
    return name.replace(".base_layer.", ".")


OURS = KeyMap(name="mobile_vla", rules=((r"((?:backbone|head)\..+)", r"\1"),))

# RoboVLMs and forks of it, whose head predicts an arm and a gripper: no part of ours, even where shapes agree.
ROBOVLMS = KeyMap(
    name="robovlms",
    rules=(
        (rf"{TOWER}text_model\.lm_head\.weight", LM_HEAD),
        (rf"{TOWER}{BACKBONE}", r"backbone.model.\1"),
        (rf"{HOLDER}action_token", "backbone.action_token"),
    ),
)

# The lab's fork: the same backbone, wrapped by peft, and a head that predicts velocities.
LAB = KeyMap(
    name="lab",
    rules=(
        *ROBOVLMS.rules,
        (rf"{HOLDER}act_head\.((?:rnn|velocities)\..+)", r"head.\1"),
    ),
)

TRANSFORMERS = KeyMap(
    name="transformers",
    rules=((r"text_model\.lm_head\.weight", LM_HEAD), (BACKBONE, r"backbone.model.\1")),
)

# A folder of peft leaves the adapter's name (`default`) out.
ADAPTER = KeyMap(
    name="peft",
    rules=(
        (
            rf"base_model\.model\.{BACKBONE}(\.lora_(?:A|B|magnitude_vector))(?:\.default)?\.weight",
            r"backbone.model.\1\2.default.weight",
        ),
        (rf"base_model\.model\.{BACKBONE}(\.lora_magnitude_vector)", r"backbone.model.\1\2.default.weight"),
        (rf"base_model\.model\.{BACKBONE}", r"backbone.model.\1"),
    ),
)

# What an export of this package holds, of whatever backbone.
EXPORTED_ADAPTER = KeyMap(
    name="exported adapter",
    rules=(
        (r"base_model\.model\.(.+\.lora_(?:A|B))\.weight", r"backbone.model.\1.default.weight"),
        (r"base_model\.model\.(.+\.lora_magnitude_vector)(?:\.weight)?", r"backbone.model.\1.default.weight"),
    ),
)
EXPORTED_BASE = KeyMap(name="exported base", rules=((r"(.+)", r"backbone.model.\1"),))
