"""A Kosmos-2 small enough for seconds: 8 image tokens, 2 layers, width 32; frames and texts made from a seed."""

import copy
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from mobile_vla.core.batch import Batch, PairId
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.loading import load_model, open_source
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.backbones.tokenizer import Prompter, offline_tokenizer
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.policy import Policy
from tests.tiny_kosmos import TEXT

ARCHITECTURE = {
    "latent_query_num": 8,
    "text_config": {**TEXT, "layers": 2},
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
    },
}
HEAD = LSTMDecoderConfig(hidden=16, layers=2, mlp=(32, 16))
TEXTS = ("go left", "go past the box on the right side", "상자를 돌아 왼쪽으로 가세요")
NUM_FRAMES = 5


def model_config(**settings) -> Kosmos2ModelConfig:
    lora = settings.pop("lora", {})
    known = {"weights": "random", "architecture": copy.deepcopy(ARCHITECTURE), "head": HEAD}
    return Kosmos2ModelConfig(**{**known, **settings}, lora=AdapterConfig(**{"r": 4, "dropout": 0.0, **lora}))


def make_policy(dtype: torch.dtype = torch.float32, chunk: int = 3, num_components: int = 2, **settings) -> Policy:
    torch.manual_seed(11)
    config = model_config(**settings)
    return Policy.build(config, open_source(config), chunk, num_components, dtype)


def stir(policy: Policy) -> Policy:
    """Give every adapter's second factor a value, as after training: it starts at zero and would hide the first."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return policy


def make_batch(
    policy: Policy,
    pairs: list[tuple[int, int]],
    windows: list[list[int]] | None = None,
    texts: tuple[str, ...] = TEXTS,
    seed: int = 0,
) -> Batch:
    """pairs: (frame, text) each; the frames are those of `seed`, whatever the pairs ask for."""
    frames = random_frames(policy.preprocessing.size, seed)
    ids, mask = Prompter(offline_tokenizer(), policy.backbone.config.prompt)(list(texts))
    windows = windows or [[i] for i in range(len(pairs))]
    shape = (len(windows), len(windows[0]), policy.head.chunk)
    generator = torch.Generator().manual_seed(seed)
    present = torch.tensor(windows) >= 0
    return Batch(
        frames=frames,
        text_ids=ids,
        text_mask=mask,
        pair_frame=torch.tensor([frame for frame, _ in pairs]),
        pair_text=torch.tensor([text for _, text in pairs]),
        windows=torch.tensor(windows),
        chunks=torch.rand(*shape, policy.head.num_components, generator=generator) * 2 - 1,
        chunk_mask=present[..., None].expand(shape),
        pair_id=tuple(PairId("episode", frame, texts[text]) for frame, text in pairs),
    )


def random_frames(size: int, seed: int = 0, count: int = NUM_FRAMES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """What builds tiny models and batches (see the functions of the same names above)."""
    builders: dict[str, Callable] = {
        f.__name__: f for f in (model_config, make_policy, make_batch, stir, random_frames)
    }
    return SimpleNamespace(**builders, architecture=ARCHITECTURE, texts=TEXTS, open_source=open_source, load=load_model)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """All adapters, none of them zero, in eval mode; tests must not change it."""
    return stir(make_policy())
