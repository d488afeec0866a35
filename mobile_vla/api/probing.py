"""`probe`: what a policy's tap points hold on episodes, stored.

In: a run, a checkpoint, or a policy that was loaded; which of its episodes, or other ones. Out: a store of contexts,
from the code of `mobile-vla probe`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lightning.pytorch.utilities.seed import isolate_rng

from mobile_vla.api.given import Episodes, Run, data_of, find_place
from mobile_vla.api.policy import LoadedPolicy
from mobile_vla.contexts.reader import Store
from mobile_vla.core.errors import UserError
from mobile_vla.core.file_names import make_file_name
from mobile_vla.jobs.command import Report
from mobile_vla.jobs.output import create_default, taken
from mobile_vla.jobs.progress import show_steps
from mobile_vla.jobs.results import write_report
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.opening.place import Device, change, open_policy
from mobile_vla.opening.subject import check_split, open_subject
from mobile_vla.probing.context_probe import ContextProbe, ProbeConfig, open_before
from mobile_vla.probing.plans import PlanConfig
from mobile_vla.probing.report import describe_probe
from mobile_vla.taps.attention_config import AttentionConfig
from mobile_vla.taps.points import DEFAULT_TAPS


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


def _open(policy: Run | LoadedPolicy, episodes: Episodes | None, checkpoint: str, device: Device) -> OpenedPolicy:
    if not isinstance(policy, LoadedPolicy):
        return open_policy(find_place(policy), checkpoint=checkpoint, device=device, data=data_of(episodes))
    if checkpoint != "best" or device is not None:
        raise UserError("is loaded already: give checkpoint and device to load()", argument="policy")
    return replace(policy.opened, config=change(policy.opened.config, None, data_of(episodes)))


def _name(opened: OpenedPolicy) -> str:
    origin = opened.origin
    return make_file_name(Path(str(origin["folder"] or origin["checkpoint"])).name)
