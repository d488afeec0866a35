"""`mobile-vla synth`: synthetic episodes in the layouts of real ones.

In: the settings of `conf/synth.yaml`. Out: a folder of episodes, and `synth.json` with what was written.
"""

from pathlib import Path
from typing import Any

from mobile_vla.jobs.command import Command, Context, Job, Report


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Check the settings; the job writes the episodes."""
    from mobile_vla.settings.typed import build
    from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes

    settings = build(SynthConfig, config)

    def run(out: Path) -> Report:
        from mobile_vla.jobs.progress import show_progress

        with show_progress("episodes", enabled=context.rank == 0) as progress:
            summary = write_episodes(settings, out, progress)
        table = [
            ("files", summary["files"]),
            ("size", f"{summary['bytes'] / 2**20:.1f} MiB"),
            ("layout", settings.layout),
            ("world", settings.world),
            *((name, _list_counts(counts)) for name, counts in summary["labels"].items()),
            ("instructions", len(summary["instructions"])),
        ]
        return Report(payload={**summary, "settings": config}, table=table)

    return Job(run=run)


def _list_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{value} {number}" for value, number in counts.items())


COMMAND = Command(
    name="synth",
    summary="Writes synthetic episodes in the real layouts: a world whose answers are known.",
    examples=(
        "mobile-vla synth out=episodes episodes=60 seed=1",
        "mobile-vla synth out=blind world=instruction_blind resolution=[90,160]",
        "mobile-vla synth layout=jpeg frames=36 workers=4",
    ),
    prepare=prepare,
)
