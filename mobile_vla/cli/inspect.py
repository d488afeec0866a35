"""`mobile-vla inspect`: what a checkpoint file holds, or what a model will hold and take before it is made.

In: the settings of `conf/inspect.yaml`. Out: a table and `inspect.json`. A checkpoint is opened, never run. One that
can be read and is wrong all the same (not whole, not numbers) is described, and then told in one line, exit code 2.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Command, Context, Job, Report

DTYPES = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}  # of what is frozen


@dataclass(frozen=True, kw_only=True)
class FileConfig:
    """A checkpoint, perhaps another one to compare it with, and how they are looked at."""

    path: Path
    against: Path | None
    scan: Literal["trained", "all", "none"]
    trust: bool


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Open what is to be described; the job describes it."""
    from mobile_vla.jobs.quiet import quiet_libraries

    quiet_libraries()
    if config.get("model") is not None:
        if config["path"] is not None or config["against"] is not None:
            raise UserError("path= describes a file and model= a configuration: give one of the two")
        return _prepare_model(config)
    if config["path"] is None:
        raise UserError("missing setting 'path': give path=<a checkpoint> or model=kosmos2")
    return _prepare_file(config, context)


def _prepare_file(config: dict[str, Any], context: Context) -> Job:
    from mobile_vla.checkpoints.opening import open_checkpoint
    from mobile_vla.jobs.progress import show_steps
    from mobile_vla.settings.typed import build

    settings = build(FileConfig, {key: config[key] for key in ("path", "against", "scan", "trust")})
    opened = open_checkpoint(settings.path.expanduser().absolute(), settings.trust)
    other = None
    if settings.against is not None:
        other = open_checkpoint(settings.against.expanduser().absolute(), settings.trust)

    def run(out: Path) -> Report:
        from mobile_vla.checkpoints.difference import compare
        from mobile_vla.checkpoints.formats import recognise
        from mobile_vla.checkpoints.inspection import inspect_checkpoint
        from mobile_vla.checkpoints.parts import take_apart
        from mobile_vla.cli.tables.inspect import payload_of_difference, payload_of_file, rows_of_file
        from mobile_vla.opening.known_models import list_models

        with show_steps(enabled=context.rank == 0) as progress:
            found = inspect_checkpoint(opened, list_models(), settings.scan, progress)
            difference = None
            if other is not None:
                there = (other.weights, take_apart(other.weights, recognise(other).keys))
                difference = compare((opened.weights, found.parts), there, progress)
        payload = payload_of_file(found)
        if other is not None and difference is not None:
            payload["against"] = {"path": other.path, **payload_of_difference(difference)}
        fault = None
        if found.faults:
            fault = f"path={opened.path}: {'; '.join(found.faults)}; use another copy, or save it anew and whole"
        return Report(payload={**payload, "settings": config}, table=rows_of_file(found, difference), fault=fault)

    return Job(run=run)


def _prepare_model(config: dict[str, Any]) -> Job:
    from mobile_vla.models.backbones.model_config import ModelConfig
    from mobile_vla.models.memory import StepConfig
    from mobile_vla.models.skeleton import build_skeleton
    from mobile_vla.settings.typed import build

    if config["precision"] not in DTYPES:
        raise UserError(f"expected one of {', '.join(DTYPES)}", argument="precision", value=config["precision"])
    model = build(ModelConfig, config["model"], "model")
    step = build(StepConfig, config["step"], "step")
    policy = build_skeleton(model, step.chunk, step.components)

    def run(out: Path) -> Report:
        import torch

        from mobile_vla.cli.tables.inspect import payload_of_model, rows_of_model
        from mobile_vla.models.memory import estimate_memory

        policy.backbone.compute_in(getattr(torch, DTYPES[config["precision"]]))
        frames = dict.fromkeys((step.shared_frames, step.most_frames))
        memory = {number: estimate_memory(policy, step, number) for number in frames}
        payload = payload_of_model(policy, memory)
        return Report(payload={**payload, "settings": config}, table=rows_of_model(payload, config["precision"]))

    return Job(run=run)


COMMAND = Command(
    name="inspect",
    summary="Describes a checkpoint without running it, or a model before anything is downloaded: parts, counts, fit.",
    examples=(
        "mobile-vla inspect path=last.ckpt",
        "mobile-vla inspect path=runs/train/before against=runs/train/after",
        "mobile-vla inspect model=kosmos2 model/lora=text step.batch_size=4",
    ),
    prepare=prepare,
)
