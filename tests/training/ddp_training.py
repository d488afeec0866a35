"""Run by torchrun as two processes, and by itself as one: trains the tiny policy and writes what came out.

In: a folder, the batch size of each process. Out: `result_<rank>.pt` with the trained weights and the validation.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import conftest as lab


def main(folder: Path, batch_size: int, world: int) -> None:
    torch.set_num_threads(1)
    data = lab.make_data(batch_size=batch_size)
    policy = lab.make_policy()
    module = lab.make_module(policy, data, max_epochs=2)
    trainer = lab.make_trainer(
        folder, max_epochs=2, devices=world, strategy="ddp" if world > 1 else "auto", gradient_clip_val=1.0
    )
    trainer.fit(module, data)
    result = {
        "weights": {name: weight.detach().clone() for name, weight in policy.trained().items()},
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "steps": trainer.global_step,
    }
    torch.save(result, folder / f"result_{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
