"""The demo's steps in a process of its own, for `tiny_step`: with the code of whatever commit PYTHONPATH leads to.

In: a folder, overrides; then, on the standard input, `train` or `validate`, line by line. Out, a line of json each: at
first sizes, how many parameters are trained, loss and gradient's norm before training, and the windows of each work;
then the seconds that each took. Only what that commit has is imported.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any


def find(name: str, *homes: str) -> Any:
    """What a module of today's package holds, or the module of an earlier one that held it."""
    for home in homes:
        with suppress(ModuleNotFoundError):
            return getattr(import_module(f"mobile_vla.{home}"), name)
    raise SystemExit(f"{name}: expected in one of {', '.join(homes)}")


quiet_loggers = find("quiet_loggers", "jobs.quiet", "cli.quiet")
find("quiet_libraries", "jobs.quiet", "cli.quiet")()

import torch  # noqa: E402  (the libraries read what keeps them quiet when they are imported)

from benchmarks.policy_step import PolicyStep  # noqa: E402
from benchmarks.setting import RESOLUTION, Setting, prepare_training  # noqa: E402
from mobile_vla.models.policy import Policy  # noqa: E402

masked_huber = find("masked_huber", "evaluation.losses", "training.losses")
SynthConfig = find("SynthConfig", "sources.synthetic.writer", "data.synthetic.writer")

EPISODES = SynthConfig(episodes=16, resolution=RESOLUTION, workers=1)  # half of them validate
PASSES = 3  # over the batch, one behind the other as in training


def serve(folder: Path, overrides: Sequence[str]) -> None:
    setting = Setting.of(prepare_training(folder, ["experiment=demo", "trainer=cpu", *overrides], EPISODES))
    data, config, policy = setting.training.data, setting.training.config, setting.policy
    (batch,) = data.train_dataloader()
    stir(policy)
    loss = masked_huber(policy(batch), batch.chunks, batch.chunk_mask, config.optimization.huber_delta)
    gradient = torch.nn.utils.get_total_norm(torch.autograd.grad(loss, list(policy.trained().values())))
    model = config.model
    sizes = {"architecture": model.architecture, "head": asdict(model.head), "lora": {"r": model.lora.r}}
    validated = sum(batch.num_windows for batch in data.val_dataloader())
    answer(
        {
            "sizes": sizes,
            "trained": policy.num_parameters()["trainable"],
            "loss": float(loss.detach()),
            "gradient": float(gradient),
            "train": batch.num_windows,
            "validate": validated,
        }
    )
    train = PolicyStep(setting, [batch], passes=PASSES)
    for number, work in enumerate(sys.stdin):
        took = train() if work.strip() == "train" else setting.validate(folder / str(number), None)
        answer({"wall": took.wall, "cpu": took.cpu})


def stir(policy: Policy) -> None:
    """Adapters begin at zero, which would hide half of them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in policy.trained().items():
            if "lora_B" in name:
                weight.copy_(0.05 * torch.randn(weight.shape, generator=generator))


def answer(content: dict) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    quiet_loggers()
    serve(Path(sys.argv[1]), sys.argv[2:])
