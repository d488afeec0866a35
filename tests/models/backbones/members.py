"""Every backbone at a size for fractions of a second: Kosmos-2, SmolVLM, and the example of docs/backbones.md.

The example is imported from a file of its own, as somebody who has read the page would write it.
"""

import copy
import re
import sys
from pathlib import Path
from typing import Any

import torch

from mobile_vla.core.batch import Batch, PairId
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.policy import Policy
from tests.tiny_kosmos import TEXT

PAGE = Path(__file__).parents[3] / "docs" / "backbones.md"
EXAMPLE = "my_backbone:PatchConfig"
HEAD = LSTMDecoderConfig(hidden=16, layers=1, mlp=(16,))
MEMBERS: dict[str, dict[str, Any]] = {
    "kosmos2": {
        "latent_query_num": 5,
        "text_config": {**TEXT, "layers": 3},
        "vision_config": {
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
        },
    },
    "smolvlm": {
        "scale_factor": 2,
        "text_config": {
            "vocab_size": 512,
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "initializer_range": 0.15,
            "pad_token_id": 1,
        },
        "vision_config": {
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "initializer_range": 0.15,
        },
    },
    EXAMPLE: {},
}
TEXTS = ("go left", "go past the box on the right side: stop", "상자를 돌아 왼쪽으로 가세요")


def write_example(folder: Path) -> None:
    """The code of the page as `my_backbone.py`, where Python finds it; the settings as `model/patches.yaml`."""
    page = PAGE.read_text(encoding="utf-8")
    (code,), (settings,) = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "yaml"))
    (folder / "my_backbone.py").write_text(code, encoding="utf-8")
    (folder / "model").mkdir()
    (folder / "model" / "patches.yaml").write_text(settings, encoding="utf-8")
    sys.path.insert(0, str(folder))
    sys.modules.pop("my_backbone", None)


def make_config(name: str, lora: dict[str, Any] | None = None, **settings: Any) -> ModelConfig:
    known = {"weights": "random", "architecture": copy.deepcopy(MEMBERS[name]), "head": HEAD, **settings}
    adapters = AdapterConfig(**{"r": 4, "dropout": 0.0, **(lora or {})})
    return ModelConfig.choose({"name": name})(name=name, **known, lora=adapters)


def make_policy(
    name: str, dtype: torch.dtype = torch.float32, stir: bool = True, seed: int = 11, **settings: Any
) -> Policy:
    """stir: every adapter's second factor has a value, as after training;  seed: of adapters and head"""
    torch.manual_seed(seed)
    config = make_config(name, **settings)
    policy = Policy.build(config, open_source(config), 3, 2, dtype)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight_name, weight in policy.named_parameters() if stir else ():
            if "lora_B" in weight_name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return policy


def make_prompter(policy: Policy) -> Prompter:
    return Prompter(policy.backbone.config.open_tokenizer(), policy.backbone.config.prompt)


def make_batch(
    policy: Policy,
    pairs: list[tuple[int, int]],
    windows: list[list[int]] | None = None,
    texts: tuple[str, ...] = TEXTS,
) -> Batch:
    """pairs: (frame, text) each; the frames are the same five whatever the pairs ask for."""
    generator = torch.Generator().manual_seed(0)
    size = policy.preprocessing.size
    frames = torch.randint(0, 256, (5, size, size, 3), generator=generator, dtype=torch.uint8)
    ids, mask = make_prompter(policy)(list(texts))
    windows = windows or [[i] for i in range(len(pairs))]
    shape = (len(windows), len(windows[0]), policy.head.chunk)
    return Batch(
        frames=frames,
        text_ids=ids,
        text_mask=mask,
        pair_frame=torch.tensor([frame for frame, _ in pairs]),
        pair_text=torch.tensor([text for _, text in pairs]),
        windows=torch.tensor(windows),
        chunks=torch.rand(*shape, 2, generator=generator) * 2 - 1,
        chunk_mask=torch.ones(shape, dtype=torch.bool),
        pair_id=tuple(PairId("episode", frame, texts[text]) for frame, text in pairs),
    )
