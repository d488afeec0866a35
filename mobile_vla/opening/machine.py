"""Where a policy that was trained elsewhere is computed here.

In: the `trainer` settings of its run. Out: a `Machine`, and a note where it is another one than the run had.
"""

from dataclasses import replace

from mobile_vla.core.errors import UserError
from mobile_vla.training.trainer import Machine, TrainerConfig, choose_machine

PARAMETERS_ONLY = Machine("cpu", "32-true")  # weights as they were trained, nothing computed


def find_machine(config: TrainerConfig, insist: bool) -> tuple[Machine, str | None]:
    """One device as the run had it; where this machine has none such, what there is, and a note.

    insist  `UserError` in place of another device
    """
    alone = replace(config, devices=1, num_nodes=1, strategy="auto")
    try:
        return choose_machine(alone), None
    except UserError:
        if insist:
            raise
    machine = choose_machine(replace(alone, accelerator="auto", precision="auto"))
    return machine, (
        f"the run was trained with accelerator {config.accelerator} in {config.precision}, which is not there here: "
        f"on {machine.accelerator} in {machine.precision}"
    )
