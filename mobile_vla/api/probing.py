"""`probe`: what a policy's tap points hold on episodes, stored. `evaluate`: what a run is worth on held-out ones.

In: a run, a checkpoint, or a policy that was loaded; which of its episodes, or other ones. Out: a store of contexts;
the fields of `eval.json`. Both are the work of the commands of these names, from the same code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities.seed import isolate_rng

from mobile_vla.api.policy import LoadedPolicy
from mobile_vla.api.training import TrainedRun
from mobile_vla.contexts.reader import Store
from mobile_vla.core.errors import UserError
from mobile_vla.core.file_names import make_file_name
from mobile_vla.jobs.command import Report
from mobile_vla.jobs.output import create_default, taken
from mobile_vla.jobs.progress import show_steps
from mobile_vla.jobs.results import write_report
from mobile_vla.opening.evaluation import Evaluation, check_wanted
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.opening.place import Device, change, check_device, open_policy, open_run
from mobile_vla.opening.subject import check_split, open_subject
from mobile_vla.probing.context_probe import ContextProbe, ProbeConfig, open_before
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.probing.report import describe_probe
from mobile_vla.taps.attention_config import AttentionConfig
from mobile_vla.taps.points import DEFAULT_TAPS

Run = Path | str | TrainedRun
Episodes = Path | str | Sequence[Path | str]


def probe(
    policy: Run | LoadedPolicy,
    episodes: Episodes | None = None,
    *,
    taps: Sequence[str] = DEFAULT_TAPS,
    variants: Sequence[str] = (),
    plan: PlanConfig | None = None,
    split: Literal["validation", "test", "train", "all"] | None = None,
    attention: AttentionConfig | None = None,
    before: Path | str | None = None,
    dtype: Literal["native", "float32", "float16", "bfloat16"] = "native",
    batch_size: int | None = None,
    seed: int = 0,
    checkpoint: Path | str = "best",
    device: Device = None,
    out: Path | str | None = None,
) -> Store:
    """Run the policy over episodes and store what its tap points hold, one row a frame, instruction and variant.

    policy      a run, a checkpoint, or what `load` returned, with the weights that it has now
    episodes    folders of episodes; without them those of the run
    taps        names of tap points;  variants  of interventions: `swap`, `donor`, `mask_tokens:8`, …
    plan        which frames of which episodes; without it 5 frames of each of 100 episodes
    split       of a run's own episodes: without it those of validation; of others all, none of which was trained on
    attention   of how many episodes it is drawn where the action token looks
    before      an earlier probe of the same rows, to tell how far they moved
    dtype       how vectors are stored;  batch_size  windows in one pass;  seed  of what variants draw
    checkpoint  of a run: `best`, `last`, `start` (before training) or a file;  device  for example `cuda:1`
    out         a new or empty folder, which gets `contexts/`, `probe.json` and figures; without it one under
                `runs/probe/`

    `UserError` for a tap, a variant or an episode that is not there, before anything is written.
    """
    check_split(split)
    config = ProbeConfig(
        taps=tuple(taps),
        variants=tuple(variants),
        attention=attention or AttentionConfig(),
        plan=plan or PlanConfig(),
        before=None if before is None else str(before),
        dtype=dtype,
        batch_size=batch_size,
        seed=seed,
    )
    earlier = None if before is None else open_before(before)
    with isolate_rng(), show_steps() as progress:
        opened = _open(policy, episodes, str(checkpoint), device)
        subject = open_subject(opened, split, progress)
        if isinstance(policy, LoadedPolicy):  # with the weights that it has now
            loaded = policy.module
            subject = replace(subject, device=policy.device, build=lambda device: loaded.to(device))
        prepared = ContextProbe.prepare(config, subject, Path(out or "."))
        if earlier is not None:
            prepared.refuse_before(earlier)
        with taken(out or create_default("probe", _name(opened))) as folder:
            probed = prepared.run(folder, progress)
            found = describe_probe(prepared, probed, earlier, folder)
            write_report(Report(payload=found), folder / "probe.json")
    return probed.store


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """found: the fields of `eval.json`;  folder: where they and the figures are, None where nothing was written"""

    folder: Path | None
    found: Mapping[str, Any] = field(repr=False)

    @property
    def loss(self) -> float:
        """Huber loss in normalised units; of several runs their mean."""
        return self.found["loss"]

    @property
    def baselines(self) -> Mapping[str, Any]:
        """The same loss on the same windows, of what needs no policy."""
        return self.found["baselines"]


def evaluate(
    run: Run | Sequence[Run],
    *,
    checkpoint: Path | str = "best",
    split: Literal["validation", "test"] | None = None,
    episodes: Episodes | None = None,
    device: Device = None,
    out: Path | str | None = None,
) -> Evaluated:
    """What a run is worth on episodes that it was not trained on, or several, with the spread between them.

    checkpoint  `best` (by validation loss), `last` or a file
    split       of the run's own episodes; without it validation, or with `episodes` all of these
    episodes    folders of other episodes
    device      for example `cuda:1`
    out         a new or empty folder for `eval.json` and figures; without it nothing is written

    `UserError` where the run was trained on one of the episodes, or there are none.
    """
    check_wanted(split, str(checkpoint))
    check_device(device)
    runs = [run] if isinstance(run, Path | str | TrainedRun) else list(run)
    if not runs:
        raise UserError("expected a run, or several", argument="run", value=())
    with isolate_rng(), show_steps() as progress:
        opened = [open_run(_place(one), str(checkpoint), device=device, data=_data(episodes)) for one in runs]
        evaluation = Evaluation.open(opened, split, progress=progress)
        if out is None:
            return Evaluated(folder=None, found=evaluation.run(None, progress))
        with taken(out) as folder:
            found = evaluation.run(folder, progress)
            write_report(Report(payload=found), folder / "eval.json")
    return Evaluated(folder=folder, found=found)


def _open(policy: Run | LoadedPolicy, episodes: Episodes | None, checkpoint: str, device: Device) -> OpenedPolicy:
    if not isinstance(policy, LoadedPolicy):
        return open_policy(_place(policy), checkpoint=checkpoint, device=device, data=_data(episodes))
    if checkpoint != "best" or device is not None:
        raise UserError("is loaded already: give checkpoint and device to load()", argument="policy")
    return replace(policy.opened, config=change(policy.opened.config, None, _data(episodes)))


def _place(run: Run) -> Path | str:
    return run.folder if isinstance(run, TrainedRun) else run


def _data(episodes: Episodes | None) -> dict[str, Any]:
    if episodes is None:
        return {}
    several = [episodes] if isinstance(episodes, Path | str) else list(episodes)
    return {"root": tuple(str(Path(one).expanduser().absolute()) for one in several)}


def _name(opened: OpenedPolicy) -> str:
    origin = opened.origin
    return make_file_name(Path(str(origin["folder"] or origin["checkpoint"])).name)
