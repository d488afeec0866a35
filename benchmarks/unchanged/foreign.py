"""A checkpoint as the lab's program writes it, made without the package: the same file for both codes.

Out: a Lightning file with a random Kosmos-2 of the sizes of `model=tiny`, wrapped by peft and registered twice, the
head and the action token, under the lab's names.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Kosmos2Config, Kosmos2Model

WIDTH, HIDDEN, CHUNK, COMPONENTS, RANK = 128, 128, 10, 2, 4
TEXT = {"vocab_size": 512, "embed_dim": WIDTH, "layers": 2, "ffn_dim": 128, "attention_heads": 2, "init_std": 0.15}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
}
ADAPTED = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
BESIDE = {"epoch": 7, "global_step": 4321, "pytorch-lightning_version": "2.2.2", "loops": {}}


def write_lab_checkpoint(file: Path) -> None:
    torch.manual_seed(11)
    config = Kosmos2Config(text_config=TEXT, vision_config=VISION, latent_query_num=4)
    tower: dict[str, Tensor] = {}
    for name, weight in Kosmos2Model(config).named_parameters():
        module, _, kind = name.rpartition(".")
        if not (name.startswith("text_model.") and module.endswith(ADAPTED)):
            tower[name] = weight.detach()
            continue
        tower[f"{module}.base_layer.{kind}"] = weight.detach()
        if kind == "weight":
            outputs, inputs = weight.shape
            tower[f"{module}.lora_A.default.weight"] = torch.randn(RANK, inputs) * 0.1
            tower[f"{module}.lora_B.default.weight"] = torch.randn(outputs, RANK) * 0.1
    state = {
        f"model.{alias}.base_model.model.{name}": w for alias in ("backbone", "model") for name, w in tower.items()
    }
    head = nn.ModuleDict({"rnn": nn.LSTM(WIDTH, HIDDEN, 2, batch_first=True), "velocities": nn.Module()})
    outputs = CHUNK * COMPONENTS
    head["velocities"].mlp = nn.Sequential(nn.Linear(HIDDEN, 128), nn.ReLU(), nn.Linear(128, outputs))
    state |= {f"model.act_head.{name}": weight.detach() for name, weight in head.named_parameters()}
    settings = {
        "window_size": 8,
        "fwd_pred_next_n": CHUNK,
        "act_head": {"action_dim": COMPONENTS, "window_size": 8},
        "train_setup": {"lora_alpha": 16, "lora_dropout": 0.05, "lora_r": RANK},
    }
    state["model.action_token"] = torch.randn(WIDTH)
    torch.save({"state_dict": state, "hyper_parameters": {"configs": settings}, **BESIDE}, file)
