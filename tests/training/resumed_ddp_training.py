"""Run by torchrun as two processes: a whole training, begun or continued, as `run_training` does it in one.

In: json with `out`, `root`, `interrupt` (the step at which to leave), `sigterm` (the step at which rank 1 alone is sent
one) and settings by group. Out: the run's folder, and `ended_<rank>.json`, which says after which step, and why.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback

sys.path.insert(0, str(Path(__file__).parents[2]))

from mobile_vla.core.errors import Interrupted, UserError
from tests.training.run_training import make_config, train


class Ends(Callback):
    def __init__(self, interrupt: int | None, sigterm: int | None):
        self.interrupt, self.sigterm = interrupt, sigterm
        self.step = 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.step = trainer.global_step
        if batch_idx % trainer.accumulate_grad_batches == 0 and self.step == self.interrupt:
            raise Interrupted(f"at {self.step}", signal.SIGTERM)
        if self.step == self.sigterm and trainer.global_rank == 1 and batch_idx % trainer.accumulate_grad_batches == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_end(self, trainer, module):
        self.step = trainer.global_step


def main(asked: dict) -> None:
    torch.set_num_threads(1)
    out, rank = Path(asked.pop("out")), int(os.environ["RANK"])
    ends, why = Ends(asked.pop("interrupt", None), asked.pop("sigterm", None)), "finished"
    try:
        train(out, make_config(**asked), ends)
    except (Interrupted, UserError) as stopped:
        why = str(stopped)
    (out / f"ended_{rank}.json").write_text(json.dumps({"step": ends.step, "why": why}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
