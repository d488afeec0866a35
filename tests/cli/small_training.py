"""A model and a training of seconds, as words of a command line, and what runs such a line in this process."""

import pytest

from mobile_vla.cli.main import main

SMALL = (
    "model=tiny",
    "data=synthetic",
    "model.architecture.text_config.embed_dim=32",
    "model.architecture.text_config.ffn_dim=32",
    "model.architecture.text_config.attention_heads=2",
    "model.architecture.vision_config.hidden_size=16",
    "model.architecture.vision_config.intermediate_size=16",
    "model.architecture.vision_config.num_attention_heads=2",
    "model.architecture.vision_config.image_size=32",
    "model.head.hidden=16",
    "model.head.mlp=[16]",
    "model.lora.r=4",
    "trainer=cpu",
    "trainer.enable_progress_bar=false",
    "optimization.schedule=constant",
)


def run(*words: str) -> int | str | None:
    """`mobile-vla <words>`; its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    return stopped.value.code
